//! The softmax over the keys of a strip: its running form for the forward pass, and its gradient from the saved
//! log-sum-exp.
//!
//! Rows are taken in whole vectors. The first vector of a strip may hold keys before it, and the last ones keys that some
//! queries of a tile do not see; these lanes are made negative infinity, which has the weight zero.
//!
//! Scores are scaled and rounded before anything is subtracted from them. So the highest has the weight 1 and none is
//! above it, however large they are, and the log-sum-exp is not below any of them.

use std::ops::Range;

use crate::kernels::math::LANES;
use crate::kernels::tile::{DEPTH, ROWS, kernels};

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// The score of a key that is not seen.
const NONE_SEEN: f32 = f32::NEG_INFINITY;

// A tile's queries are the lanes of one vector.
const _: () = assert!(ROWS <= LANES);

/// Running sums of a tile's queries.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// The highest score of each so far, scaled.
    pub top: [f32; LANES],
    /// The sum of its weights relative to that.
    pub total: [f32; LANES],
}

impl Running {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Running { top: [NONE_SEEN; LANES], total: [0.0; LANES] }
    }
}

/// One strip of a running softmax: turns rows of [`DEPTH`] scores into weights relative to the highest score so far,
/// zero where query `i` does not see the key: before `keys`, and from `seen[i]` on, which is not less than that of a
/// query before. Returns what earlier sums have to be multiplied by.
pub fn weigh(
    scores: &mut [f32],
    keys: Range<usize>,
    seen: &[usize; ROWS],
    scale: f32,
    running: &mut Running,
) -> [f32; LANES] {
    check(scores, keys.end);
    #[cfg(target_arch = "x86_64")]
    if kernels().avx512() {
        let rows = scores.len() / DEPTH;
        // SAFETY: the processor has the instructions, and the rows hold the keys (checked above).
        return unsafe { avx512::weigh(scores.as_mut_ptr(), rows, keys, seen, scale, running) };
    }
    portable::weigh(scores, keys, seen, scale, running)
}

/// Turns rows of [`DEPTH`] scores into probabilities and `slopes` into the gradient of the scores before scaling; both
/// are zero where query `i` does not see the key, as of [`weigh`], and from the end of `keys` to `end`.
pub fn gradient(
    scores: &mut [f32],
    slopes: &mut [f32],
    (keys, end): (Range<usize>, usize),
    seen: &[usize; ROWS],
    scale: f32,
    (lse, delta): (&[f32; ROWS], &[f32]),
) {
    check(scores, keys.end.max(end));
    assert_eq!(scores.len(), slopes.len(), "scores and slopes differ in size");
    #[cfg(target_arch = "x86_64")]
    if kernels().avx512() {
        let (rows, p, ds) = (scores.len() / DEPTH, scores.as_mut_ptr(), slopes.as_mut_ptr());
        // SAFETY: the processor has the instructions, and the rows of both hold the keys (checked above).
        return unsafe { avx512::gradient(p, ds, rows, (keys, end), seen, scale, (lse, delta)) };
    }
    portable::gradient(scores, slopes, (keys, end), seen, scale, (lse, delta));
}

/// Refuses more rows than a tile has, and keys that do not lie in a row.
fn check(scores: &[f32], end: usize) {
    assert!(scores.len() <= ROWS * DEPTH && end <= DEPTH, "softmax: a strip beyond its tile");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(rows: usize) -> Vec<f32> {
        (0..rows * DEPTH).map(|i| ((i as f32 + 0.3) * 12.9898).sin() * 9.0).collect()
    }

    /// Strips of keys `from..to`, of which a query of a tile sees so many more than the one before it.
    fn cases() -> impl Iterator<Item = (usize, Range<usize>, [usize; ROWS])> {
        [(14, 0, 40), (3, 5, 6), (14, 17, 30), (7, 31, 256), (1, 0, 1), (14, 0, 14), (2, 250, 255)]
            .into_iter()
            .flat_map(|(rows, from, to)| [0, 1, 9].map(|more| (rows, from..to, more)))
            .map(|(rows, keys, more)| {
                let seen = |i: usize| (keys.end + i * more).saturating_sub((rows - 1) * more);
                (rows, keys.clone(), std::array::from_fn(|i| seen(i).min(keys.end)))
            })
    }

    /// A kernel that takes scores, keys, what is seen, the scale and the running sums.
    type Weigh = fn(&mut [f32], Range<usize>, &[usize; ROWS], f32, &mut Running) -> [f32; LANES];

    /// The kernel of this processor and that in plain Rust.
    const WEIGH: [Weigh; 2] = [weigh, portable::weigh];

    #[test]
    fn weights_equal_the_definition_over_two_strips() {
        for ((rows, keys, seen), weigh) in cases().flat_map(|case| WEIGH.map(|weigh| (case.clone(), weigh))) {
            let (given, scale) = (scores(rows), 0.3f32);
            let (mut once, mut twice) = (given.clone(), given.clone());
            let mut running = Running::new();
            let kept = weigh(&mut once, keys.clone(), &seen, scale, &mut running);
            assert!(kept.iter().all(|&k| k == 0.0));
            // The same scores as a second strip, 1 higher.
            twice.iter_mut().for_each(|s| *s += 1.0 / scale);
            let kept = weigh(&mut twice, keys.clone(), &seen, scale, &mut running);
            for i in 0..rows {
                let row = &given[i * DEPTH..][..DEPTH];
                let shown = keys.start..seen[i].max(keys.start);
                let exps: Vec<f64> = row.iter().map(|&s| (s as f64 * scale as f64).exp()).collect();
                let total: f64 = exps[shown.clone()].iter().sum();
                let lse = running.top[i] as f64 + (running.total[i] as f64).ln();
                let want = (total * (1.0 + 1f64.exp())).ln();
                assert!(
                    shown.is_empty() || (lse - want).abs() < 1e-5,
                    "row {i} of {keys:?}: {lse}, want {want}"
                );
                for key in keys.start / LANES * LANES..keys.end.next_multiple_of(LANES) {
                    let got = (twice[i * DEPTH + key] as f64, once[i * DEPTH + key] as f64 * kept[i] as f64);
                    if shown.contains(&key) {
                        let want = (row[key] as f64 * scale as f64 + 1.0 - running.top[i] as f64).exp();
                        assert!((got.0 - want).abs() < 1e-5, "row {i} key {key}: {}, want {want}", got.0);
                        assert!((got.1 - want / 1f64.exp()).abs() < 1e-5, "row {i} key {key} before");
                    } else {
                        assert_eq!(got, (0.0, 0.0), "row {i} key {key} of {keys:?} is not seen");
                    }
                }
            }
        }
    }

    /// A kernel of gradients: scores, slopes, keys and their end, what is seen, scale, log-sum-exp and delta.
    type Gradient =
        fn(&mut [f32], &mut [f32], (Range<usize>, usize), &[usize; ROWS], f32, (&[f32; ROWS], &[f32]));

    /// The kernel of this processor and that in plain Rust.
    const GRADIENT: [Gradient; 2] = [gradient, portable::gradient];

    #[test]
    fn gradients_equal_the_definition() {
        for ((rows, keys, seen), gradient) in cases().flat_map(|case| GRADIENT.map(|g| (case.clone(), g))) {
            let (given, slopes, scale) = (scores(rows + 1), scores(rows + 3), 0.3f32);
            let (mut p, mut ds) = (given[..rows * DEPTH].to_vec(), slopes[DEPTH..][..rows * DEPTH].to_vec());
            let (mut lse, delta) = ([0.7f32; ROWS], vec![0.4f32; rows]);
            lse.iter_mut().enumerate().for_each(|(i, lse)| *lse += i as f32 * 0.1);
            let end = (keys.end + 20).min(DEPTH);
            gradient(&mut p, &mut ds, (keys.clone(), end), &seen, scale, (&lse, &delta));
            for i in 0..rows {
                for key in keys.start / LANES * LANES..end {
                    let at = i * DEPTH + key;
                    let shown = (keys.start..seen[i]).contains(&key);
                    let want =
                        if shown { (given[at] as f64 * scale as f64 - lse[i] as f64).exp() } else { 0.0 };
                    assert!((p[at] as f64 - want).abs() < 1e-5, "row {i} key {key}: {}, want {want}", p[at]);
                    let slope = want * (slopes[DEPTH + at] as f64 - 0.4) * scale as f64;
                    assert!(
                        (ds[at] as f64 - slope).abs() < 1e-4,
                        "row {i} key {key}: {}, want {slope}",
                        ds[at]
                    );
                }
            }
        }
    }

    /// Where the processor multiplies and adds at once, plain Rust does as well.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_kernels_give_the_same_bits() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        let bits =
            |parts: &[&[f32]]| -> Vec<u32> { parts.iter().copied().flatten().map(|x| x.to_bits()).collect() };
        for (rows, keys, seen) in cases() {
            let ran = WEIGH.map(|weigh| {
                let (mut given, mut running) = (scores(rows), Running::new());
                given[keys.start] = f32::INFINITY;
                given[(rows - 1) * DEPTH + keys.end - 1] = -3e38;
                let first = weigh(&mut given, keys.clone(), &seen, 0.3, &mut running);
                let mut later: Vec<f32> = scores(rows).iter().map(|s| s * 1e37).collect();
                let second = weigh(&mut later, keys.clone(), &seen, 0.3, &mut running);
                bits(&[&given, &later, &first, &second, &running.top, &running.total])
            });
            assert!(ran[0] == ran[1], "{rows} rows, keys {keys:?}");
            let ran = GRADIENT.map(|gradient| {
                let (mut p, mut ds) = (scores(rows), scores(rows + 1)[DEPTH..].to_vec());
                let end = (keys.end + 20).min(DEPTH);
                gradient(&mut p, &mut ds, (keys.clone(), end), &seen, 0.3, (&[0.7; ROWS], &vec![0.4; rows]));
                bits(&[&p, &ds])
            });
            assert!(ran[0] == ran[1], "{rows} rows, keys {keys:?}");
        }
    }
}
