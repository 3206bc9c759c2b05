//! The gradient of a batch's attention.

use std::cell::RefCell;

use multiversion::multiversion;
use rayon::prelude::*;

use super::softmax::gradient;
use super::{BLOCK, Block, Heads, Queries, score, strip_rows, weights_as_left};
use crate::batch::TreeBatch;
use crate::kernels::panel::{Matrix, Panels, pack_plain, pack_rows, steps};
use crate::kernels::tile::{COLUMNS, DEPTH, Format, Layout, ROWS, kernels};
use crate::kernels::{SharedMut, math};

/// Floats that one piece of work zeroes.
const FILL: usize = 1 << 16;

/// What the backward pass reads, all saved by the forward pass but `dout`.
pub struct Saved<'a> {
    /// Prepared queries of the rows that attention was computed for.
    pub q: Matrix<'a>,
    /// Prepared queries, keys and values of all rows.
    pub qkv: &'a [f32],
    /// The attention's result.
    pub out: &'a [f32],
    /// Log-sum-exp of the scaled scores, per query and query head.
    pub lse: &'a [f32],
    /// Gradient of the result.
    pub dout: &'a [f32],
}

/// Keys and values of one head, as left operands' partners: transposed, then plain.
#[derive(Debug, Default)]
pub struct HeadPanels {
    keys_transposed: Panels,
    values_transposed: Panels,
    keys: Panels,
}

/// Working memory of one thread for a block of queries.
#[repr(C, align(64))]
struct Strips {
    /// Queries and gradients of the result as left operands: rows of [`DEPTH`] words.
    queries: [u32; BLOCK * DEPTH],
    dout: [u32; BLOCK * DEPTH],
    /// Probabilities of a strip, and gradients of its scores.
    weights: [f32; BLOCK * DEPTH],
    dscores: [f32; BLOCK * DEPTH],
    /// The latter of one tile as left operand.
    left: [u32; ROWS * DEPTH],
    /// The block's queries and gradients as panels, `BLOCK` steps each.
    query_panels: [u32; BLOCK * DEPTH],
    dout_panels: [u32; BLOCK * DEPTH],
    /// Gradient of the queries.
    dqueries: [f32; BLOCK * DEPTH],
}

impl Strips {
    fn new() -> Box<Self> {
        bytemuck::allocation::zeroed_box()
    }
}

// SAFETY: arrays of plain numbers, for which zero bytes are valid.
unsafe impl bytemuck::Zeroable for Strips {}

thread_local! {
    static STRIPS: RefCell<Box<Strips>> = RefCell::new(Strips::new());
}

/// Writes the gradient of prepared queries, keys and values of all rows to `dqkv`: zero for the queries of rows that
/// attention was not computed for. `panels` is working memory.
///
/// Work is divided by tree and key/value head: each piece owns the keys it adds to, so the order of
/// additions is fixed.
pub fn backward(
    dqkv: &mut [f32],
    saved: &Saved<'_>,
    (batch, queries): (&TreeBatch, &Queries),
    (heads, format): (Heads, Format),
    panels: &mut Vec<HeadPanels>,
) {
    dqkv.par_chunks_mut(FILL).for_each(|part| part.fill(0.0));
    let (n, hd) = (batch.rows(), heads.dim);
    let rows = Matrix::new(saved.qkv, heads.qkv_width());
    panels.resize_with(heads.kv.max(panels.len()), Default::default);
    for (g, panels) in panels.iter_mut().enumerate().take(heads.kv) {
        let (keys, values) = (rows.from(0, heads.key_column(g)), rows.from(0, heads.value_column(g)));
        panels.keys_transposed.fill_transposed(keys, hd, n, format);
        panels.values_transposed.fill_transposed(values, hd, n, format);
        panels.keys.fill(keys, n, hd, format);
    }
    let trees = queries.blocks.chunk_by(|a, b| a.tree == b.tree);
    let pieces: Vec<(&[Block], usize)> = trees.flat_map(|t| (0..heads.kv).map(move |g| (t, g))).collect();
    let (grad, panels) = (SharedMut::new(dqkv), &*panels);
    pieces.par_iter().for_each(|&(blocks, g)| {
        STRIPS.with_borrow_mut(|strips| {
            for block in blocks {
                for h in g * heads.group()..(g + 1) * heads.group() {
                    // SAFETY: this piece alone writes the columns of query head `h` and of key/value
                    // head `g` in the rows of this tree.
                    unsafe {
                        block_backward(
                            grad,
                            saved,
                            (batch, queries),
                            (heads, format),
                            block,
                            (h, g),
                            &panels[g],
                            strips,
                        )
                    };
                }
            }
        })
    });
}

/// Adds the gradient of one block of queries of head `h` (keys of head `g`).
///
/// # Safety
/// No other thread uses the columns of these heads in the rows of the block's tree of `grad`.
#[allow(clippy::too_many_arguments)]
unsafe fn block_backward(
    grad: SharedMut,
    saved: &Saved<'_>,
    (batch, queries): (&TreeBatch, &Queries),
    (heads, format): (Heads, Format),
    block: &Block,
    (h, g): (usize, usize),
    panels: &HeadPanels,
    s: &mut Strips,
) {
    let (a, n) = (block.numbers.start, block.numbers.len());
    let rows = &queries.rows[block.numbers.clone()];
    let (w, ow, hd) = (heads.qkv_width(), heads.q_width(), heads.dim);
    let padded = heads.padded();
    let q = saved.q.from(a, heads.query_column(h));
    let dout = Matrix::new(saved.dout, ow).from(a, h * hd);
    let mut delta = [0f32; BLOCK];
    pack_rows(&mut s.queries, q, n, hd, format);
    pack_rows(&mut s.dout, dout, n, hd, format);
    let words = n * COLUMNS;
    // SAFETY: both hold BLOCK steps of every panel of a head.
    unsafe {
        pack_plain(s.query_panels.as_mut_ptr(), words, q, hd, n, Format::F32);
        pack_plain(s.dout_panels.as_mut_ptr(), words, dout, hd, n, Format::F32);
    }
    deltas(&mut delta, dout, Matrix::new(saved.out, ow).from(a, h * hd), n, hd);
    let lse = |i: usize| saved.lse[(a + i) * heads.query + h];
    let straight = kernels().family(format, Layout::Rows);
    let transposed = kernels().family(Format::F32, Layout::Transposed);
    for (nth, (base, keys)) in strip_rows(batch, block.run, rows[n - 1] as usize + 1).enumerate() {
        let (from, to) = (keys.start - base, keys.end - base);
        let seen = |i: usize| to.min((rows[i] as usize + 1).saturating_sub(base)).max(from);
        for t in (0..n).step_by(ROWS) {
            let m = ROWS.min(n - t);
            let end = seen(t + m - 1);
            let at = t * DEPTH;
            // SAFETY: the strips hold BLOCK rows of DEPTH words, the panels all rows of the batch.
            unsafe {
                let (keys, values) = (&panels.keys_transposed, &panels.values_transposed);
                for (left, right, to) in
                    [(&s.queries, keys, &mut s.weights), (&s.dout, values, &mut s.dscores)]
                {
                    let panel = right.panel(base / COLUMNS, 0).as_ptr();
                    score(left.as_ptr().add(at), panel, from..end, m, hd, format, to.as_mut_ptr().add(at));
                }
            }
            let tile = at..at + m * DEPTH;
            gradient(
                &mut s.weights[tile.clone()],
                &mut s.dscores[tile],
                (from..end, to),
                &std::array::from_fn(|i| seen(t + i.min(m - 1))),
                heads.scale(),
                (&std::array::from_fn(|i| lse(t + i.min(m - 1))), &delta[t..t + m]),
            );
            if end <= from {
                if nth == 0 {
                    s.dqueries[t * padded..(t + m) * padded].fill(0.0);
                }
                continue;
            }
            let left = &mut s.left[..m * DEPTH];
            left.copy_from_slice(bytemuck::cast_slice(&s.dscores[at..at + m * DEPTH]));
            let (word, step, count) = weights_as_left(left, from..end, format);
            for p in 0..padded / COLUMNS {
                // SAFETY: as above; `dqueries` holds BLOCK rows of `padded` floats.
                unsafe {
                    let left = s.left.as_ptr().add(word);
                    let panel = panels.keys.panel(p, steps(base, format) + step).as_ptr();
                    let sum = s.dqueries.as_mut_ptr().add(t * padded + p * COLUMNS);
                    straight[m - 1](count, left, panel, sum, padded, COLUMNS, nth > 0);
                }
            }
        }
        for key in (from..to).step_by(ROWS) {
            let m = ROWS.min(to - key);
            // Queries before this key do not see it.
            let skip = rows.partition_point(|&row| (row as usize) < base + key) / ROWS * ROWS;
            if skip >= n {
                continue;
            }
            for p in 0..padded / COLUMNS {
                let width = COLUMNS.min(hd - p * COLUMNS);
                let at = (base + key) * w + p * COLUMNS;
                let step = (p * n + skip) * COLUMNS;
                // SAFETY: as above; the columns written belong to this piece, as promised.
                unsafe {
                    let (dk, dv) = (grad.at(at + heads.key_column(g)), grad.at(at + heads.value_column(g)));
                    let left = s.dscores.as_ptr().add(skip * DEPTH + key).cast();
                    transposed[m - 1](n - skip, left, s.query_panels.as_ptr().add(step), dk, w, width, true);
                    let left = s.weights.as_ptr().add(skip * DEPTH + key).cast();
                    transposed[m - 1](n - skip, left, s.dout_panels.as_ptr().add(step), dv, w, width, true);
                }
            }
        }
    }
    for (i, dq) in s.dqueries.chunks_exact(padded).enumerate().take(n) {
        // SAFETY: this row's columns of head `h` belong to this piece, as promised.
        let to = unsafe { grad.slice(rows[i] as usize * w + heads.query_column(h), hd) };
        for (to, dq) in to.iter_mut().zip(dq) {
            *to = *dq;
        }
    }
}

/// `delta[i] = dout_i . out_i`, the softmax gradient's common term.
#[multiversion(targets = "simd")]
fn deltas(delta: &mut [f32; BLOCK], dout: Matrix<'_>, out: Matrix<'_>, rows: usize, dim: usize) {
    for (i, delta) in delta.iter_mut().enumerate().take(rows) {
        *delta = math::dot(&dout.data[i * dout.stride..][..dim], &out.data[i * out.stride..][..dim]);
    }
}
