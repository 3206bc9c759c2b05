//! Elementary functions and reductions, written so that the compiler turns their loops into vectors.

/// Floats handled together: one vector of the widest kind.
///
/// Loops work on arrays of this length, copied in and out, so that the compiler keeps them in
/// registers whatever it knows about overlap.
pub const LANES: usize = 16;

/// Whether the version of a `multiversion` function that is being compiled has fused multiplication and addition.
///
/// Without the instruction, the fused operation would be a call of a library.
#[macro_export]
macro_rules! fused {
    () => {
        multiversion::target::target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"))
    };
}

/// `a b + c`, rounded once if `fused`.
#[inline(always)]
pub fn multiply_add(a: f32, b: f32, c: f32, fused: bool) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}

/// The lower end of the range of [`exp`].
pub const LOWEST: f32 = -87.3;

/// The upper end of the range of [`exp`].
pub const HIGHEST: f32 = 88.3;

/// Adding this number rounds those of the range to the nearest integer, and leaves it in the lowest bits.
pub const ROUND: f32 = 12_582_912.0;

/// The polynomial for `e^r`, `|r| <= ln2 / 2`, that is 1 at 0 and whose largest relative error is least (9e-8); the
/// highest power first.
pub const EXP: [f32; 6] = [8.290_307e-3, 4.189_797_5e-2, 0.166_676_37, 0.499_991_5, 0.999_999_7, 1.0];

/// `e^x` with a relative error below 5e-7 from -87 to 88, and the value at the nearer end outside.
///
/// It has no branch: with one, loops over it are not turned into vectors. `fused` is [`fused!`](crate::fused) of the
/// function that the loop is in.
#[allow(clippy::excessive_precision)]
#[inline(always)]
pub fn exp(x: f32, fused: bool) -> f32 {
    // `clamp` would let a NaN through, and the bits of one make no exponent.
    #[allow(clippy::manual_clamp)]
    let x = x.max(LOWEST).min(HIGHEST);
    // x = n ln2 + r.
    let t = multiply_add(x, std::f32::consts::LOG2_E, ROUND, fused);
    let n = t - ROUND;
    let r = if fused {
        // The f32 next to ln2 is off by 2e-9 only.
        n.mul_add(-std::f32::consts::LN_2, x)
    } else {
        // Its first part times n is exact, so that r keeps its low bits.
        (x - n * 0.693_359_375) + n * 2.121_944_4e-4
    };
    let mut p = EXP[0];
    for coefficient in &EXP[1..] {
        p = multiply_add(p, r, *coefficient, fused);
    }
    // Times 2^n, in the exponent's bits: the bits of ROUND above n fall off.
    f32::from_bits(p.to_bits().wrapping_add(t.to_bits() << 23))
}

/// As [`exp`], but zero where that is at its lower end.
#[inline(always)]
pub fn exp_or_zero(x: f32, fused: bool) -> f32 {
    let e = exp(x, fused);
    if x < LOWEST { 0.0 } else { e }
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

/// What `combine` makes of the lanes of each vector: lane `i` of the result is that of vector `i`, in a fixed order.
///
/// Four times, vectors `i` and `i + half` become one whose even lanes are from the first and odd lanes from the second.
#[inline(always)]
pub fn across(mut rows: [[f32; LANES]; LANES], combine: impl Fn(f32, f32) -> f32 + Copy) -> [f32; LANES] {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let (a, b) = (rows[i], rows[i + half]);
            let low: [f32; LANES] = std::array::from_fn(|j| if j % 2 == 0 { a[j / 2] } else { b[j / 2] });
            let high: [f32; LANES] =
                std::array::from_fn(|j| if j % 2 == 0 { a[8 + j / 2] } else { b[8 + j / 2] });
            for lane in 0..LANES {
                rows[i][lane] = combine(low[lane], high[lane]);
            }
        }
        half /= 2;
    }
    rows[0]
}

/// The larger of two, as one instruction; the second where one is no number.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
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
            acc[lane] = larger(chunk[lane], acc[lane]);
        }
    }
    tail.iter().chain(&acc).fold(f32::NEG_INFINITY, |a, &b| larger(b, a))
}

/// Replaces every `x` by `e = e^(x - shift)`; returns `Σ e` and `Σ e (x - shift)`.
#[inline(always)]
pub fn exp_shifted(x: &mut [f32], shift: f32, fused: bool) -> (f32, f32) {
    let (chunks, tail) = x.as_chunks_mut::<LANES>();
    let (mut sums, mut weighted) = ([0f32; LANES], [0f32; LANES]);
    for chunk in chunks {
        let mut e = *chunk;
        for lane in 0..LANES {
            let z = e[lane] - shift;
            e[lane] = exp(z, fused);
            sums[lane] += e[lane];
            weighted[lane] = multiply_add(e[lane], z, weighted[lane], fused);
        }
        *chunk = e;
    }
    let (mut sum, mut weight) = (total(sums), total(weighted));
    for v in tail {
        let z = *v - shift;
        *v = exp(z, fused);
        sum += *v;
        weight = multiply_add(*v, z, weight, fused);
    }
    (sum, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        for fused in [false, true] {
            for i in -8700..=8820 {
                let x = i as f32 / 100.0 + 0.003;
                let want = (x as f64).exp();
                let got = exp(x, fused) as f64;
                if x > -87.0 && x < 88.2 {
                    assert!(((got - want) / want).abs() < 5e-7, "exp({x}) = {got}, want {want}");
                    assert_eq!(exp_or_zero(x, fused), exp(x, fused));
                }
            }
            assert_eq!(exp(0.0, fused), 1.0);
            assert!(exp(-1000.0, fused) < 2e-38);
            assert!(exp(1000.0, fused).is_finite());
            assert!(exp(f32::NAN, fused).is_finite());
            assert_eq!(exp_or_zero(-90.0, fused), 0.0);
            assert_eq!(exp_or_zero(f32::NEG_INFINITY, fused), 0.0);
        }
    }

    #[test]
    fn reductions_cover_every_length() {
        for n in 0..100 {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let y: Vec<f32> = (0..n).map(|i| (i as f32 * 0.71).cos()).collect();
            let sum = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>();
            let rows = std::array::from_fn(|i| {
                std::array::from_fn(|j| x[(i * 5 + j) % n.max(1)..].first().map_or(0.0, |v| *v))
            });
            let sums = across(rows, |a, b| a + b);
            assert!(sums.iter().zip(rows).all(|(s, row)| (s - row.iter().sum::<f32>()).abs() < 1e-5));
            assert!((dot(&x, &y) as f64 - sum(&|i| x[i] as f64 * y[i] as f64)).abs() < 1e-5);
            assert!((dot3(&x, &y, &x) as f64 - sum(&|i| (x[i] * x[i]) as f64 * y[i] as f64)).abs() < 1e-5);
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut e = x.clone();
            let (total, weighted) = exp_shifted(&mut e, 0.5, true);
            let z = |i: usize| x[i] as f64 - 0.5;
            assert!((total as f64 - sum(&|i| z(i).exp())).abs() < 1e-4);
            assert!((weighted as f64 - sum(&|i| z(i).exp() * z(i))).abs() < 1e-4);
            assert!(e.iter().enumerate().all(|(i, &v)| (v as f64 - z(i).exp()).abs() < 1e-6));
        }
    }
}
