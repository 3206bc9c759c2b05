//! Causal attention over the ancestors of a token segment, without a tokens x tokens matrix.
//!
//! A tile of queries meets its keys in strips of at most [`DEPTH`]: scores, a running softmax, and the
//! weighted sum of values, all in the first-level cache; the backward pass recomputes the strip from
//! the saved log-sum-exp (Dao et al. 2022). Keys lie in panels that every query of a kv head shares.
//! The ancestors of a segment need not be adjacent, so a strip may begin and end anywhere.

use std::ops::Range;

use multiversion::multiversion;

use super::panel::{Matrix, bf16_pair, pack_rows, steps};
use super::tile::{COLUMNS, DEPTH, Format, Layout, ROWS, kernels};
use crate::batch::TreeBatch;
use softmax::{Running, weigh};

mod backward;
mod forward;
mod softmax;

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

/// The rows of a batch that attention is computed for, ascending: all, or those whose result somebody needs.
#[derive(Debug, Default)]
pub struct Queries {
    rows: Vec<u32>,
    blocks: Vec<Block>,
}

/// At most [`BLOCK`] queries of one run.
#[derive(Clone, Debug)]
struct Block {
    tree: usize,
    run: usize,
    /// Their numbers among the queries.
    numbers: Range<usize>,
}

impl Queries {
    /// Chooses `rows` of a batch, ascending.
    pub fn choose(&mut self, batch: &TreeBatch, rows: impl Iterator<Item = u32>) {
        self.rows.clear();
        self.rows.extend(rows);
        self.blocks.clear();
        let mut first = 0;
        for (r, run) in batch.runs().iter().enumerate() {
            let end = first + self.rows[first..].partition_point(|&row| (row as usize) < run.rows.end);
            let blocks = (first..end).step_by(BLOCK).map(|a| a..end.min(a + BLOCK));
            self.blocks.extend(blocks.map(|numbers| Block { tree: run.tree, run: r, numbers }));
            first = end;
        }
    }

    /// Their rows in the batch.
    pub fn rows(&self) -> &[u32] {
        &self.rows
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
    /// A query sees no key from `diagonal` on, counted from the key of its own row.
    pub diagonal: isize,
}

impl Strip {
    /// End of the keys that the query of row `row` sees.
    fn seen(&self, row: u32) -> usize {
        self.to.min((self.diagonal + row as isize).max(0) as usize)
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

/// Attention of one tile of queries of one head over keys and values of the given format; `write(i, sum, lse)` gets
/// each query's result and its log-sum-exp of scaled scores. `rows` are the queries' rows, ascending, which the strips'
/// diagonals refer to.
///
/// # Safety
/// The pointers of the strips are valid for the keys seen, in whole panels of 32 and whole steps.
pub unsafe fn attend(
    tiles: &mut Tiles,
    queries: Matrix<'_>,
    rows: &[u32],
    (heads, format): (Heads, Format),
    strips: impl Iterator<Item = Strip>,
    mut write: impl FnMut(usize, &[f32], f32),
) {
    let count = rows.len();
    pack_rows(&mut tiles.queries, queries, count, heads.dim, format);
    let kernel = kernels().family(format, Layout::Rows)[count - 1];
    let padded = heads.padded();
    let mut running = Running::new();
    let mut first = true;
    for strip in strips {
        let to = strip.seen(rows[count - 1]);
        if to <= strip.from {
            continue;
        }
        let keys = strip.from..to;
        // SAFETY: the tiles hold `rows` rows of DEPTH words, panels are valid as promised, and `sums`
        // holds `rows x padded` floats.
        unsafe {
            let scores = tiles.scores.as_mut_ptr().cast();
            score(tiles.queries.as_ptr(), strip.keys, keys.clone(), count, heads.dim, format, scores);
            let mut seen = [0; ROWS];
            seen.iter_mut().zip(rows).for_each(|(seen, &row)| *seen = strip.seen(row));
            let scores: &mut [f32] = bytemuck::cast_slice_mut(&mut tiles.scores[..count * DEPTH]);
            let kept = weigh(scores, keys.clone(), &seen, heads.scale(), &mut running);
            if !first {
                for (sums, kept) in tiles.sums.chunks_exact_mut(padded).zip(kept).take(count) {
                    sums.iter_mut().for_each(|s| *s *= kept);
                }
            }
            let (word, step, steps) = weights_as_left(&mut tiles.scores[..count * DEPTH], keys, format);
            for p in 0..padded / COLUMNS {
                let values = strip.values.add(p * strip.value_panel + step * COLUMNS);
                let sums = tiles.sums.as_mut_ptr().add(p * COLUMNS);
                kernel(steps, tiles.scores.as_ptr().add(word), values, sums, padded, COLUMNS, !first);
            }
        }
        first = false;
    }
    for i in 0..count {
        let sum = &mut tiles.sums[i * padded..][..heads.dim];
        let inverse = 1.0 / running.total[i];
        sum.iter_mut().for_each(|s| *s *= inverse);
        write(i, sum, running.top[i] + running.total[i].ln());
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
