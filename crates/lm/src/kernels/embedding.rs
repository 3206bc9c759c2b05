//! Token embedding: rows of a table, and the gradient scattered back into them.

use rayon::prelude::*;

/// Copies row `tokens[i]` of `table[vocab, d]` into row `i` of `x`.
pub fn forward(x: &mut [f32], table: &[f32], tokens: &[u32], d: usize) {
    x.par_chunks_mut(256 * d).zip(tokens.par_chunks(256)).for_each(|(x, tokens)| {
        for (x, &t) in x.chunks_exact_mut(d).zip(tokens) {
            x.copy_from_slice(&table[t as usize * d..(t as usize + 1) * d]);
        }
    });
}

/// Adds row `i` of `dx` to row `tokens[i]` of `dtable`, in row order.
pub fn backward(dtable: &mut [f32], dx: &[f32], tokens: &[u32], d: usize) {
    for (dx, &t) in dx.chunks_exact(d).zip(tokens) {
        let row = &mut dtable[t as usize * d..(t as usize + 1) * d];
        for (a, &b) in row.iter_mut().zip(dx) {
            *a += b;
        }
    }
}
