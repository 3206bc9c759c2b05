//! Laying matrices out for the kernels of [`tile`](super::tile): panels of 32 columns, tiles of 14 rows.

use multiversion::multiversion;
use rayon::prelude::*;

use super::SharedMut;
use super::buffer::Buffer;
use super::tile::{COLUMNS, DEPTH, Format, ROWS};

/// Steps of all panels that are laid out together, in words.
const TOGETHER: usize = 1 << 15;

/// A row-major matrix inside a slice: rows start `stride` floats apart.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// From the first element on.
    pub data: &'a [f32],
    /// Distance between rows, in floats.
    pub stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `stride` floats, one behind the other.
    pub fn new(data: &'a [f32], stride: usize) -> Self {
        Matrix { data, stride }
    }

    /// The matrix from row `row` and column `column` on.
    pub fn from(self, row: usize, column: usize) -> Self {
        Matrix { data: &self.data[row * self.stride + column..], stride: self.stride }
    }

    #[inline(always)]
    fn row(self, row: usize, from: usize, count: usize) -> &'a [f32] {
        &self.data[row * self.stride + from..][..count]
    }
}

/// Rounds to bf16, to nearest and ties to even; the upper half of the word is zero.
#[inline(always)]
pub fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    // Rounding would turn some NaN into numbers.
    if x.is_nan() { 0x7fc0 } else { rounded }
}

/// Two neighbours as one word, each rounded to bf16.
#[inline(always)]
pub fn bf16_pair(low: f32, high: f32) -> u32 {
    bf16(low) | bf16(high) << 16
}

/// The right operand of products: a `depth x columns` matrix in panels of 32 columns.
#[derive(Debug)]
pub struct Panels {
    words: Buffer<u32>,
    depth: usize,
    columns: usize,
    format: Format,
}

impl Default for Panels {
    fn default() -> Self {
        Panels { words: Buffer::new(), depth: 0, columns: 0, format: Format::F32 }
    }
}

impl Panels {
    /// Rows of the matrix: the length of the sums.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The format that products with it have.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Steps of the kernel over the whole depth.
    pub fn steps(&self) -> usize {
        steps(self.depth, self.format)
    }

    /// Number of panels; the last may hold fewer than 32 columns.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(COLUMNS)
    }

    /// The words of panel `p` from step `step` on.
    pub fn panel(&self, p: usize, step: usize) -> &[u32] {
        let size = self.steps() * COLUMNS;
        &self.words.get(size * self.count())[p * size + step * COLUMNS..(p + 1) * size]
    }

    /// Takes another shape; returns the words and how many belong to one panel.
    fn reset(&mut self, depth: usize, columns: usize, format: Format) -> (&mut [u32], usize) {
        (self.depth, self.columns, self.format) = (depth, columns, format);
        let size = self.steps() * COLUMNS;
        let len = size * self.count();
        (self.words.take(len), size)
    }

    /// Takes over the `depth x columns` matrix `m`.
    pub fn fill(&mut self, m: Matrix<'_>, depth: usize, columns: usize, format: Format) {
        let (words, size) = self.reset(depth, columns, format);
        let panels = columns.div_ceil(COLUMNS);
        let words = SharedMut::new(words);
        let together = (TOGETHER / (panels * COLUMNS).max(1)).max(1);
        (0..size / COLUMNS).into_par_iter().step_by(together).for_each(|first| {
            let end = (first + together).min(size / COLUMNS);
            let rows = if format == Format::F32 { first..end } else { 2 * first..depth.min(2 * end) };
            // SAFETY: the panels hold all steps, and each piece writes its own.
            unsafe {
                let words = words.at(first * COLUMNS);
                pack_plain(words, size, m.from(rows.start, 0), columns, rows.len(), format);
            }
        });
    }

    /// Takes over the transpose of the `columns x depth` matrix `m`.
    pub fn fill_transposed(&mut self, m: Matrix<'_>, depth: usize, columns: usize, format: Format) {
        let (words, size) = self.reset(depth, columns, format);
        words.par_chunks_mut(size).enumerate().for_each(|(p, words)| {
            let first = p * COLUMNS;
            pack_transposed(words, m.from(first, 0), columns.min(first + COLUMNS) - first, depth, format);
        });
    }
}

/// Steps of the kernel over `depth` numbers.
pub fn steps(depth: usize, format: Format) -> usize {
    match format {
        Format::F32 => depth,
        Format::Bf16 | Format::Widened => depth.div_ceil(2),
    }
}

/// Steps of panels from `depth` rows and `columns` columns of `m`; the panels lie `size` words apart.
///
/// # Safety
/// Every panel has so many steps from its address on, and nobody else uses them.
#[multiversion(targets = "simd")]
pub unsafe fn pack_plain(
    panels: *mut u32,
    size: usize,
    m: Matrix<'_>,
    columns: usize,
    depth: usize,
    format: Format,
) {
    // SAFETY: as promised to this function.
    let step =
        |p: usize, s: usize| unsafe { &mut *panels.add(p * size + s * COLUMNS).cast::<[u32; COLUMNS]>() };
    // Row by row, so that memory is read in the longest stretches.
    for s in 0..steps(depth, format) {
        let (low, high) = match format {
            Format::F32 => (m.row(s, 0, columns), None),
            Format::Bf16 | Format::Widened => {
                let high = (2 * s + 1 < depth).then(|| m.row(2 * s + 1, 0, columns));
                (m.row(2 * s, 0, columns), high)
            }
        };
        let (whole, rest) = low.as_chunks::<COLUMNS>();
        let whole_high = high.map(|high| high.as_chunks::<COLUMNS>().0);
        for (p, x) in whole.iter().enumerate() {
            *step(p, s) = match whole_high {
                _ if format == Format::F32 => x.map(f32::to_bits),
                Some(high) => std::array::from_fn(|j| bf16_pair(x[j], high[p][j])),
                None => x.map(bf16),
            };
        }
        if !rest.is_empty() {
            let words = step(whole.len(), s);
            words.fill(0);
            for (j, (word, x)) in words.iter_mut().zip(rest).enumerate() {
                let high = high.map_or(0.0, |high| high[whole.len() * COLUMNS + j]);
                *word = if format == Format::F32 { x.to_bits() } else { bf16_pair(*x, high) };
            }
        }
    }
}

/// Side of the squares that are transposed in registers.
const SQUARE: usize = 16;

/// The transpose of a square: four times, rows `i` and `i + 8` are interleaved to rows `2 i` and `2 i + 1`,
/// which rotates the bits of an element's place by one.
#[inline(always)]
fn transpose(mut square: [[u32; SQUARE]; SQUARE]) -> [[u32; SQUARE]; SQUARE] {
    for _ in 0..SQUARE.ilog2() {
        let before = square;
        for i in 0..SQUARE / 2 {
            let (a, b) = (before[i], before[i + SQUARE / 2]);
            for j in 0..SQUARE / 2 {
                (square[2 * i][2 * j], square[2 * i][2 * j + 1]) = (a[j], b[j]);
                let (x, y) = (a[SQUARE / 2 + j], b[SQUARE / 2 + j]);
                (square[2 * i + 1][2 * j], square[2 * i + 1][2 * j + 1]) = (x, y);
            }
        }
    }
    square
}

/// The words of [`SQUARE`] steps of a row of `m`, from step `step` on; zero behind its end.
#[inline(always)]
fn row_words(m: Matrix<'_>, row: usize, step: usize, depth: usize, format: Format) -> [u32; SQUARE] {
    let mut words = [0; SQUARE];
    match format {
        Format::F32 => {
            let x = m.row(row, step, SQUARE.min(depth - step));
            match <&[f32; SQUARE]>::try_from(x) {
                Ok(x) => words = x.map(f32::to_bits),
                Err(_) => words.iter_mut().zip(x).for_each(|(word, x)| *word = x.to_bits()),
            }
        }
        Format::Bf16 | Format::Widened => {
            let x = m.row(row, 2 * step, (2 * SQUARE).min(depth - 2 * step));
            let mut numbers = [0f32; 2 * SQUARE];
            numbers[..x.len()].copy_from_slice(x);
            for (word, x) in words.iter_mut().zip(numbers.as_chunks::<2>().0) {
                *word = bf16_pair(x[0], x[1]);
            }
        }
    }
    words
}

/// One panel from `columns` rows of `m`.
#[multiversion(targets = "simd")]
pub fn pack_transposed(words: &mut [u32], m: Matrix<'_>, columns: usize, depth: usize, format: Format) {
    // Few rows at a time, so that the processor foresees what is read.
    for left in (0..COLUMNS).step_by(SQUARE) {
        for step in (0..words.len() / COLUMNS).step_by(SQUARE) {
            let square = std::array::from_fn(|j| match left + j < columns {
                true => row_words(m, left + j, step, depth, format),
                false => [0; SQUARE],
            });
            let steps = words[step * COLUMNS..].chunks_exact_mut(COLUMNS);
            for (to, from) in steps.zip(transpose(square)) {
                to[left..left + SQUARE].copy_from_slice(&from);
            }
        }
    }
}

/// Numbers of `k` that a tile of [`Layout::Rows`](super::tile::Layout::Rows) holds.
pub fn block_depth(format: Format) -> usize {
    match format {
        Format::F32 | Format::Widened => DEPTH,
        Format::Bf16 => 2 * DEPTH,
    }
}

/// Tiles of `rows` rows of `m`, of `depth` numbers each, at most [`block_depth`].
#[multiversion(targets = "simd")]
pub fn pack_rows(tiles: &mut [u32], m: Matrix<'_>, rows: usize, depth: usize, format: Format) {
    for (i, words) in tiles.chunks_exact_mut(DEPTH).enumerate().take(rows) {
        let row = m.row(i, 0, depth);
        match format {
            Format::F32 | Format::Widened => {
                for (word, x) in words.iter_mut().zip(row) {
                    *word = x.to_bits();
                }
                if format == Format::Widened && depth % 2 == 1 {
                    words[depth] = 0;
                }
            }
            Format::Bf16 => {
                let (pairs, rest) = row.as_chunks::<2>();
                for (word, x) in words.iter_mut().zip(pairs) {
                    *word = bf16_pair(x[0], x[1]);
                }
                if let [last] = rest {
                    words[pairs.len()] = bf16_pair(*last, 0.0);
                }
            }
        }
    }
}

/// Tiles in [`Layout::Columns`](super::tile::Layout::Columns) of the transpose of `depth` rows of `m`:
/// `rows` columns of `m` become the rows of the tiles.
#[multiversion(targets = "simd")]
pub fn pack_columns(tiles: &mut [u32], m: Matrix<'_>, rows: usize, depth: usize, format: Format) {
    let steps = steps(depth, format);
    let size = steps * ROWS;
    for s in 0..steps {
        let (low, high) = match format {
            Format::F32 | Format::Widened => (m.row(s, 0, rows), None),
            Format::Bf16 => (m.row(2 * s, 0, rows), (2 * s + 1 < depth).then(|| m.row(2 * s + 1, 0, rows))),
        };
        let (whole, rest) = low.as_chunks::<ROWS>();
        let whole_high = high.map(|high| high.as_chunks::<ROWS>().0);
        for (t, x) in whole.iter().enumerate() {
            let words = &mut tiles[t * size + s * ROWS..].as_chunks_mut::<ROWS>().0[0];
            *words = match whole_high {
                _ if format != Format::Bf16 => x.map(f32::to_bits),
                Some(high) => std::array::from_fn(|i| bf16_pair(x[i], high[t][i])),
                None => x.map(bf16),
            };
        }
        for (i, x) in rest.iter().enumerate() {
            let high = high.map_or(0.0, |high| high[whole.len() * ROWS + i]);
            let word = if format == Format::Bf16 { bf16_pair(*x, high) } else { x.to_bits() };
            tiles[whole.len() * size + s * ROWS + i] = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        for i in 0..2_000_000u32 {
            let x = f32::from_bits(i.wrapping_mul(2_654_435_761));
            if !x.is_nan() {
                assert_eq!(bf16(x) as u16, half::bf16::from_f32(x).to_bits(), "{x}");
            }
        }
        assert!(half::bf16::from_bits(bf16(f32::NAN) as u16).is_nan());
    }
}
