//! Matrix products on the `gemm` crate, split into pieces of fixed size.
//!
//! The names say which operand is transposed in memory: with row-major `a` and `b`,
//! `nt` is `a bᵀ` (a projection), `nn` is `a b` (its input gradient) and `tn` is `aᵀ b` (its weight
//! gradient).

use gemm::Parallelism;
use rayon::prelude::*;

use super::SharedMut;

/// Rows (or columns) of the result that one piece of work computes.
const PIECE: usize = 256;

/// Below this many multiplications a product is not worth splitting.
const SPLIT_FROM: usize = 1 << 21;

/// A read-only matrix seen through strides: element `(i, j)` is at `i * row + j * col`.
#[derive(Clone, Copy)]
pub struct View {
    /// Address of element (0, 0).
    pub ptr: *const f32,
    /// Distance between rows, in floats.
    pub row: usize,
    /// Distance between columns, in floats.
    pub col: usize,
}

// SAFETY: a read-only address; the product functions only read through it while it is borrowed.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// The matrix from row `r` on.
    fn row_offset(self, r: usize) -> View {
        View { ptr: self.ptr.wrapping_add(r * self.row), ..self }
    }

    /// The matrix from column `c` on.
    fn col_offset(self, c: usize) -> View {
        View { ptr: self.ptr.wrapping_add(c * self.col), ..self }
    }
}

/// `dst = beta * dst + alpha * a b` for strided operands, on the calling thread.
///
/// `a` is `m x k`, `b` is `k x n`; `dst` is `m x n` with rows `dst_row` floats apart.
///
/// # Safety
/// Every element named by the shapes and strides is valid to read (`a`, `b`) or to read and write
/// (`dst`), and `dst` overlaps neither operand nor anything another thread uses.
#[allow(clippy::too_many_arguments)]
pub unsafe fn strided(
    (m, n, k): (usize, usize, usize),
    dst: *mut f32,
    dst_row: usize,
    beta: f32,
    a: View,
    b: View,
    alpha: f32,
) {
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: shapes and strides are promised by the caller. The crate computes
    // dst = alpha' * dst + beta' * a b, with alpha' and beta' in this order.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            dst_row as isize,
            beta != 0.0,
            a.ptr,
            a.col as isize,
            a.row as isize,
            b.ptr,
            b.col as isize,
            b.row as isize,
            beta,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Splits an `m x n` result along its longer side and computes the pieces in parallel.
fn split((m, n, k): (usize, usize, usize), dst: &mut [f32], beta: f32, a: View, b: View) {
    assert!(dst.len() >= m * n, "matrix product: result too small");
    let out = SharedMut::new(dst);
    let piece = |(r0, r1): (usize, usize), (c0, c1): (usize, usize)| {
        let (a, b) = (a.row_offset(r0), b.col_offset(c0));
        // SAFETY: pieces are disjoint blocks of `dst`, which is borrowed mutably; the operands'
        // lengths were checked by the public functions.
        unsafe { strided((r1 - r0, c1 - c0, k), out.at(r0 * n + c0), n, beta, a, b, 1.0) }
    };
    if m * n * k < SPLIT_FROM {
        piece((0, m), (0, n));
    } else if m >= 2 * PIECE || m >= n {
        let step = if m >= 2 * PIECE { PIECE } else { m.div_ceil(2) };
        (0..m.div_ceil(step)).into_par_iter().for_each(|i| piece((i * step, m.min((i + 1) * step)), (0, n)));
    } else {
        let step = if n >= 2 * PIECE { PIECE } else { n.div_ceil(2) };
        (0..n.div_ceil(step)).into_par_iter().for_each(|i| piece((0, m), (i * step, n.min((i + 1) * step))));
    }
}

/// Refuses operands that do not hold `m x k` and `n x k` floats.
fn check(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) {
    assert!(a.len() >= m * k && b.len() >= n * k, "matrix product: operand too small");
}

/// `dst[m, n] = beta * dst + a[m, k] b[n, k]ᵀ`.
pub fn nt(dst: &mut [f32], a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize), beta: f32) {
    check(a, b, (m, n, k));
    split(
        (m, n, k),
        dst,
        beta,
        View { ptr: a.as_ptr(), row: k, col: 1 },
        View { ptr: b.as_ptr(), row: 1, col: k },
    );
}

/// `dst[m, n] = beta * dst + a[m, k] b[k, n]`.
pub fn nn(dst: &mut [f32], a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize), beta: f32) {
    check(a, b, (m, n, k));
    split(
        (m, n, k),
        dst,
        beta,
        View { ptr: a.as_ptr(), row: k, col: 1 },
        View { ptr: b.as_ptr(), row: n, col: 1 },
    );
}

/// `dst[m, n] = beta * dst + a[k, m]ᵀ b[k, n]`.
pub fn tn(dst: &mut [f32], a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize), beta: f32) {
    check(a, b, (m, n, k));
    split(
        (m, n, k),
        dst,
        beta,
        View { ptr: a.as_ptr(), row: 1, col: m },
        View { ptr: b.as_ptr(), row: n, col: 1 },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
    }

    #[test]
    fn every_form_equals_the_definition() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (64, 33, 17), (700, 40, 96), (40, 700, 96), (1, 300, 64)] {
            let (a, b) = (fill(m * k, 0.1), fill(n * k, 0.7));
            let want: Vec<f32> = (0..m * n)
                .map(|e| {
                    (0..k).map(|p| a[e / n * k + p] as f64 * b[e % n * k + p] as f64).sum::<f64>() as f32
                })
                .collect();
            let at: Vec<f32> = (0..k * m).map(|e| a[e % m * k + e / m]).collect();
            let bt: Vec<f32> = (0..k * n).map(|e| b[e % n * k + e / n]).collect();
            let mut results = [vec![0.0; m * n], vec![0.0; m * n], vec![1.0; m * n]];
            nt(&mut results[0], &a, &b, (m, n, k), 0.0);
            nn(&mut results[1], &a, &bt, (m, n, k), 0.0);
            tn(&mut results[2], &at, &bt, (m, n, k), 1.0);
            results[2].iter_mut().for_each(|v| *v -= 1.0);
            for got in &results {
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w).abs() < 1e-4, "{m}x{n}x{k}: {g} != {w}");
                }
            }
        }
    }
}
