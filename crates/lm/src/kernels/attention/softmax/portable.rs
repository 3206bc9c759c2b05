//! The softmax in plain Rust, compiled for what processors have.

use std::ops::Range;

use multiversion::multiversion;

use super::{NONE_SEEN, Running};
use crate::fused;
use crate::kernels::math::{self, LANES, exp_or_zero, larger, multiply_add};
use crate::kernels::tile::{DEPTH, ROWS};

/// As [`super::weigh`].
#[multiversion(targets = "simd")]
pub fn weigh(
    scores: &mut [f32],
    keys: Range<usize>,
    seen: &[usize; ROWS],
    scale: f32,
    running: &mut Running,
) -> [f32; LANES] {
    let first = keys.start / LANES * LANES;
    let last = keys.end.next_multiple_of(LANES);
    let edge = (seen[0].max(first) - first) / LANES;
    let mut highest = [[NONE_SEEN; LANES]; LANES];
    for (i, row) in scores.chunks_exact_mut(DEPTH).enumerate().take(ROWS) {
        let mut top = [NONE_SEEN; LANES];
        for scores in hide(&mut row[first..last], edge, first, keys.start..seen[i]) {
            for lane in 0..LANES {
                top[lane] = larger(scores[lane], top[lane]);
            }
        }
        highest[i] = top;
    }
    let highest = math::across(highest, larger);
    // A query that has seen no key yet: its weights are zero whatever they are relative to.
    let (mut top, mut shift, mut kept) = (running.top, [0f32; LANES], [0f32; LANES]);
    for i in 0..LANES {
        top[i] = larger(highest[i] * scale, top[i]);
        shift[i] = if top[i] == NONE_SEEN { 0.0 } else { top[i] };
        kept[i] = exp_or_zero(running.top[i] - shift[i], fused!());
    }
    let mut sums = [[0f32; LANES]; LANES];
    for (i, row) in scores.chunks_exact_mut(DEPTH).enumerate().take(ROWS) {
        let (shift, mut sum) = (shift[i], [0f32; LANES]);
        for scores in row[first..last].as_chunks_mut::<LANES>().0 {
            let mut weights = *scores;
            for lane in 0..LANES {
                weights[lane] = exp_or_zero(weights[lane] * scale - shift, fused!());
                sum[lane] += weights[lane];
            }
            *scores = weights;
        }
        sums[i] = sum;
    }
    let sums = math::across(sums, |a, b| a + b);
    for i in 0..LANES {
        running.total[i] = multiply_add(running.total[i], kept[i], sums[i], fused!());
    }
    running.top = top;
    kept
}

/// As [`super::gradient`].
#[multiversion(targets = "simd")]
pub fn gradient(
    scores: &mut [f32],
    slopes: &mut [f32],
    (keys, end): (Range<usize>, usize),
    seen: &[usize; ROWS],
    scale: f32,
    (lse, delta): (&[f32; ROWS], &[f32]),
) {
    let first = keys.start / LANES * LANES;
    let last = keys.end.next_multiple_of(LANES).max(first);
    let end = end.next_multiple_of(LANES).max(last);
    let edge = (seen[0].max(first) - first) / LANES;
    let rows = scores.chunks_exact_mut(DEPTH).zip(slopes.chunks_exact_mut(DEPTH)).zip(delta);
    for (i, ((scores, slopes), delta)) in rows.enumerate().take(ROWS) {
        scores[last..end].fill(0.0);
        slopes[last..end].fill(0.0);
        let vectors = hide(&mut scores[first..last], edge, first, keys.start..seen[i]);
        let slopes = slopes[first..last].as_chunks_mut::<LANES>().0;
        for (scores, slopes) in vectors.iter_mut().zip(slopes) {
            let (mut weights, mut grads) = (*scores, *slopes);
            for lane in 0..LANES {
                weights[lane] = exp_or_zero(weights[lane] * scale - lse[i], fused!());
                // Of a key that is not seen, the slope is nothing that was meant.
                let slope = if weights[lane] > 0.0 { grads[lane] - delta } else { 0.0 };
                grads[lane] = weights[lane] * slope * scale;
            }
            (*scores, *slopes) = (weights, grads);
        }
    }
}

/// The vectors of a row whose first lane is key `base`, with [`NONE_SEEN`] for keys outside `seen`: in the first, and
/// from vector `edge` on, which not all queries see.
#[inline(always)]
fn hide(row: &mut [f32], edge: usize, base: usize, seen: Range<usize>) -> &mut [[f32; LANES]] {
    let vectors = row.as_chunks_mut::<LANES>().0;
    for v in (0..edge.min(1)).chain(edge..vectors.len()) {
        let before = seen.start as i32 - (base + v * LANES) as i32;
        let count = seen.len() as u32;
        let mut kept = vectors[v];
        for (lane, score) in kept.iter_mut().enumerate() {
            // Also false in front of those seen, where the difference wraps around.
            let is_seen = ((lane as i32 - before) as u32) < count;
            *score = if is_seen { *score } else { NONE_SEEN };
        }
        vectors[v] = kept;
    }
    vectors
}
