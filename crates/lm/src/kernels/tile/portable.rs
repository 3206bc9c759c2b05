//! Kernels written as plain loops, compiled for several instruction sets.

use multiversion::multiversion;

use super::{COLUMNS, DEPTH, Family, ROWS, family};

/// Columns computed together: with four rows, the result stays in the 16 registers of AVX2.
const WIDTH: usize = 16;

/// Rows computed together.
const GROUP: usize = 4;

/// A word as f32.
#[inline(always)]
fn number(word: u32) -> f32 {
    f32::from_bits(word)
}

/// `G x WIDTH` sums over all steps.
#[inline(always)]
unsafe fn sums<const G: usize, const RS: usize, const KS: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
    widened: bool,
) -> [[f32; WIDTH]; G] {
    let mut sums = [[0f32; WIDTH]; G];
    for s in 0..steps {
        // SAFETY: step `s` lies within tile and panel, as the caller promises.
        let b: [u32; WIDTH] = unsafe { b.add(s * COLUMNS).cast::<[u32; WIDTH]>().read_unaligned() };
        for (i, sums) in sums.iter_mut().enumerate() {
            if widened {
                // SAFETY: as above.
                let (low, high) = unsafe { (number(*a.add(i * RS + 2 * s)), number(*a.add(i * RS + 2 * s + 1))) };
                for j in 0..WIDTH {
                    sums[j] += low * number(b[j] << 16);
                    sums[j] += high * number(b[j] & 0xffff_0000);
                }
            } else {
                // SAFETY: as above.
                let word = unsafe { number(*a.add(i * RS + s * KS)) };
                for j in 0..WIDTH {
                    sums[j] += word * number(b[j]);
                }
            }
        }
    }
    sums
}

/// The product of a tile of `M` rows with a panel.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn tile<const M: usize, const RS: usize, const KS: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    ldc: usize,
    columns: usize,
    add: bool,
    widened: bool,
) {
    let store = |sums: &[[f32; WIDTH]], first: usize, left: usize| {
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate().take(columns.saturating_sub(left)) {
                // SAFETY: row `first + i < M` and column `left + j < columns` of the result.
                let c = unsafe { &mut *c.add((first + i) * ldc + left + j) };
                *c = if add { *c + sum } else { *sum };
            }
        }
    };
    for left in (0..columns).step_by(WIDTH) {
        let mut first = 0;
        // SAFETY: rows and columns stay within tile and panel, as the caller promises.
        unsafe {
            while first + GROUP <= M {
                store(&sums::<GROUP, RS, KS>(steps, a.add(first * RS), b.add(left), widened), first, left);
                first += GROUP;
            }
            while first < M {
                store(&sums::<1, RS, KS>(steps, a.add(first * RS), b.add(left), widened), first, left);
                first += 1;
            }
        }
    }
}

/// f32 by f32.
#[multiversion(targets = "simd")]
unsafe fn f32_tile<const M: usize, const RS: usize, const KS: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    ldc: usize,
    columns: usize,
    add: bool,
) {
    // SAFETY: as promised to this function.
    unsafe { tile::<M, RS, KS>(steps, a, b, c, ldc, columns, add, false) }
}

/// f32 by pairs of bf16.
#[multiversion(targets = "simd")]
unsafe fn widened_tile<const M: usize, const RS: usize, const KS: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    ldc: usize,
    columns: usize,
    add: bool,
) {
    // SAFETY: as promised to this function.
    unsafe { tile::<M, RS, KS>(steps, a, b, c, ldc, columns, add, true) }
}

/// f32 kernels by layout.
pub const F32: [Family; 3] =
    [family!(f32_tile, DEPTH, 1), family!(f32_tile, 1, ROWS), family!(f32_tile, 1, DEPTH)];

/// f32 by bf16.
pub const WIDENED: Family = family!(widened_tile, DEPTH, 1);
