//! Elementary functions and reductions, written so that the compiler turns their loops into vectors.

/// Floats handled together: one vector of the widest kind.
///
/// Loops work on arrays of this length, copied in and out, so that the compiler keeps them in
/// registers whatever it knows about overlap.
pub const LANES: usize = 16;

/// `e^x` with a relative error below 3e-7 from -87 to 88, and the value at the nearer end outside.
///
/// It has no branch: with one, loops over it are not turned into vectors.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // x = n ln2 + r with |r| <= ln2/2; adding this constant rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // `clamp` would let a NaN through, and the bits of one make no exponent.
    #[allow(clippy::manual_clamp)]
    let x = x.max(-87.3).min(88.3);
    let t = x * std::f32::consts::LOG2_E + ROUND;
    let n = t - ROUND;
    // ln2 in two parts, so that r keeps its low bits.
    #[allow(clippy::excessive_precision)]
    let r = (x - n * 0.693_359_375) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    let scale = f32::from_bits(((t.to_bits() as i32 - ROUND.to_bits() as i32 + 127) as u32) << 23);
    e * scale
}

/// The sum of the lanes, in a fixed order.
#[inline(always)]
pub fn total(mut acc: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            acc[lane] += acc[lane + width];
        }
        width /= 2;
    }
    acc[0]
}

/// The inner product of two slices of equal length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, ta), (b, tb)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut acc = [[0f32; LANES]; 2];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        for lane in 0..LANES {
            acc[i % 2][lane] += a[lane] * b[lane];
        }
    }
    let tail: f32 = ta.iter().zip(tb).map(|(a, b)| a * b).sum();
    total(acc[0]) + total(acc[1]) + tail
}

/// The inner product of three slices of equal length, `Σ a b c`.
#[inline(always)]
pub fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let (a, ta) = a.as_chunks::<LANES>();
    let ((b, tb), (c, tc)) = (b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let mut acc = [0f32; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            acc[lane] += a[lane] * b[lane] * c[lane];
        }
    }
    let tail: f32 = ta.iter().zip(tb).zip(tc).map(|((a, b), c)| a * b * c).sum();
    total(acc) + tail
}

/// The largest element; negative infinity for an empty slice.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut acc = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            acc[lane] = if chunk[lane] > acc[lane] { chunk[lane] } else { acc[lane] };
        }
    }
    let larger = |a: f32, &b: &f32| if b > a { b } else { a };
    tail.iter().fold(acc.iter().fold(f32::NEG_INFINITY, larger), larger)
}

/// Replaces every `x` by `e = e^(x - shift)`; returns `Σ e` and `Σ e (x - shift)`.
#[inline(always)]
pub fn exp_shifted(x: &mut [f32], shift: f32) -> (f32, f32) {
    let (chunks, tail) = x.as_chunks_mut::<LANES>();
    let (mut sums, mut weighted) = ([0f32; LANES], [0f32; LANES]);
    for chunk in chunks {
        let mut e = *chunk;
        for lane in 0..LANES {
            let z = e[lane] - shift;
            e[lane] = exp(z);
            sums[lane] += e[lane];
            weighted[lane] += e[lane] * z;
        }
        *chunk = e;
    }
    let (mut sum, mut weight) = (total(sums), total(weighted));
    for v in tail {
        let z = *v - shift;
        *v = exp(z);
        sum += *v;
        weight += *v * z;
    }
    (sum, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        for i in -870..=880 {
            let x = i as f32 / 10.0 + 0.013;
            let want = (x as f64).exp();
            let got = exp(x) as f64;
            if x > -87.0 && x < 88.2 {
                assert!(((got - want) / want).abs() < 3e-7, "exp({x}) = {got}, want {want}");
            }
        }
        assert!(exp(-1000.0) < 2e-38);
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn reductions_cover_every_length() {
        for n in 0..100 {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let y: Vec<f32> = (0..n).map(|i| (i as f32 * 0.71).cos()).collect();
            let sum = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>();
            assert!((dot(&x, &y) as f64 - sum(&|i| x[i] as f64 * y[i] as f64)).abs() < 1e-5);
            assert!((dot3(&x, &y, &x) as f64 - sum(&|i| (x[i] * x[i]) as f64 * y[i] as f64)).abs() < 1e-5);
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut e = x.clone();
            let (total, weighted) = exp_shifted(&mut e, 0.5);
            let z = |i: usize| x[i] as f64 - 0.5;
            assert!((total as f64 - sum(&|i| z(i).exp())).abs() < 1e-4);
            assert!((weighted as f64 - sum(&|i| z(i).exp() * z(i))).abs() < 1e-4);
            assert!(e.iter().enumerate().all(|(i, &v)| (v as f64 - z(i).exp()).abs() < 1e-6));
        }
    }
}
