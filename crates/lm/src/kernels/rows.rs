//! Rows of a matrix by their numbers: copied together, and added back to where they are from. A token's embedding is one.

use rayon::prelude::*;

use super::panel::Matrix;

/// Rows copied together.
const TOGETHER: usize = 256;

/// Copies the leading `width` floats of row `rows[i]` of `from` into row `i` of `to`.
pub fn gather(to: &mut [f32], from: Matrix<'_>, rows: &[u32], width: usize) {
    to.par_chunks_mut(TOGETHER * width).zip(rows.par_chunks(TOGETHER)).for_each(|(to, rows)| {
        for (to, &row) in to.chunks_exact_mut(width).zip(rows) {
            to.copy_from_slice(&from.data[row as usize * from.stride..][..width]);
        }
    });
}

/// Adds row `i` of `from` to row `rows[i]` of `to`, in the order of `i`.
pub fn scatter(to: &mut [f32], from: &[f32], rows: &[u32], width: usize) {
    for (from, &row) in from.chunks_exact(width).zip(rows) {
        for (a, &b) in to[row as usize * width..][..width].iter_mut().zip(from) {
            *a += b;
        }
    }
}
