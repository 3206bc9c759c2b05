//! Causal attention over the ancestors of a token segment, without a tokens x tokens matrix.
//!
//! A tile of queries meets its keys in strips of at most [`DEPTH`]: scores, a running softmax, and the
//! weighted sum of values, all in the first-level cache; the backward pass recomputes the strip from
//! the saved log-sum-exp (Dao et al. 2022). Keys lie in panels that every query of a kv head shares.
//! The ancestors of a segment need not be adjacent, so a strip may begin and end anywhere.

use std::ops::Range;

use multiversion::multiversion;

use super::math::{self, LANES};
use super::tile::{COLUMNS, DEPTH, Format, Layout, ROWS, kernels};
use crate::batch::TreeBatch;

mod backward;
mod forward;

pub use backward::{HeadPanels, Saved, backward};
pub use forward::{forward, with_tiles};

/// Query rows of one piece of work.
const BLOCK: usize = 4 * ROWS;

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
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Tiles {
    /// Queries, scaled, a row of [`DEPTH`] words each.
    pub queries: [f32; ROWS * DEPTH],
    /// Scores of a strip.
    scores: [f32; ROWS * DEPTH],
    /// Weighted sums of values, `padded` floats a row.
    sums: [f32; ROWS * DEPTH],
}

impl Tiles {
    /// Zeros.
    pub fn new() -> Box<Self> {
        let zeros = [0.0; ROWS * DEPTH];
        Box::new(Tiles { queries: zeros, scores: zeros, sums: zeros })
    }

    /// Takes `rows` queries of `dim` floats, `stride` apart, times `scale`.
    pub fn load(&mut self, from: &[f32], stride: usize, rows: usize, dim: usize, scale: f32) {
        for i in 0..rows {
            for (q, x) in self.queries[i * DEPTH..][..dim].iter_mut().zip(&from[i * stride..][..dim]) {
                *q = x * scale;
            }
        }
    }
}

/// Attention of one tile of queries of one head, which `tiles` holds; `write(i, sum, lse)` gets each
/// query's result and its log-sum-exp of scores.
///
/// # Safety
/// The pointers of the strips are valid for the keys seen, in whole panels of 32.
pub unsafe fn attend(
    tiles: &mut Tiles,
    rows: usize,
    heads: Heads,
    strips: impl Iterator<Item = Strip>,
    mut write: impl FnMut(usize, &[f32], f32),
) {
    let kernel = kernels().family(Format::F32, Layout::Rows)[rows - 1];
    let padded = heads.padded();
    let (mut top, mut total) = ([f32::NEG_INFINITY; ROWS], [0f32; ROWS]);
    let mut first = true;
    for strip in strips {
        let to = strip.seen(rows - 1);
        if to <= strip.from {
            continue;
        }
        // SAFETY: the tiles hold `rows` rows of DEPTH words, panels are valid as promised, and `sums`
        // holds `rows x padded` floats.
        unsafe {
            score(tiles.queries.as_ptr(), strip.keys, strip.from..to, rows, heads.dim, tiles.scores.as_mut_ptr());
            let mut seen = [0; ROWS];
            (0..rows).for_each(|i| seen[i] = strip.seen(i));
            let scores = &mut tiles.scores[..rows * DEPTH];
            let kept = softmax(scores, strip.from..to, &seen, &mut top, &mut total);
            if !first {
                for (sums, kept) in tiles.sums.chunks_exact_mut(padded).zip(kept).take(rows) {
                    sums.iter_mut().for_each(|s| *s *= kept);
                }
            }
            for p in 0..padded / COLUMNS {
                let weights = tiles.scores.as_ptr().add(strip.from).cast();
                let values = strip.values.add(p * strip.value_panel + strip.from * COLUMNS);
                let sums = tiles.sums.as_mut_ptr().add(p * COLUMNS);
                kernel(to - strip.from, weights, values, sums, padded, COLUMNS, !first);
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

/// Scores of a tile of queries with the panels that hold the keys `seen`.
///
/// # Safety
/// `queries` and `scores` hold `rows` rows of [`DEPTH`] words, and the panels of these keys are valid.
unsafe fn score(queries: *const f32, keys: *const u32, seen: Range<usize>, rows: usize, dim: usize, scores: *mut f32) {
    let kernel = kernels().family(Format::F32, Layout::Rows)[rows - 1];
    for p in seen.start / COLUMNS..seen.end.div_ceil(COLUMNS) {
        // SAFETY: as promised to this function.
        unsafe {
            let panel = keys.add(p * dim * COLUMNS);
            kernel(dim, queries.cast(), panel, scores.add(p * COLUMNS), DEPTH, COLUMNS, false);
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
    top: &mut [f32; ROWS],
    total: &mut [f32; ROWS],
) -> [f32; ROWS] {
    let mut kept = [1f32; ROWS];
    let (first, last) = (strip.start / LANES, strip.end.div_ceil(LANES));
    for (i, row) in scores.chunks_exact_mut(DEPTH).enumerate() {
        let (row, _) = row.as_chunks_mut::<LANES>();
        let row = &mut row[first..last];
        // Bounds of the keys seen, counted from the first vector; as i32 they compare lane by lane.
        let from = (strip.start - first * LANES) as i32;
        let to = (seen[i].max(strip.start) - first * LANES) as i32;
        let mut highest = [f32::NEG_INFINITY; LANES];
        for (n, scores) in row.iter().enumerate() {
            for lane in 0..LANES {
                let at = (n * LANES + lane) as i32;
                let score = if at >= from && at < to { scores[lane] } else { f32::NEG_INFINITY };
                highest[lane] = if score > highest[lane] { score } else { highest[lane] };
            }
        }
        let new = highest.iter().fold(top[i], |a, &b| if b > a { b } else { a });
        let mut sums = [0f32; LANES];
        for (n, scores) in row.iter_mut().enumerate() {
            let mut weights = *scores;
            for lane in 0..LANES {
                let at = (n * LANES + lane) as i32;
                let weight = math::exp(weights[lane] - new);
                weights[lane] = if at >= from && at < to { weight } else { 0.0 };
                sums[lane] += weights[lane];
            }
            *scores = weights;
        }
        kept[i] = if top[i] == f32::NEG_INFINITY { 0.0 } else { math::exp(top[i] - new) };
        total[i] = total[i] * kept[i] + math::total(sums);
        top[i] = new;
    }
    kept
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
        (first..rows.end).step_by(DEPTH).map(move |base| (base, rows.start.max(base)..rows.end.min(base + DEPTH)))
    })
}
