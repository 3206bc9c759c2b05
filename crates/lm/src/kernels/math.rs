//! Elementary functions and reductions, written so that the compiler turns their loops into vectors.

/// Number of independent partial sums in a reduction.
const LANES: usize = 32;

/// `e^x` with a relative error below 2e-7; 0 below -87, finite up to 88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // x = n ln2 + r with |r| <= ln2/2; adding this constant rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
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
    let result = e * scale;
    if x <= -87.3 { 0.0 } else { result }
}

/// `Σ f(i)` over `0..n` in a fixed order.
#[inline(always)]
pub fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut acc = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, a) in acc.iter_mut().enumerate() {
            *a += f(i + lane);
        }
        i += LANES;
    }
    let mut tail = 0.0;
    for j in whole..n {
        tail += f(j);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            acc[lane] += acc[lane + width];
        }
        width /= 2;
    }
    acc[0] + tail
}

/// The inner product of two slices of equal length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    sum(a.len(), |i| a[i] * b[i])
}

/// The largest element; negative infinity for an empty slice.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut acc = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (a, &v) in acc.iter_mut().zip(chunk) {
            *a = if v > *a { v } else { *a };
        }
    }
    let mut best = f32::NEG_INFINITY;
    for &v in acc.iter().chain(chunks.remainder()) {
        best = if v > best { v } else { best };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        for i in -870..=880 {
            let x = i as f32 / 10.0 + 0.013;
            let want = (x as f64).exp();
            let got = super::super::vectorised(|| exp(x)) as f64;
            if x > -87.0 && x < 88.2 {
                assert!(((got - want) / want).abs() < 3e-7, "exp({x}) = {got}, want {want}");
            }
        }
        assert_eq!(exp(-1000.0), 0.0);
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn reductions_cover_every_length() {
        for n in 0..100 {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let want: f64 = x.iter().map(|&v| v as f64).sum();
            assert!((sum(n, |i| x[i]) as f64 - want).abs() < 1e-5);
            let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&x), top);
        }
    }
}
