//! Causal attention over the ancestors of a token segment, without a tokens x tokens matrix.
//!
//! A block of queries is scored against all the keys it may see, a strip of at most [`BLOCK`] rows,
//! normalised and applied; the backward pass recomputes the strip from the saved log-sum-exp
//! (Dao et al. 2022). Keys come in spans, because the ancestors of a segment need not be adjacent.

use multiversion::multiversion;
use rayon::prelude::*;

use super::matmul::{View, strided};
use super::{SharedMut, math};
use crate::batch::TreeBatch;

/// Most queries that [`attend`] takes at once.
pub const BLOCK: usize = 64;

/// Head counts and width.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key/value heads; each serves `query / kv` query heads.
    pub kv: usize,
    /// Floats per head.
    pub dim: usize,
}

impl Heads {
    /// Floats of one row that holds queries, keys and values in this order.
    pub fn qkv_width(self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }

    /// Floats of one row of queries (or of the attention's result).
    pub fn q_width(self) -> usize {
        self.query * self.dim
    }

    /// Floats of one row of keys (or of values).
    pub fn kv_width(self) -> usize {
        self.kv * self.dim
    }

    /// What scores are multiplied by: `1 / sqrt(dim)`.
    pub fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// Consecutive keys and values of one head, `row` floats apart.
#[derive(Clone, Copy)]
pub struct Span {
    /// First key.
    pub k: *const f32,
    /// First value.
    pub v: *const f32,
    /// Number of keys.
    pub len: usize,
    /// Distance between consecutive keys (and values).
    pub row: usize,
}

/// One head's queries: `rows` of them, `row` floats apart, the last `causal` keys being their own.
///
/// Query `i` sees all keys but the last `causal - 1 - i` (with `causal` 0: all of them).
#[derive(Clone, Copy)]
pub struct Queries {
    /// First query.
    pub ptr: *const f32,
    /// Number of queries.
    pub rows: usize,
    /// Distance between queries.
    pub row: usize,
    /// 0, or `rows` when the last `rows` keys belong to the queries themselves.
    pub causal: usize,
}

impl Queries {
    fn visible(&self, i: usize, keys: usize) -> usize {
        if self.causal == 0 { keys } else { keys - self.causal + i + 1 }
    }
}

/// Attention of one head: results to `out` (rows `out_row` apart); returns nothing but calls
/// `log_sum_exp(i, value)` for each query.
///
/// # Safety
/// All pointers are valid for the rows, spans and head width given, and `out` is not otherwise in use.
#[allow(clippy::too_many_arguments)]
pub unsafe fn attend(
    q: Queries,
    spans: &[Span],
    dim: usize,
    scale: f32,
    strip: &mut Vec<f32>,
    out: *mut f32,
    out_row: usize,
    mut log_sum_exp: impl FnMut(usize, f32),
) {
    let keys: usize = spans.iter().map(|s| s.len).sum();
    strip.resize(strip.len().max(q.rows * keys), 0.0);
    let qv = View { ptr: q.ptr, row: q.row, col: 1 };
    let mut start = 0;
    for s in spans {
        // SAFETY: the strip holds rows x keys floats; the rest is promised by the caller.
        unsafe {
            let k = View { ptr: s.k, row: 1, col: s.row };
            strided((q.rows, s.len, dim), strip.as_mut_ptr().add(start), keys, 0.0, qv, k, scale);
        }
        start += s.len;
    }
    let mut inverse = [0f32; BLOCK];
    for i in 0..q.rows {
        let seen = q.visible(i, keys);
        let row = &mut strip[i * keys..(i + 1) * keys];
        row[seen..].fill(0.0);
        let (top, total) = exponentials(&mut row[..seen]);
        inverse[i] = 1.0 / total;
        log_sum_exp(i, top + total.ln());
    }
    let mut start = 0;
    for (n, s) in spans.iter().enumerate() {
        let beta = if n == 0 { 0.0 } else { 1.0 };
        // SAFETY: as above.
        unsafe {
            let p = View { ptr: strip.as_ptr().add(start), row: keys, col: 1 };
            let v = View { ptr: s.v, row: s.row, col: 1 };
            strided((q.rows, dim, s.len), out, out_row, beta, p, v, 1.0);
        }
        start += s.len;
    }
    for (i, inverse) in inverse.iter().enumerate().take(q.rows) {
        // SAFETY: row i of the result, `dim` floats.
        let row = unsafe { std::slice::from_raw_parts_mut(out.add(i * out_row), dim) };
        row.iter_mut().for_each(|v| *v *= inverse);
    }
}

/// Replaces scores by `e^(score - top)`; returns the top and the sum.
#[multiversion(targets = "simd")]
fn exponentials(row: &mut [f32]) -> (f32, f32) {
    let top = math::max(row);
    (top, math::exp_shifted(row, top).0)
}

/// Turns scaled scores into probabilities and `dp` into the gradient of the unscaled scores.
#[multiversion(targets = "simd")]
fn score_grad(p: &mut [f32], dp: &mut [f32], lse: f32, scale: f32, dout: &[f32], out: &[f32]) {
    let delta = math::dot(dout, out);
    for (p, dp) in p.iter_mut().zip(dp) {
        *p = math::exp(*p - lse);
        *dp = *p * (*dp - delta) * scale;
    }
}

/// The blocks of queries of a batch: run index, first row, end row.
fn blocks(batch: &TreeBatch) -> Vec<(usize, usize, usize)> {
    let mut all = Vec::new();
    for (r, run) in batch.runs().iter().enumerate() {
        let mut a = run.rows.start;
        while a < run.rows.end {
            let b = run.rows.end.min(a + BLOCK);
            all.push((r, a, b));
            a = b;
        }
    }
    all
}

/// Row ranges of the keys that the queries `a..b` of run `r` see, their own rows last.
fn key_rows(batch: &TreeBatch, r: usize, b: usize) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let run = &batch.runs()[r];
    run.context.iter().cloned().chain(std::iter::once(run.rows.start..b))
}

/// `out[rows, q_width]` and `lse[rows, query heads]` from prepared `qkv[rows, qkv_width]`.
pub fn forward(out: &mut [f32], lse: &mut [f32], qkv: &[f32], batch: &TreeBatch, heads: Heads) {
    let (w, hd, group) = (heads.qkv_width(), heads.dim, heads.query / heads.kv);
    let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
    blocks(batch).par_iter().for_each_init(
        || (Vec::new(), Vec::new()),
        |(strip, spans), &(r, a, b)| {
            for h in 0..heads.query {
                let (kc, vc) = ((heads.query + h / group) * hd, (heads.query + heads.kv + h / group) * hd);
                spans.clear();
                spans.extend(key_rows(batch, r, b).map(|rows| Span {
                    k: qkv[rows.start * w + kc..].as_ptr(),
                    v: qkv[rows.start * w + vc..].as_ptr(),
                    len: rows.len(),
                    row: w,
                }));
                let q = Queries { ptr: qkv[a * w + h * hd..].as_ptr(), rows: b - a, row: w, causal: b - a };
                let (ow, oh) = (heads.q_width(), h * hd);
                // SAFETY: every (block, head) writes its own rows and columns of `out` and `lse`.
                unsafe {
                    attend(q, spans, hd, heads.scale(), strip, out.at(a * ow + oh), ow, |i, v| {
                        *lse.at((a + i) * heads.query + h) = v;
                    });
                }
            }
        },
    );
}

/// What the backward pass reads, all saved by the forward pass but `dout`.
pub struct Saved<'a> {
    /// Prepared queries, keys and values.
    pub qkv: &'a [f32],
    /// The attention's result.
    pub out: &'a [f32],
    /// Log-sum-exp of the scaled scores, per row and query head.
    pub lse: &'a [f32],
    /// Gradient of the result.
    pub dout: &'a [f32],
}

/// Writes the gradient of prepared queries, keys and values to `dqkv`.
///
/// Work is divided by tree and key/value head: each piece owns the keys it adds to, so the order of
/// additions is fixed.
pub fn backward(dqkv: &mut [f32], saved: &Saved<'_>, batch: &TreeBatch, heads: Heads) {
    dqkv.fill(0.0);
    let mut by_tree: Vec<Vec<(usize, usize, usize)>> = vec![Vec::new(); batch.trees()];
    for block in blocks(batch) {
        by_tree[batch.runs()[block.0].tree].push(block);
    }
    let pieces: Vec<(usize, usize)> =
        (0..batch.trees()).flat_map(|t| (0..heads.kv).map(move |g| (t, g))).collect();
    let grad = SharedMut::new(dqkv);
    let group = heads.query / heads.kv;
    pieces.par_iter().for_each_init(Strips::default, |strips, &(tree, g)| {
        for &(r, a, b) in &by_tree[tree] {
            for h in g * group..(g + 1) * group {
                block_backward(grad, saved, batch, heads, (r, a, b), (h, g), strips);
            }
        }
    });
}

/// Scratch of one worker.
#[derive(Default)]
struct Strips {
    p: Vec<f32>,
    dp: Vec<f32>,
}

/// Adds the gradient of one block of queries of head `h` (keys of head `g`).
fn block_backward(
    grad: SharedMut,
    saved: &Saved<'_>,
    batch: &TreeBatch,
    heads: Heads,
    (r, a, b): (usize, usize, usize),
    (h, g): (usize, usize),
    strips: &mut Strips,
) {
    let (w, ow, hd, n) = (heads.qkv_width(), heads.q_width(), heads.dim, b - a);
    let (kc, vc) = ((heads.query + g) * hd, (heads.query + heads.kv + g) * hd);
    let keys: usize = key_rows(batch, r, b).map(|r| r.len()).sum();
    strips.p.resize(strips.p.len().max(n * keys), 0.0);
    strips.dp.resize(strips.dp.len().max(n * keys), 0.0);
    let (p, dp) = (strips.p.as_mut_ptr(), strips.dp.as_mut_ptr());
    let row_major = |ptr: *const f32, row: usize| View { ptr, row, col: 1 };
    let transposed = |ptr: *const f32, row: usize| View { ptr, row: 1, col: row };
    let q = saved.qkv[a * w + h * hd..].as_ptr();
    let dout = saved.dout[a * ow + h * hd..].as_ptr();
    let mut start = 0;
    for rows in key_rows(batch, r, b) {
        let k = saved.qkv[rows.start * w + kc..].as_ptr();
        let v = saved.qkv[rows.start * w + vc..].as_ptr();
        // SAFETY: the strips hold n x keys floats, owned by this worker.
        unsafe {
            let shape = (n, rows.len(), hd);
            strided(shape, p.add(start), keys, 0.0, row_major(q, w), transposed(k, w), heads.scale());
            strided(shape, dp.add(start), keys, 0.0, row_major(dout, ow), transposed(v, w), 1.0);
        }
        start += rows.len();
    }
    for i in 0..n {
        let seen = keys - n + i + 1;
        let (p, dp) = (&mut strips.p[i * keys..(i + 1) * keys], &mut strips.dp[i * keys..(i + 1) * keys]);
        p[seen..].fill(0.0);
        dp[seen..].fill(0.0);
        let (p, dp) = (&mut p[..seen], &mut dp[..seen]);
        let lse = saved.lse[(a + i) * heads.query + h];
        let at = (a + i) * ow + h * hd;
        score_grad(p, dp, lse, heads.scale(), &saved.dout[at..at + hd], &saved.out[at..at + hd]);
    }
    let (p, dp) = (strips.p.as_ptr(), strips.dp.as_ptr());
    let mut start = 0;
    for (s, rows) in key_rows(batch, r, b).enumerate() {
        let k = saved.qkv[rows.start * w + kc..].as_ptr();
        let len = rows.len();
        // SAFETY: the columns of query head h and of key/value head g in this tree's rows are written
        // by this piece alone, one product after the other.
        unsafe {
            let (dq, at) = (grad.at(a * w + h * hd), rows.start * w);
            let beta = if s == 0 { 0.0 } else { 1.0 };
            strided((n, hd, len), dq, w, beta, row_major(dp.add(start), keys), row_major(k, w), 1.0);
            let (dk, dv) = (grad.at(at + kc), grad.at(at + vc));
            strided((len, hd, n), dk, w, 1.0, transposed(dp.add(start), keys), row_major(q, w), 1.0);
            strided((len, hd, n), dv, w, 1.0, transposed(p.add(start), keys), row_major(dout, ow), 1.0);
        }
        start += len;
    }
}
