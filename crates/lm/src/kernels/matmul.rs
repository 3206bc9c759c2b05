//! Matrix products: of activations with a weight matrix, and of two activations for its gradient.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::SharedMut;
use super::buffer::Buffer;
use super::panel::{Matrix, Panels, block_depth, pack_columns, pack_rows, steps};
use super::tile::{COLUMNS, DEPTH, Layout, ROWS, kernels};

/// Rows of activations that one piece of work takes through a layer: what it makes of them stays in the
/// second-level cache.
pub const CHUNK: usize = 8 * ROWS;

/// Words of the left operand that are laid out at a time; they stay in the second-level cache.
const LEFT_WORDS: usize = 1 << 17;

/// Most rows of a weight gradient that one piece of work computes; their tiles stay in the second-level cache. Every
/// piece reads the whole right operand, which often does not.
const GRADIENT_ROWS: usize = 28 * ROWS;

thread_local! {
    /// Tiles of the left operand; one buffer a thread, so that nothing is allocated in a step.
    static TILES: RefCell<Buffer<u32>> = const { RefCell::new(Buffer::new()) };
}

/// Calls `work` with this thread's buffer of at least `words` words.
fn with_tiles<R>(words: usize, work: impl FnOnce(&mut [u32]) -> R) -> R {
    TILES.with_borrow_mut(|tiles| work(tiles.take(words)))
}

/// The result of a product: rows of `stride` floats of which the leading ones are written.
pub struct Output<'a> {
    /// The rows.
    pub data: &'a mut [f32],
    /// Distance between rows, in floats.
    pub stride: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

impl<'a> Output<'a> {
    /// Replaces what is there.
    pub fn set(data: &'a mut [f32], stride: usize) -> Self {
        Output { data, stride, add: false }
    }

    /// Adds to what is there.
    pub fn add(data: &'a mut [f32], stride: usize) -> Self {
        Output { data, stride, add: true }
    }

    /// Refuses results of less than `rows x columns`.
    fn check(&self, rows: usize, columns: usize) {
        let needed = if rows == 0 { 0 } else { (rows - 1) * self.stride + columns };
        assert!(self.data.len() >= needed, "matrix product: result too small");
    }
}

/// `out[rows, b.columns] (+)= a[rows, b.depth] b`, on the calling thread.
///
/// An element's value does not depend on the other rows.
pub fn product(out: Output<'_>, a: Matrix<'_>, rows: usize, b: &Panels) {
    out.check(rows, b.columns());
    let (stride, add) = (out.stride, out.add);
    // SAFETY: the result holds `rows` rows of `b.columns` floats (checked above).
    unsafe { panels_product(SharedMut::new(out.data), (stride, add), a, rows, b, 0..b.count()) }
}

/// [`product`] for some of the panels of `b`.
///
/// # Safety
/// `out` holds `rows` rows, `stride` floats apart, and nobody else uses the columns of these panels.
unsafe fn panels_product(
    out: SharedMut,
    (stride, add): (usize, bool),
    a: Matrix<'_>,
    rows: usize,
    b: &Panels,
    panels: Range<usize>,
) {
    let block = block_depth(b.format());
    let family = kernels().family(b.format(), Layout::Rows);
    let height = rows.div_ceil(ROWS) * ROWS;
    // Blocks of depth laid out together.
    let together = (LEFT_WORDS / (height * DEPTH)).max(1);
    for outer in (0..b.depth()).step_by(together * block) {
        let end = b.depth().min(outer + together * block);
        with_tiles(height * DEPTH * together, |tiles| {
            for (k, tiles) in (outer..end).step_by(block).zip(tiles.chunks_exact_mut(height * DEPTH)) {
                pack_rows(tiles, a.from(0, k), rows, block.min(end - k), b.format());
            }
            for p in panels.clone() {
                let left = p * COLUMNS;
                let width = COLUMNS.min(b.columns() - left);
                for (k, tiles) in (outer..end).step_by(block).zip(tiles.chunks_exact(height * DEPTH)) {
                    let panel = b.panel(p, steps(k, b.format())).as_ptr();
                    let count = steps(block.min(end - k), b.format());
                    for (row, tile) in (0..rows).step_by(ROWS).zip(tiles.chunks_exact(ROWS * DEPTH)) {
                        let kernel = family[ROWS.min(rows - row) - 1];
                        // SAFETY: the tile holds these rows and steps, the panel as many steps, and the
                        // result `width` columns of these rows, as the caller promises.
                        unsafe {
                            let c = out.at(row * stride + left);
                            kernel(count, tile.as_ptr(), panel, c, stride, width, add || k > 0);
                        }
                    }
                }
            }
        });
    }
}

/// [`product`] with the columns divided among the threads: for few rows.
pub fn wide_product(out: Output<'_>, a: Matrix<'_>, rows: usize, b: &Panels) {
    /// Panels of one piece of work.
    const PIECE: usize = 4;
    out.check(rows, b.columns());
    let (stride, add) = (out.stride, out.add);
    let shared = SharedMut::new(out.data);
    (0..b.count().div_ceil(PIECE)).into_par_iter().for_each(|piece| {
        let panels = piece * PIECE..b.count().min((piece + 1) * PIECE);
        // SAFETY: the result is large enough (checked above), and pieces write disjoint columns.
        unsafe { panels_product(shared, (stride, add), a, rows, b, panels) };
    });
}

/// `grad[outputs, x.columns] += dyᵀ x`, summed over the rows of `dy[rows, outputs]` and `x`, in parallel.
///
/// `x` holds the inputs of the rows in the format that the product is to have.
pub fn gradient(grad: &mut [f32], dy: Matrix<'_>, outputs: usize, x: &Panels) {
    let inputs = x.columns();
    assert_eq!(grad.len(), outputs * inputs, "weight gradient of another size");
    let block = block_depth(x.format());
    let family = kernels().family(x.format(), Layout::Columns);
    // An element's value does not depend on the piece it is in.
    let rows = outputs.div_ceil(rayon::current_num_threads()).next_multiple_of(ROWS).min(GRADIENT_ROWS);
    grad.par_chunks_mut(rows * inputs).enumerate().for_each(|(piece, grad)| {
        let (first, count) = (piece * rows, grad.len() / inputs);
        with_tiles(GRADIENT_ROWS * DEPTH, |tiles| {
            for k in (0..x.depth()).step_by(block) {
                let depth = block.min(x.depth() - k);
                let steps_here = steps(depth, x.format());
                pack_columns(tiles, dy.from(k, first), count, depth, x.format());
                for p in 0..x.count() {
                    let left = p * COLUMNS;
                    let width = COLUMNS.min(inputs - left);
                    let panel = x.panel(p, steps(k, x.format())).as_ptr();
                    let tiles = tiles.chunks_exact(steps_here * ROWS);
                    for (row, tile) in (0..count).step_by(ROWS).zip(tiles) {
                        let kernel = family[ROWS.min(count - row) - 1];
                        let c = grad[row * inputs + left..].as_mut_ptr();
                        // SAFETY: as in `panels_product`.
                        unsafe { kernel(steps_here, tile.as_ptr(), panel, c, inputs, width, true) };
                    }
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tile::Precision;

    fn fill(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
    }

    #[test]
    fn every_form_equals_the_definition() {
        let shapes = [(1, 1, 1), (3, 5, 7), (64, 33, 17), (200, 40, 1300), (40, 300, 96), (1, 300, 515)];
        for precision in [Precision::F32, Precision::Bf16] {
            let weights = kernels().weight_format(precision);
            let activations = kernels().activation_format(precision);
            // Each of the k products of numbers below 1 is off by at most 2^-8 in bf16.
            let bound = |k: usize| if precision == Precision::F32 { 1e-3 } else { 0.01 * (k as f64).sqrt() };
            for (m, n, k) in shapes {
                let (a, b) = (fill(m * k, 0.1), fill(n * k, 0.7));
                let want = |e: usize| -> f64 {
                    (0..k).map(|p| a[e / n * k + p] as f64 * b[e % n * k + p] as f64).sum()
                };
                let at: Vec<f32> = (0..k * m).map(|e| a[e % m * k + e / m]).collect();
                let bt: Vec<f32> = (0..k * n).map(|e| b[e % n * k + e / n]).collect();
                let mut results = [vec![1.0; m * n], vec![0.0; m * n], vec![1.0; m * n]];
                let mut panels = Panels::default();
                panels.fill_transposed(Matrix::new(&b, k), k, n, weights);
                product(Output::add(&mut results[0], n), Matrix::new(&a, k), m, &panels);
                panels.fill(Matrix::new(&bt, n), k, n, weights);
                wide_product(Output::set(&mut results[1], n), Matrix::new(&a, k), m, &panels);
                panels.fill(Matrix::new(&bt, n), k, n, activations);
                gradient(&mut results[2], Matrix::new(&at, m), m, &panels);
                for (got, before) in results.iter().zip([1.0, 0.0, 1.0]) {
                    for (e, g) in got.iter().enumerate() {
                        let want = want(e) + before;
                        assert!(
                            (*g as f64 - want).abs() < bound(k),
                            "{precision:?} {m}x{n}x{k}: {g} != {want}"
                        );
                    }
                }
            }
        }
    }
}
