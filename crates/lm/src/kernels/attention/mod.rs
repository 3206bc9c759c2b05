//! Causal attention over the ancestors of a token segment, without a tokens x tokens matrix.
//!
//! A tile of queries meets its keys in strips of at most [`DEPTH`]: scores, a running softmax, and the
//! weighted sum of values, all in the first-level cache; the backward pass recomputes the strip from
//! the saved log-sum-exp (Dao et al. 2022). Keys lie in panels that every query of a kv head shares.
//! The ancestors of a segment need not be adjacent, so a strip may begin and end anywhere.

use std::ops::Range;

use multiversion::multiversion;

use super::math::{self, LANES};
use super::panel::{Matrix, bf16_pair, pack_rows, steps};
use super::tile::{COLUMNS, DEPTH, Format, Layout, ROWS, kernels};
use crate::batch::TreeBatch;

mod backward;
mod forward;

pub use backward::{HeadPanels, Saved, backward};
pub use forward::{forward, with_tiles};

/// Query rows of one piece of work.
const BLOCK: usize = 4 * ROWS;

/// Widest head: a row of queries is a row of a tile.
pub const MAX_HEAD_DIM: usize = DEPTH;

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

    /// Query heads that share a key/value head.
    pub fn group(self) -> usize {
        self.query / self.kv
    }

    /// Column of a row where query head `h` begins.
    pub fn query_column(self, h: usize) -> usize {
        h * self.dim
    }

    /// Column of a row where key head `g` begins.
    pub fn key_column(self, g: usize) -> usize {
        (self.query + g) * self.dim
    }

    /// Column of a row where value head `g` begins.
    pub fn value_column(self, g: usize) -> usize {
        (self.query + self.kv + g) * self.dim
    }

    /// What scores are multiplied by: `1 / sqrt(dim)`.
    pub fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Floats of a row of values, filled up to whole panels.
    pub fn padded(self) -> usize {
        self.dim.next_multiple_of(COLUMNS)
    }
}

/// At most [`DEPTH`] consecutive keys of one head, and which of them a tile of queries sees.
#[derive(Clone, Copy)]
pub struct Strip {
    /// Transposed keys: panels of 32 keys, `dim` steps each, from the strip's first key on.
    pub keys: *const u32,
    /// Values: steps of 32 columns from the strip's first key on.
    pub values: *const u32,
    /// Words between the panels of the values.
    pub value_panel: usize,
    /// First key seen.
    pub from: usize,
    /// End of the keys seen.
    pub to: usize,
    /// Query `i` sees no key from `diagonal + i` on.
    pub diagonal: isize,
}

impl Strip {
    /// End of the keys that query `i` sees.
    fn seen(&self, i: usize) -> usize {
        self.to.min((self.diagonal + i as isize).max(0) as usize)
    }
}

/// Working memory of [`attend`].
#[repr(C, align(64))]
pub struct Tiles {
    /// Queries, a row of [`DEPTH`] words each.
    queries: [u32; ROWS * DEPTH],
    /// Scores of a strip, f32, and then its weights as left operand.
    scores: [u32; ROWS * DEPTH],
    /// Weighted sums of values, `padded` floats a row.
    sums: [f32; ROWS * DEPTH],
}

impl Tiles {
    /// Zeros.
    pub fn new() -> Box<Self> {
        Box::new(Tiles { queries: [0; ROWS * DEPTH], scores: [0; ROWS * DEPTH], sums: [0.0; ROWS * DEPTH] })
    }
}

/// Attention of one tile of `rows` queries of one head over keys and values of the given format;
/// `write(i, sum, lse)` gets each query's result and its log-sum-exp of scaled scores.
///
/// # Safety
/// The pointers of the strips are valid for the keys seen, in whole panels of 32 and whole steps.
pub unsafe fn attend(
    tiles: &mut Tiles,
    queries: Matrix<'_>,
    rows: usize,
    (heads, format): (Heads, Format),
    strips: impl Iterator<Item = Strip>,
    mut write: impl FnMut(usize, &[f32], f32),
) {
    pack_rows(&mut tiles.queries, queries, rows, heads.dim, format);
    let kernel = kernels().family(format, Layout::Rows)[rows - 1];
    let padded = heads.padded();
    let (mut top, mut total) = ([f32::NEG_INFINITY; ROWS], [0f32; ROWS]);
    let mut first = true;
    for strip in strips {
        let to = strip.seen(rows - 1);
        if to <= strip.from {
            continue;
        }
        let keys = strip.from..to;
        // SAFETY: the tiles hold `rows` rows of DEPTH words, panels are valid as promised, and `sums`
        // holds `rows x padded` floats.
        unsafe {
            let scores = tiles.scores.as_mut_ptr().cast();
            score(tiles.queries.as_ptr(), strip.keys, keys.clone(), rows, heads.dim, format, scores);
            let mut seen = [0; ROWS];
            (0..rows).for_each(|i| seen[i] = strip.seen(i));
            let scores: &mut [f32] = bytemuck::cast_slice_mut(&mut tiles.scores[..rows * DEPTH]);
            let kept = softmax(scores, keys.clone(), &seen, heads.scale(), &mut top, &mut total);
            if !first {
                for (sums, kept) in tiles.sums.chunks_exact_mut(padded).zip(kept).take(rows) {
                    sums.iter_mut().for_each(|s| *s *= kept);
                }
            }
            let (word, step, steps) = weights_as_left(&mut tiles.scores[..rows * DEPTH], keys, format);
            for p in 0..padded / COLUMNS {
                let values = strip.values.add(p * strip.value_panel + step * COLUMNS);
                let sums = tiles.sums.as_mut_ptr().add(p * COLUMNS);
                kernel(steps, tiles.scores.as_ptr().add(word), values, sums, padded, COLUMNS, !first);
            }
        }
        first = false;
    }
    for i in 0..rows {
        let sum = &mut tiles.sums[i * padded..][..heads.dim];
        let inverse = 1.0 / total[i];
        sum.iter_mut().for_each(|s| *s *= inverse);
        write(i, sum, top[i] + total[i].ln());
    }
}

/// Makes rows of f32 weights of some keys the left operand of a product with these keys' rows: returns
/// the first word of a row, the first step of the right operand, and the number of steps.
///
/// Weights outside `keys` up to the next multiple of 16 are zero, so a pair may stick out by one.
fn weights_as_left(weights: &mut [u32], keys: Range<usize>, format: Format) -> (usize, usize, usize) {
    let (first, last) = (keys.start / 2, keys.end.div_ceil(2));
    match format {
        Format::F32 => (keys.start, keys.start, keys.len()),
        Format::Widened => (2 * first, first, last - first),
        Format::Bf16 => {
            narrow(weights, first, last);
            (first, first, last - first)
        }
    }
}

/// Turns the f32 words `2 first..2 last` of every row into pairs of bf16, in the words `first..last`.
#[multiversion(targets = "simd")]
fn narrow(rows: &mut [u32], first: usize, last: usize) {
    for row in rows.chunks_exact_mut(DEPTH) {
        let mut pairs = [0; DEPTH / 2];
        for (pair, x) in pairs[first..last].iter_mut().zip(row[2 * first..2 * last].as_chunks::<2>().0) {
            *pair = bf16_pair(f32::from_bits(x[0]), f32::from_bits(x[1]));
        }
        row[first..last].copy_from_slice(&pairs[first..last]);
    }
}

/// Scores of a tile of queries with the panels that hold the keys `seen`.
///
/// # Safety
/// `queries` and `scores` hold `rows` rows of [`DEPTH`] words, and the panels of these keys are valid.
unsafe fn score(
    queries: *const u32,
    keys: *const u32,
    seen: Range<usize>,
    rows: usize,
    dim: usize,
    format: Format,
    scores: *mut f32,
) {
    let kernel = kernels().family(format, Layout::Rows)[rows - 1];
    let steps = steps(dim, format);
    for p in seen.start / COLUMNS..seen.end.div_ceil(COLUMNS) {
        // SAFETY: as promised to this function.
        unsafe {
            let panel = keys.add(p * steps * COLUMNS);
            kernel(steps, queries, panel, scores.add(p * COLUMNS), DEPTH, COLUMNS, false);
        }
    }
}

/// One strip of a running softmax: turns scores into weights relative to the highest score so far, and
/// those not seen into zero. Returns what earlier sums have to be multiplied by.
#[multiversion(targets = "simd")]
fn softmax(
    scores: &mut [f32],
    strip: Range<usize>,
    seen: &[usize; ROWS],
    scale: f32,
    top: &mut [f32; ROWS],
    total: &mut [f32; ROWS],
) -> [f32; ROWS] {
    let mut kept = [1f32; ROWS];
    for (i, row) in scores.chunks_exact_mut(DEPTH).enumerate() {
        let seen = strip.start..seen[i].max(strip.start);
        let Some(vectors) = isolate(row, seen.clone(), strip.end, f32::NEG_INFINITY) else { continue };
        let (vectors, _) = vectors.as_chunks_mut::<LANES>();
        let mut highest = [f32::NEG_INFINITY; LANES];
        for scores in &*vectors {
            for lane in 0..LANES {
                highest[lane] = if scores[lane] > highest[lane] { scores[lane] } else { highest[lane] };
            }
        }
        let new = highest.iter().fold(top[i], |a, &b| if b * scale > a { b * scale } else { a });
        let mut sums = [0f32; LANES];
        for scores in vectors {
            let mut weights = *scores;
            for lane in 0..LANES {
                weights[lane] = math::exp(weights[lane] * scale - new);
                sums[lane] += weights[lane];
            }
            *scores = weights;
        }
        isolate(row, seen, strip.end, 0.0);
        kept[i] = if top[i] == f32::NEG_INFINITY { 0.0 } else { math::exp(top[i] - new) };
        total[i] = total[i] * kept[i] + math::total(sums);
        top[i] = new;
    }
    kept
}

/// The whole vectors that hold the keys `seen` of a row, with `rest` in their other lanes; vectors behind
/// them are zeroed up to `end`. None if no key is seen.
#[inline(always)]
fn isolate(row: &mut [f32], seen: Range<usize>, end: usize, rest: f32) -> Option<&mut [f32]> {
    let first = seen.start / LANES * LANES;
    let last = if seen.is_empty() { first } else { seen.end.next_multiple_of(LANES) };
    row[last..end.next_multiple_of(LANES)].fill(0.0);
    if seen.is_empty() {
        return None;
    }
    row[first..seen.start].fill(rest);
    row[seen.end..last].fill(rest);
    Some(&mut row[first..last])
}

/// Queries of a batch in pieces: run, first row, end row.
fn blocks(batch: &TreeBatch) -> Vec<(usize, usize, usize)> {
    let mut all = Vec::new();
    for (r, run) in batch.runs().iter().enumerate() {
        for a in run.rows.clone().step_by(BLOCK) {
            all.push((r, a, run.rows.end.min(a + BLOCK)));
        }
    }
    all
}

/// Row ranges of the keys that the queries up to row `end` of run `r` see, their own rows last.
fn key_rows(batch: &TreeBatch, r: usize, end: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let run = &batch.runs()[r];
    run.context.iter().cloned().chain(std::iter::once(run.rows.start..end))
}

/// The keys of [`key_rows`] in pieces of at most [`DEPTH`] rows that begin with a panel: first row of the
/// first panel, and the rows seen.
fn strip_rows(batch: &TreeBatch, r: usize, end: usize) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    key_rows(batch, r, end).flat_map(|rows| {
        let first = rows.start / COLUMNS * COLUMNS;
        (first..rows.end)
            .step_by(DEPTH)
            .map(move |base| (base, rows.start.max(base)..rows.end.min(base + DEPTH)))
    })
}
