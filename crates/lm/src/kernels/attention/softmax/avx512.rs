//! The same with AVX-512, in the same order of the same operations, so that the results are equal bit for bit.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{NONE_SEEN, Running};
use crate::kernels::math::{self, LANES};
use crate::kernels::tile::{DEPTH, ROWS};

/// As [`super::portable::weigh`].
///
/// # Safety
/// The processor has AVX-512 (F). `scores` holds `rows` rows of [`DEPTH`] floats, and `keys` lie in a row.
#[target_feature(enable = "avx512f")]
pub unsafe fn weigh(
    scores: *mut f32,
    rows: usize,
    keys: Range<usize>,
    seen: &[usize; ROWS],
    scale: f32,
    running: &mut Running,
) -> [f32; LANES] {
    let first = keys.start / LANES * LANES;
    let count = keys.end.next_multiple_of(LANES).saturating_sub(first) / LANES;
    let edge = (seen[0].max(first) - first) / LANES;
    let row = |i: usize| scores.wrapping_add(i * DEPTH + first);
    // SAFETY: rows and keys are inside of `scores`, as promised; vectors are plain floats.
    unsafe {
        let mut highest = [_mm512_set1_ps(NONE_SEEN); LANES];
        for (i, highest) in highest.iter_mut().enumerate().take(rows) {
            hide(row(i), (count, edge), first, keys.start..seen[i]);
            for v in 0..count {
                *highest = _mm512_max_ps(_mm512_loadu_ps(row(i).add(v * LANES)), *highest);
            }
        }
        let highest = across(highest, |a, b| _mm512_max_ps(a, b));
        let before = _mm512_loadu_ps(running.top.as_ptr());
        let top = _mm512_max_ps(_mm512_mul_ps(highest, _mm512_set1_ps(scale)), before);
        let none = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(top, _mm512_set1_ps(NONE_SEEN));
        let shift = _mm512_mask_mov_ps(top, none, _mm512_setzero_ps());
        let kept = exp_or_zero(_mm512_sub_ps(before, shift));
        let mut shifts = [0f32; LANES];
        _mm512_storeu_ps(shifts.as_mut_ptr(), shift);
        let scale = _mm512_set1_ps(scale);
        let mut sums = [_mm512_setzero_ps(); LANES];
        for (i, sum) in sums.iter_mut().enumerate().take(rows) {
            let shift = _mm512_set1_ps(shifts[i]);
            for v in 0..count {
                let scores = row(i).add(v * LANES);
                let weights =
                    exp_or_zero(_mm512_sub_ps(_mm512_mul_ps(_mm512_loadu_ps(scores), scale), shift));
                *sum = _mm512_add_ps(*sum, weights);
                _mm512_storeu_ps(scores, weights);
            }
        }
        let sums = across(sums, |a, b| _mm512_add_ps(a, b));
        let total = _mm512_fmadd_ps(_mm512_loadu_ps(running.total.as_ptr()), kept, sums);
        _mm512_storeu_ps(running.top.as_mut_ptr(), top);
        _mm512_storeu_ps(running.total.as_mut_ptr(), total);
        let mut result = [0f32; LANES];
        _mm512_storeu_ps(result.as_mut_ptr(), kept);
        result
    }
}

/// As [`super::portable::gradient`].
///
/// # Safety
/// The processor has AVX-512 (F). `scores` and `slopes` hold `rows` rows of [`DEPTH`] floats, `keys` and `end` lie in a
/// row, and `lse` and `delta` have a number for each row.
#[target_feature(enable = "avx512f")]
pub unsafe fn gradient(
    scores: *mut f32,
    slopes: *mut f32,
    rows: usize,
    (keys, end): (Range<usize>, usize),
    seen: &[usize; ROWS],
    scale: f32,
    (lse, delta): (&[f32; ROWS], &[f32]),
) {
    let first = keys.start / LANES * LANES;
    let count = keys.end.next_multiple_of(LANES).saturating_sub(first) / LANES;
    let edge = (seen[0].max(first) - first) / LANES;
    let all = end.next_multiple_of(LANES).saturating_sub(first) / LANES;
    // SAFETY: rows and keys are inside of both, as promised; vectors are plain floats.
    unsafe {
        let (zero, factor) = (_mm512_setzero_ps(), _mm512_set1_ps(scale));
        for (i, delta) in delta.iter().enumerate().take(rows) {
            let (p, ds) = (scores.add(i * DEPTH + first), slopes.add(i * DEPTH + first));
            hide(p, (count, edge), first, keys.start..seen[i]);
            let (lse, delta) = (_mm512_set1_ps(lse[i]), _mm512_set1_ps(*delta));
            for v in 0..count {
                let (p, ds) = (p.add(v * LANES), ds.add(v * LANES));
                let weights = exp_or_zero(_mm512_sub_ps(_mm512_mul_ps(_mm512_loadu_ps(p), factor), lse));
                let some = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(weights, zero);
                let slope = _mm512_maskz_sub_ps(some, _mm512_loadu_ps(ds), delta);
                _mm512_storeu_ps(p, weights);
                _mm512_storeu_ps(ds, _mm512_mul_ps(_mm512_mul_ps(weights, slope), factor));
            }
            for v in count..all {
                _mm512_storeu_ps(p.add(v * LANES), zero);
                _mm512_storeu_ps(ds.add(v * LANES), zero);
            }
        }
    }
}

/// As [`super::portable::hide`], for `count` vectors from `row` on, of which all queries see those before `edge`.
///
/// # Safety
/// The row has as many.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn hide(row: *mut f32, (count, edge): (usize, usize), base: usize, seen: Range<usize>) {
    /// The lanes below `n`, none or all where it is no number of lanes.
    fn below(n: isize) -> u32 {
        (1u32 << n.clamp(0, LANES as isize)) - 1
    }
    for v in (0..edge.min(1)).chain(edge..count) {
        let at = (base + v * LANES) as isize;
        let kept = below(seen.end as isize - at) & !below(seen.start as isize - at);
        // SAFETY: there are so many vectors, as promised.
        unsafe {
            let scores = row.add(v * LANES);
            let hidden = _mm512_set1_ps(NONE_SEEN);
            _mm512_storeu_ps(scores, _mm512_mask_loadu_ps(hidden, kept as u16, scores));
        }
    }
}

/// As [`math::exp_or_zero`], of numbers that are not above zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp_or_zero(x: __m512) -> __m512 {
    let round = _mm512_set1_ps(math::ROUND);
    let lowest = _mm512_set1_ps(math::LOWEST);
    let bounded = _mm512_max_ps(x, lowest);
    let t = _mm512_fmadd_ps(bounded, _mm512_set1_ps(std::f32::consts::LOG2_E), round);
    let n = _mm512_sub_ps(t, round);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(std::f32::consts::LN_2), bounded);
    let mut p = _mm512_set1_ps(math::EXP[0]);
    for coefficient in &math::EXP[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*coefficient));
    }
    let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
    let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, lowest);
    _mm512_castsi512_ps(_mm512_maskz_add_epi32(kept, _mm512_castps_si512(p), exponent))
}

/// As [`math::across`].
#[inline]
#[target_feature(enable = "avx512f")]
fn across(mut rows: [__m512; LANES], combine: impl Fn(__m512, __m512) -> __m512) -> __m512 {
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let (a, b) = (rows[i], rows[i + half]);
            rows[i] = combine(_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b));
        }
        half /= 2;
    }
    rows[0]
}
