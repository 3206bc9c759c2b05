//! The inner product kernel: `C[M, 32] (+)= A[M, k] B[k, 32]` with the result in registers.
//!
//! Everything that multiplies matrices is built from this one step. `B` is a *panel*: 32 columns, one
//! contiguous row of 32 words for every step of `k`. `A` is a *tile* of up to 14 rows at fixed strides,
//! so that the kernel needs a single address for it. Every element of `C` is summed in the order of
//! `k`, whatever the tile it is in; results therefore do not depend on how rows are grouped.
//!
//! A word is 4 bytes: an f32, or two neighbouring bf16 along `k`, the lower one first.

use std::sync::OnceLock;

use super::buffer::Buffer;

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Most rows of a tile.
pub const ROWS: usize = 14;

/// Columns of a panel.
pub const COLUMNS: usize = 32;

/// Words of `k` that one tile of `A` holds: what fits the first-level cache together with its panel.
pub const DEPTH: usize = 256;

/// How numbers enter a product. Sums are f32 in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Both operands f32.
    #[default]
    F32,
    /// Weights rounded to bf16; the other operand as well where the processor multiplies bf16 at
    /// twice the speed of f32, else it stays f32.
    Bf16,
}

/// Where the words of a tile of `A` lie: word `(row, step)` at `row * RS + step * KS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Rows of [`DEPTH`] words: `RS = DEPTH`, `KS = 1`.
    Rows,
    /// A step's rows side by side: `RS = 1`, `KS = ROWS`.
    Columns,
    /// As `Rows` with the roles of rows and steps exchanged: `RS = 1`, `KS = DEPTH`.
    Transposed,
}

/// What the words of the operands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// f32 by f32.
    F32,
    /// Pairs of bf16 by pairs of bf16.
    Bf16,
    /// f32 by pairs of bf16 that the kernel widens; a step takes two words of `A`.
    Widened,
}

/// One product: steps, `A`, `B`, `C`, distance of rows of `C`, columns of `C` (at most 32), and whether
/// to add to `C` instead of replacing it.
pub type Tile = unsafe fn(usize, *const u32, *const u32, *mut f32, usize, usize, bool);

/// Kernels of one format and layout, by number of rows less one.
pub type Family = [Tile; ROWS];

/// The kernels of this processor.
pub struct Kernels {
    /// f32 in each [`Layout`].
    f32: [Family; 3],
    /// bf16 in each [`Layout`], where the processor has fast instructions for it.
    bf16: Option<[Family; 3]>,
    /// f32 by bf16, `A` in [`Layout::Rows`].
    widened: Family,
    /// Whether they are those of AVX-512.
    avx512: bool,
}

impl Kernels {
    /// The kernels of a format and layout. [`Format::Widened`] exists for `Rows` only.
    pub fn family(&self, format: Format, layout: Layout) -> &Family {
        match format {
            Format::F32 => &self.f32[layout as usize],
            Format::Bf16 => {
                &self.bf16.as_ref().expect("bf16 products where the processor has them")[layout as usize]
            }
            Format::Widened => {
                assert_eq!(layout, Layout::Rows, "widened products take rows");
                &self.widened
            }
        }
    }

    /// The format of a product with a weight matrix.
    pub fn weight_format(&self, precision: Precision) -> Format {
        match precision {
            Precision::F32 => Format::F32,
            Precision::Bf16 if self.bf16.is_some() => Format::Bf16,
            Precision::Bf16 => Format::Widened,
        }
    }

    /// The format of a product of two activations.
    pub fn activation_format(&self, precision: Precision) -> Format {
        match precision {
            Precision::Bf16 if self.bf16.is_some() => Format::Bf16,
            _ => Format::F32,
        }
    }

    /// Whether what is not a product may take the instructions of AVX-512 (F), too.
    pub fn avx512(&self) -> bool {
        self.avx512
    }

    /// The kernels that need no particular instructions.
    fn portable() -> Self {
        Kernels { f32: portable::F32, bf16: None, widened: portable::WIDENED, avx512: false }
    }

    /// The best kernels of this processor, or those that [`OVERRIDE`] names.
    #[cfg(target_arch = "x86_64")]
    fn select(name: Option<&str>) -> Result<Self, String> {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f");
        let pairs = avx512 && is_x86_feature_detected!("avx512bf16");
        let available = [("portable", true), ("avx2", avx2), ("avx512", avx512), ("avx512bf16", pairs)];
        let best = match (avx2, avx512, pairs && avx512::bf16_is_fast()) {
            (_, true, true) => "avx512bf16",
            (_, true, false) => "avx512",
            (true, ..) => "avx2",
            _ => "portable",
        };
        let name = name.unwrap_or(best);
        if !available.contains(&(name, true)) {
            let names: Vec<_> = available.iter().filter(|a| a.1).map(|a| a.0).collect();
            return Err(format!("{OVERRIDE} is {name:?}; this processor has {}", names.join(", ")));
        }
        let bf16 = (name == "avx512bf16").then_some(avx512::BF16);
        Ok(match name {
            "portable" => Kernels::portable(),
            "avx2" => {
                Kernels { f32: portable::avx2::F32, bf16, widened: portable::avx2::WIDENED, avx512: false }
            }
            _ => Kernels { f32: avx512::F32, bf16, widened: avx512::WIDENED, avx512: true },
        })
    }

    /// The best kernels of this processor, or those that [`OVERRIDE`] names.
    #[cfg(not(target_arch = "x86_64"))]
    fn select(name: Option<&str>) -> Result<Self, String> {
        match name {
            None | Some("portable") => Ok(Kernels::portable()),
            Some(name) => Err(format!("{OVERRIDE} is {name:?}; this processor has portable")),
        }
    }
}

/// Environment variable that names kernels other than the fastest, to compare or to test them:
/// `portable`, `avx2`, `avx512` or `avx512bf16`.
pub const OVERRIDE: &str = "OPID_KERNELS";

/// Whether [`OVERRIDE`], if set, names kernels that this processor has; the error says which it has.
pub fn check_override() -> Result<(), String> {
    Kernels::select(std::env::var(OVERRIDE).ok().as_deref()).map(drop)
}

/// The kernels of this process, chosen once.
///
/// # Panics
/// [`check_override`] fails.
pub fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| match Kernels::select(std::env::var(OVERRIDE).ok().as_deref()) {
        Ok(kernels) => kernels,
        Err(reason) => panic!("{reason}"),
    })
}

/// Multiplies one full tile by one panel `times` times, all in the first-level cache; returns the number of
/// floating-point operations. It measures what the kernels can do at most.
pub fn exercise(precision: Precision, times: usize) -> f64 {
    let format = kernels().weight_format(precision);
    let steps = if format == Format::Widened { DEPTH / 2 } else { DEPTH };
    let depth = if format == Format::F32 { steps } else { 2 * steps };
    let (mut tile, mut panel, mut result) = (Buffer::new(), Buffer::new(), Buffer::new());
    let (tile, panel) = (tile.take(ROWS * DEPTH), panel.take(steps * COLUMNS));
    let result: &mut [f32] = result.take(ROWS * COLUMNS);
    let kernel = kernels().family(format, Layout::Rows)[ROWS - 1];
    for _ in 0..times {
        // SAFETY: tile, panel and result have the sizes the kernel reads and writes.
        unsafe { kernel(steps, tile.as_ptr(), panel.as_ptr(), result.as_mut_ptr(), COLUMNS, COLUMNS, true) };
    }
    (2 * ROWS * COLUMNS * depth * times) as f64
}

/// A kernel's entry point, compiled for some instructions: `tile::<FIRST..., M, RS, KS>`.
macro_rules! kernel {
    ($name:ident, [$($first:tt),*] $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name<const M: usize, const RS: usize, const KS: usize>(
            steps: usize,
            a: *const u32,
            b: *const u32,
            c: *mut f32,
            ldc: usize,
            columns: usize,
            add: bool,
        ) {
            // SAFETY: as promised to this function.
            unsafe { tile::<$($first,)* M, RS, KS>(steps, a, b, c, ldc, columns, add) }
        }
    };
}
use kernel;

/// A family of kernels, for every number of rows, in one [`Layout`].
macro_rules! family {
    ($kernel:ident, Rows) => { family!($kernel, DEPTH, 1) };
    ($kernel:ident, Columns) => { family!($kernel, 1, ROWS) };
    ($kernel:ident, Transposed) => { family!($kernel, 1, DEPTH) };
    ($kernel:ident, $($stride:tt),*) => {
        [
            $kernel::<1, $($stride),*>, $kernel::<2, $($stride),*>, $kernel::<3, $($stride),*>,
            $kernel::<4, $($stride),*>, $kernel::<5, $($stride),*>, $kernel::<6, $($stride),*>,
            $kernel::<7, $($stride),*>, $kernel::<8, $($stride),*>, $kernel::<9, $($stride),*>,
            $kernel::<10, $($stride),*>, $kernel::<11, $($stride),*>, $kernel::<12, $($stride),*>,
            $kernel::<13, $($stride),*>, $kernel::<14, $($stride),*>,
        ]
    };
}
use family;

/// The families of a kernel, in the order of [`Layout`].
macro_rules! families {
    ($kernel:ident) => {
        [family!($kernel, Rows), family!($kernel, Columns), family!($kernel, Transposed)]
    };
}
use families;

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn number(i: usize) -> f32 {
        bf16::from_f32((i as f32 * 12.9898).sin()).to_f32()
    }

    fn pair(low: f32, high: f32) -> u32 {
        bf16::from_f32(low).to_bits() as u32 | (bf16::from_f32(high).to_bits() as u32) << 16
    }

    /// Every kernel against the definition, on numbers that bf16 holds exactly.
    fn check(kernels: &Kernels, format: Format, layout: Layout) {
        let family = kernels.family(format, layout);
        let (rs, ks) = match layout {
            Layout::Rows => (DEPTH, 1),
            Layout::Columns => (1, ROWS),
            Layout::Transposed => (1, DEPTH),
        };
        let depth = |steps: usize| if format == Format::F32 { steps } else { 2 * steps };
        for (rows, tile) in family.iter().enumerate().map(|(i, tile)| (i + 1, tile)) {
            for (steps, columns, add) in [(1, 32, false), (5, 7, true), (14, 16, false), (14, 29, true)] {
                let k = depth(steps);
                let (a, b) =
                    (|i: usize, p: usize| number(i * 31 + p), |p: usize, j: usize| number(p * 37 + j + 999));
                let mut tile_a = vec![0u32; ROWS * DEPTH];
                let mut panel = vec![0u32; steps * COLUMNS];
                for s in 0..steps {
                    for i in 0..rows {
                        match format {
                            Format::F32 => tile_a[i * rs + s * ks] = a(i, s).to_bits(),
                            Format::Bf16 => tile_a[i * rs + s * ks] = pair(a(i, 2 * s), a(i, 2 * s + 1)),
                            Format::Widened => {
                                tile_a[i * rs + 2 * s] = a(i, 2 * s).to_bits();
                                tile_a[i * rs + 2 * s + 1] = a(i, 2 * s + 1).to_bits();
                            }
                        }
                    }
                    for j in 0..COLUMNS {
                        panel[s * COLUMNS + j] = match format {
                            Format::F32 => b(s, j).to_bits(),
                            _ => pair(b(2 * s, j), b(2 * s + 1, j)),
                        };
                    }
                }
                let ldc = 40;
                let mut c = vec![0.5f32; rows * ldc];
                // SAFETY: tile, panel and result have the sizes the kernel reads and writes.
                unsafe { tile(steps, tile_a.as_ptr(), panel.as_ptr(), c.as_mut_ptr(), ldc, columns, add) };
                for (at, got) in c.iter().enumerate() {
                    let (i, j) = (at / ldc, at % ldc);
                    let product: f64 = (0..k).map(|p| a(i, p) as f64 * b(p, j) as f64).sum();
                    let want = match j < columns {
                        true => product + if add { 0.5 } else { 0.0 },
                        false => 0.5,
                    };
                    assert!(
                        (*got as f64 - want).abs() < 1e-5,
                        "{format:?} {layout:?} {rows}x{k}x{columns}: {got} != {want}"
                    );
                }
            }
        }
    }

    const LAYOUTS: [Layout; 3] = [Layout::Rows, Layout::Columns, Layout::Transposed];

    #[test]
    fn all_kernels_of_this_processor_equal_the_definition() {
        for name in ["portable", "avx2", "avx512", "avx512bf16"] {
            let Ok(kernels) = Kernels::select(Some(name)) else { continue };
            LAYOUTS.iter().for_each(|&layout| check(&kernels, Format::F32, layout));
            check(&kernels, Format::Widened, Layout::Rows);
            if kernels.bf16.is_some() {
                LAYOUTS.iter().for_each(|&layout| check(&kernels, Format::Bf16, layout));
            }
        }
        assert!(Kernels::select(Some("portable")).is_ok());
        assert!(Kernels::select(Some("abacus")).is_err_and(|e| e.contains("this processor has portable")));
    }
}
