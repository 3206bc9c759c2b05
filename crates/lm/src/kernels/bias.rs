//! A bias added to every row, and its gradient: the sum of all rows.

use multiversion::multiversion;

/// Adds `bias` to every row of `x`.
#[multiversion(targets = "simd")]
pub fn forward(x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_exact_mut(bias.len()) {
        for (v, b) in row.iter_mut().zip(bias) {
            *v += b;
        }
    }
}

/// Adds every row of `dx` to `dbias`.
#[multiversion(targets = "simd")]
pub fn backward(dbias: &mut [f32], dx: &[f32]) {
    for row in dx.chunks_exact(dbias.len()) {
        for (s, v) in dbias.iter_mut().zip(row) {
            *s += v;
        }
    }
}
