//! Kernels for processors with AVX-512: 28 of the 32 registers hold the result.

use std::arch::x86_64::*;

use super::{COLUMNS, DEPTH, Family, ROWS, families, family, kernel};

/// Steps that the right operand is fetched ahead of its use.
const AHEAD: usize = 32;

/// How one step multiplies.
trait Operation {
    /// Words of `A` per step.
    const WORDS: usize;
    /// A vector of 16 columns of `B`.
    type Columns: Copy;

    /// Sixteen columns of `B`.
    unsafe fn columns(b: *const u32) -> Self::Columns;

    /// Adds the product of one row's words with a vector of columns.
    unsafe fn add(sum: __m512, a: *const u32, b: Self::Columns) -> __m512;
}

/// f32 by f32.
struct F32Step;

impl Operation for F32Step {
    const WORDS: usize = 1;
    type Columns = __m512;

    #[inline(always)]
    unsafe fn columns(b: *const u32) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_loadu_ps(b.cast()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, a: *const u32, b: __m512) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_fmadd_ps(_mm512_set1_ps(*a.cast()), b, sum) }
    }
}

/// Pairs of bf16 by pairs of bf16.
struct Bf16Step;

impl Operation for Bf16Step {
    const WORDS: usize = 1;
    type Columns = __m512bh;

    #[inline(always)]
    unsafe fn columns(b: *const u32) -> __m512bh {
        // SAFETY: promised by the caller; both types are 64 plain bytes.
        unsafe { std::mem::transmute(_mm512_loadu_si512(b.cast())) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, a: *const u32, b: __m512bh) -> __m512 {
        // SAFETY: as above.
        unsafe {
            _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*a.cast())), b)
        }
    }
}

/// f32 by pairs of bf16, which are widened once for all rows.
struct WidenedStep;

impl Operation for WidenedStep {
    const WORDS: usize = 2;
    type Columns = (__m512, __m512);

    #[inline(always)]
    unsafe fn columns(b: *const u32) -> (__m512, __m512) {
        // SAFETY: promised by the caller.
        unsafe {
            let pairs = _mm512_loadu_si512(b.cast());
            let high = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)), _mm512_castsi512_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, a: *const u32, (low, high): (__m512, __m512)) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe {
            let sum = _mm512_fmadd_ps(_mm512_set1_ps(*a.cast()), low, sum);
            _mm512_fmadd_ps(_mm512_set1_ps(*a.add(1).cast()), high, sum)
        }
    }
}

/// The product of a tile of `M` rows with a panel.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn tile<O: Operation, const M: usize, const RS: usize, const KS: usize>(
    steps: usize,
    mut a: *const u32,
    mut b: *const u32,
    c: *mut f32,
    ldc: usize,
    columns: usize,
    add: bool,
) {
    // SAFETY: the caller promises `steps` rows of the panel, `M x steps` words of the tile, and `M`
    // rows of `columns` floats of the result; masks keep every access to the result inside them.
    unsafe {
        for i in 0..M {
            _mm_prefetch(c.add(i * ldc).cast(), _MM_HINT_T0);
            _mm_prefetch(c.add(i * ldc + columns - 1).cast(), _MM_HINT_T0);
        }
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        for _ in 0..steps {
            // The first tile of a panel finds it in memory, beyond pages that the processor prefetches from.
            _mm_prefetch(b.wrapping_add(AHEAD * COLUMNS).cast(), _MM_HINT_T0);
            _mm_prefetch(b.wrapping_add(AHEAD * COLUMNS + COLUMNS / 2).cast(), _MM_HINT_T0);
            let (left, right) = (O::columns(b), O::columns(b.add(COLUMNS / 2)));
            for (i, [sum_left, sum_right]) in sums.iter_mut().enumerate() {
                let word = a.add(i * RS);
                *sum_left = O::add(*sum_left, word, left);
                *sum_right = O::add(*sum_right, word, right);
            }
            a = a.add(KS * O::WORDS);
            b = b.add(COLUMNS);
        }
        if columns == COLUMNS {
            for (i, [left, right]) in sums.into_iter().enumerate() {
                let c = c.add(i * ldc);
                if add {
                    _mm512_storeu_ps(c, _mm512_add_ps(left, _mm512_loadu_ps(c)));
                    _mm512_storeu_ps(c.add(16), _mm512_add_ps(right, _mm512_loadu_ps(c.add(16))));
                } else {
                    _mm512_storeu_ps(c, left);
                    _mm512_storeu_ps(c.add(16), right);
                }
            }
        } else {
            let mask = (1u32 << columns) - 1;
            for (i, [left, right]) in sums.into_iter().enumerate() {
                for (half, sum) in [left, right].into_iter().enumerate() {
                    let (mask, c) = ((mask >> (16 * half)) as u16, c.wrapping_add(i * ldc + 16 * half));
                    let before = if add { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(sum, before));
                }
            }
        }
    }
}

kernel!(f32_tile, [F32Step], "avx512f");
kernel!(bf16_tile, [Bf16Step], "avx512f,avx512bf16");
kernel!(widened_tile, [WidenedStep], "avx512f");

/// f32 kernels by layout.
pub const F32: [Family; 3] = families!(f32_tile);

/// bf16 kernels by layout.
pub const BF16: [Family; 3] = families!(bf16_tile);

/// f32 by bf16.
pub const WIDENED: Family = family!(widened_tile, Rows);

/// Whether this processor multiplies bf16 pairs at the rate of f32, hence twice as many numbers.
///
/// AMD's do. Intel's with the instruction measure at a quarter of that (Sapphire Rapids: 87 GFLOP/s a
/// core, against 175 in f32): they are made to use AMX.
pub fn bf16_is_fast() -> bool {
    let vendor = __cpuid(0);
    // "Auth" "enti" "cAMD" in registers ebx, edx, ecx.
    [vendor.ebx, vendor.edx, vendor.ecx] == [0x6874_7541, 0x6974_6e65, 0x444d_4163]
}
