//! Kernels written as plain loops: for AVX2, and for processors of which nothing is known.

use super::{COLUMNS, DEPTH, Family, ROWS, families, family, kernel};

/// Columns computed together.
const WIDTH: usize = 16;

/// Rows computed together: with [`WIDTH`] columns, the result fills 12 of the 16 registers of AVX2.
const GROUP: usize = 6;

/// A word as f32.
#[inline(always)]
fn number(word: u32) -> f32 {
    f32::from_bits(word)
}

/// `a * b + c`, fused where the processor has an instruction for it (elsewhere it would be a call).
#[inline(always)]
fn multiply_add<const FUSES: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSES { a.mul_add(b, c) } else { a * b + c }
}

/// `G x WIDTH` sums over all steps.
#[inline(always)]
unsafe fn sums<const WIDENS: bool, const FUSES: bool, const G: usize, const RS: usize, const KS: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
) -> [[f32; WIDTH]; G] {
    let mut sums = [[0f32; WIDTH]; G];
    for s in 0..steps {
        // SAFETY: step `s` lies within tile and panel, as the caller promises.
        let b: [u32; WIDTH] = unsafe { b.add(s * COLUMNS).cast::<[u32; WIDTH]>().read_unaligned() };
        for (i, sums) in sums.iter_mut().enumerate() {
            if WIDENS {
                // SAFETY: as above.
                let low = unsafe { number(*a.add(i * RS + 2 * s)) };
                // SAFETY: as above.
                let high = unsafe { number(*a.add(i * RS + 2 * s + 1)) };
                for j in 0..WIDTH {
                    sums[j] = multiply_add::<FUSES>(low, number(b[j] << 16), sums[j]);
                }
                for j in 0..WIDTH {
                    sums[j] = multiply_add::<FUSES>(high, number(b[j] & 0xffff_0000), sums[j]);
                }
            } else {
                // SAFETY: as above.
                let word = unsafe { number(*a.add(i * RS + s * KS)) };
                for j in 0..WIDTH {
                    sums[j] = multiply_add::<FUSES>(word, number(b[j]), sums[j]);
                }
            }
        }
    }
    sums
}

/// Where a product goes.
#[derive(Clone, Copy)]
struct Target {
    c: *mut f32,
    ldc: usize,
    columns: usize,
    add: bool,
}

impl Target {
    /// Stores sums whose first row and column are given.
    ///
    /// # Safety
    /// The rows exist, and nobody else uses them.
    #[inline(always)]
    unsafe fn store(self, sums: &[[f32; WIDTH]], first: usize, left: usize) {
        let width = WIDTH.min(self.columns - left);
        for (i, sums) in sums.iter().enumerate() {
            // SAFETY: row `first + i` and columns below `columns` of the result.
            let row =
                unsafe { std::slice::from_raw_parts_mut(self.c.add((first + i) * self.ldc + left), width) };
            for (c, sum) in row.iter_mut().zip(sums) {
                *c = if self.add { *c + sum } else { *sum };
            }
        }
    }
}

/// The product of a tile of `M` rows with a panel.
#[inline(always)]
unsafe fn tile<const WIDENS: bool, const FUSES: bool, const M: usize, const RS: usize, const KS: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    ldc: usize,
    columns: usize,
    add: bool,
) {
    let to = Target { c, ldc, columns, add };
    for left in (0..columns).step_by(WIDTH) {
        let mut first = 0;
        // SAFETY: rows and columns stay within tile, panel and result, as the caller promises.
        unsafe {
            let b = b.add(left);
            while first + GROUP <= M {
                let sums = sums::<WIDENS, FUSES, GROUP, RS, KS>(steps, a.add(first * RS), b);
                to.store(&sums, first, left);
                first += GROUP;
            }
            while first + 2 <= M {
                to.store(&sums::<WIDENS, FUSES, 2, RS, KS>(steps, a.add(first * RS), b), first, left);
                first += 2;
            }
            if first < M {
                to.store(&sums::<WIDENS, FUSES, 1, RS, KS>(steps, a.add(first * RS), b), first, left);
            }
        }
    }
}

/// Where every processor of an architecture has fused multiplication.
const FUSED: bool = cfg!(target_arch = "aarch64");

kernel!(any_f32, [false, FUSED]);
kernel!(any_widened, [true, FUSED]);

/// f32 kernels by layout, for any processor.
pub const F32: [Family; 3] = families!(any_f32);

/// f32 by bf16, for any processor.
pub const WIDENED: Family = family!(any_widened, Rows);

/// The same for processors with AVX2 and fused multiplication.
#[cfg(target_arch = "x86_64")]
pub mod avx2 {
    use super::*;

    kernel!(avx2_f32, [false, true], "avx2,fma");
    kernel!(avx2_widened, [true, true], "avx2,fma");

    /// f32 kernels by layout.
    pub const F32: [Family; 3] = families!(avx2_f32);

    /// f32 by bf16.
    pub const WIDENED: Family = family!(avx2_widened, Rows);
}
