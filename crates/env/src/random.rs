//! Random numbers that depend only on the keys they are drawn for.
//!
//! There is no stored generator state to save or share: a draw is a hash of its keys (a seed, a
//! place in the work, a counter), so any part of a run can be repeated alone and in any order.

/// A stream of random numbers fixed by its keys.
#[derive(Clone, Debug)]
pub struct Draw {
    key: u64,
    count: u64,
}

/// The finalizer of SplitMix64: a bijection on 64 bits with full avalanche.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draw {
    /// The stream that belongs to these keys; the order and the number of keys matter.
    pub fn new(keys: &[u64]) -> Self {
        let mut key = mix(keys.len() as u64 ^ GOLDEN);
        for &k in keys {
            key = mix(key.wrapping_mul(GOLDEN) ^ mix(k.wrapping_add(GOLDEN)));
        }
        Self { key, count: 0 }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.count += 1;
        mix(self.key.wrapping_add(self.count.wrapping_mul(GOLDEN)))
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A whole number in `0..n`; zero where `n` is zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A whole number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// One element of `items`, or nothing where there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// An index drawn in proportion to `weights`; nothing where no weight is positive.
    pub fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        let mut left = self.unit() * total;
        let mut last = None;
        for (index, &weight) in weights.iter().enumerate() {
            if weight > 0.0 {
                last = Some(index);
                if left < weight {
                    break;
                }
                left -= weight;
            }
        }
        last
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_keys_same_stream() {
        let stream = |keys: &[u64]| {
            let mut draw = Draw::new(keys);
            (0..4).map(|_| draw.bits()).collect::<Vec<_>>()
        };
        assert_eq!(stream(&[1, 2]), stream(&[1, 2]));
        assert_ne!(stream(&[1, 2]), stream(&[2, 1]));
        assert_ne!(stream(&[1]), stream(&[1, 0]));
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut draw = Draw::new(&[7]);
        let mut counts = [0usize; 5];
        for _ in 0..50_000 {
            counts[draw.below(5)] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
        let mut picks = [0usize; 3];
        for _ in 0..30_000 {
            if let Some(i) = draw.weighted(&[1.0, 0.0, 2.0]) {
                picks[i] += 1;
            }
        }
        assert_eq!(picks[1], 0);
        assert!((9_500..10_500).contains(&picks[0]), "{picks:?}");
        assert_eq!(draw.below(0), 0);
        assert_eq!(draw.weighted(&[]), None);
    }

    #[test]
    fn shuffle_keeps_every_element() {
        let mut items: Vec<usize> = (0..20).collect();
        Draw::new(&[3]).shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
