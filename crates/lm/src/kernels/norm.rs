//! RMSNorm: `y = w * x / sqrt(mean(x²) + eps)`, over whole rows or over each head of a row.

use multiversion::multiversion;

use super::math;

/// Normalises every row of `x[rows, w.len()]` into `y`.
#[multiversion(targets = "simd")]
pub fn forward(y: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
    for (y, x) in y.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
        row(y, x, w, eps);
    }
}

/// Normalises one row; `y`, `x` and `w` have the same length.
#[inline(always)]
pub fn row(y: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
    let scale = inverse_rms(x, eps);
    for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
        *y = x * scale * w;
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (math::dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// Gradient of one row.
///
/// With `g = dy * w` and `r = 1/rms`: `dx = r g - x r³ mean(g x)`; `dw += dy x r`.
/// The result is added to `dx` when `accumulate`, else replaces it.
#[inline(always)]
pub fn row_backward(
    dx: &mut [f32],
    dw: &mut [f32],
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    eps: f32,
    accumulate: bool,
) {
    let d = x.len();
    let (dy, w, dw, dx) = (&dy[..d], &w[..d], &mut dw[..d], &mut dx[..d]);
    let r = inverse_rms(x, eps);
    let mean = math::dot3(dy, w, x) / d as f32;
    let c = r * r * r * mean;
    for i in 0..d {
        dw[i] += dy[i] * x[i] * r;
        let g = dy[i] * w[i] * r - x[i] * c;
        dx[i] = if accumulate { dx[i] + g } else { g };
    }
}

/// Writes `base` (zero without one) plus the input gradient of [`forward`] to `dx`, and adds the weight
/// gradient to `dw`.
#[multiversion(targets = "simd")]
pub fn backward(
    dx: &mut [f32],
    base: Option<&[f32]>,
    dw: &mut [f32],
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    eps: f32,
) {
    let d = w.len();
    match base {
        Some(base) => dx.copy_from_slice(base),
        None => dx.fill(0.0),
    }
    for ((dx, dy), x) in dx.chunks_exact_mut(d).zip(dy.chunks_exact(d)).zip(x.chunks_exact(d)) {
        row_backward(dx, dw, dy, x, w, eps, true);
    }
}
