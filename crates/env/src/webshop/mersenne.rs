//! The Mersenne Twister (MT19937) as CPython's `random` and NumPy's `RandomState` seed and use it.
//!
//! The original draws prices, price limits and the order of goals from it, so the same seed must give the same draws.

const N: usize = 624;
const M: usize = 397;

/// A generator; the draws of CPython's `random` module unless said otherwise.
#[derive(Clone)]
pub struct Mersenne {
    state: [u32; N],
    next: usize,
}

impl Mersenne {
    /// As `random.seed(seed)` of CPython.
    pub fn python(seed: u64) -> Self {
        let mut key = vec![seed as u32];
        if seed >> 32 != 0 {
            key.push((seed >> 32) as u32);
        }
        let mut state = initial(19_650_218);
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let before = state[i - 1];
            state[i] = (state[i] ^ (before ^ (before >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            let before = state[i - 1];
            state[i] =
                (state[i] ^ (before ^ (before >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    /// As `numpy.random.RandomState(seed)`.
    pub fn numpy(seed: u32) -> Self {
        Self { state: initial(seed), next: N }
    }

    /// The next 32 bits.
    fn bits(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = self.state[i] & 0x8000_0000 | self.state[(i + 1) % N] & 0x7fff_ffff;
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number in `[0, 1)` with 53 bits.
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.bits() >> 5);
        let low = f64::from(self.bits() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// A number between `a` and `b`.
    pub fn uniform(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.random()
    }

    /// A whole number in `0..n`; `n` must be above 0.
    pub fn below(&mut self, n: u32) -> u32 {
        let unused = n.leading_zeros();
        loop {
            let drawn = self.bits() >> unused;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// Two different elements of a few (at most 21, from where on CPython draws in another way), in the order drawn.
    pub fn sample_two<T: Copy>(&mut self, pool: &[T]) -> [T; 2] {
        debug_assert!((2..=21).contains(&pool.len()));
        let n = pool.len();
        let first = self.below(n as u32) as usize;
        let second = self.below(n as u32 - 1) as usize;
        // The last element has moved to the place of the one taken.
        let second = if second == first { n - 1 } else { second };
        [pool[first], pool[second]]
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// As `RandomState.choice(n, count, replace=False)`: `count` different numbers below `n`.
    pub fn choice(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let mask = u32::MAX >> (i as u32).leading_zeros();
            let j = loop {
                let drawn = (self.bits() & mask) as usize;
                if drawn <= i {
                    break drawn;
                }
            };
            all.swap(i, j);
        }
        all.truncate(count);
        all
    }
}

/// The state that a number alone is spread to.
fn initial(seed: u32) -> [u32; N] {
    let mut state = [seed; N];
    for i in 1..N {
        let before = state[i - 1];
        state[i] = (before ^ (before >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_sequence() {
        // The tenth thousand of outputs of the authors' mt19937ar.c begins alike for every implementation.
        let mut plain = Mersenne::numpy(5489);
        let drawn: Vec<u32> = (0..10_000).map(|_| plain.bits()).collect();
        assert_eq!((drawn[0], drawn[9_999]), (3_499_211_612, 4_123_659_995));
        assert_eq!(Mersenne::python(0).random(), 0.844_421_851_525_048_1);
        let mut order: Vec<usize> = (0..20).collect();
        Mersenne::python(0).shuffle(&mut order);
        order.sort_unstable();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
    }
}
