//! Intervals over seeds, and comparisons of two cells task by task.
//!
//! There are two kinds of chance. **Which policy training ends with** differs from seed to seed: intervals over seeds
//! are Student's, from the seeds' values alone, so that two or three seeds make them wide. **Which tasks the panel
//! has** is the same for all cells, so that cells are compared task by task: the test and the interval of a comparison
//! take the runs as they are, and say what other tasks of the same kind would have shown.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

use opid_env::random::Draw;

/// Key that tells the draws of the bootstrap from others.
const BOOTSTRAP: u64 = 301;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The mean of numbers; NaN of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Probability that Student's t with `freedom` degrees of freedom lies within `t = tan(angle) sqrt(freedom)` of 0.
///
/// The finite sums for whole degrees of freedom of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3
/// and 26.7.4.
fn within(angle: f64, freedom: usize) -> f64 {
    let (sin, cos) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = 0.0;
    // The powers of the cosine up to `freedom - 2`.
    for power in (usize::from(odd)..freedom.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= cos * cos * (power + 1) as f64 / (power + 2) as f64;
    }
    if odd { FRAC_2_PI * (angle + sin * sum) } else { sin * sum }
}

/// The `t` that Student's t with `freedom` degrees of freedom, at least 1, stays within with probability `share`, on
/// either side of 0.
pub fn student(share: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    // The interval of angles is halved until it is as narrow as f64 has it.
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if within(middle, freedom) < share { low = middle } else { high = middle }
    }
    low.tan() * (freedom as f64).sqrt()
}

/// Mean and 95 % interval by Student's t, for values of independent seeds; nothing for fewer than two.
pub fn over_seeds(values: &[f64]) -> Option<Estimate> {
    let n = values.len();
    if n < 2 {
        return None;
    }
    let centre = mean(values);
    let variance = values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (n - 1) as f64;
    let half = student(0.95, n - 1) * (variance / n as f64).sqrt();
    Some(Estimate { mean: centre, low: centre - half, high: centre + half })
}

/// Exact sign-flip test of paired differences, whole numbers: the probability that their sum is at least as far from 0
/// when every difference has either sign with the same probability.
///
/// This is Fisher's permutation test for pairs (The Design of Experiments, 1935, section 21). The distribution of the
/// sum is computed difference by difference, so that no signs are drawn. Where all differences are -1, 0 or 1 it is
/// McNemar's exact test.
pub fn sign_flip(differences: &[i64]) -> f64 {
    let reach: usize = differences.iter().map(|d| d.unsigned_abs() as usize).sum();
    // Probability of the sums -reach..=reach.
    let mut probability = vec![0.0; 2 * reach + 1];
    probability[reach] = 1.0;
    for size in differences.iter().map(|d| d.unsigned_abs() as usize).filter(|size| *size > 0) {
        let mut next = vec![0.0; probability.len()];
        for (sum, p) in probability.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            next[sum - size] += p / 2.0;
            next[sum + size] += p / 2.0;
        }
        probability = next;
    }
    let seen = differences.iter().sum::<i64>().unsigned_abs() as usize;
    let far = probability.iter().enumerate().filter(|(sum, _)| sum.abs_diff(reach) >= seen);
    far.map(|(_, p)| p).sum::<f64>().min(1.0)
}

/// Mean and 95 % percentile bootstrap interval of it (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
/// chapter 13), for at least one value; `key` fixes the draws.
pub fn bootstrap(values: &[f64], key: u64) -> Estimate {
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|resample| {
            let mut draw = Draw::new(&[BOOTSTRAP, key, resample as u64]);
            (0..values.len()).map(|_| values[draw.below(values.len())]).sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    Estimate { mean: mean(values), low: at(0.025), high: at(0.975) }
}

/// Every value replaced by the mean of itself and up to `width - 1` values before it.
pub fn trailing_mean(values: &[f64], width: usize) -> Vec<f64> {
    (0..values.len()).map(|i| mean(&values[(i + 1).saturating_sub(width)..=i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_student() {
        // Tables: two-sided 95 %, and 99 % where it is said.
        for (freedom, t) in
            [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)]
        {
            assert!((student(0.95, freedom) - t).abs() < 1e-4, "{freedom}: {}", student(0.95, freedom));
        }
        assert!((student(0.99, 5) - 4.03214).abs() < 1e-4);
        assert!((student(0.95, 100_000) - 1.95999).abs() < 1e-4);
    }

    #[test]
    fn intervals_over_seeds() {
        // Mean 0.5, deviation 0.1: 0.5 -+ 4.30265 * 0.1 / sqrt(3).
        let e = over_seeds(&[0.4, 0.5, 0.6]).unwrap();
        assert!((e.mean - 0.5).abs() < 1e-12 && (e.high - 0.748414).abs() < 1e-5, "{e:?}");
        assert!((e.low + e.high - 1.0).abs() < 1e-12);
        assert_eq!(over_seeds(&[0.4]), None);
    }

    #[test]
    fn sign_flips_of_small_cases() {
        let close = |differences: &[i64], p: f64| {
            let found = sign_flip(differences);
            assert!((found - p).abs() < 1e-12, "{differences:?}: {found}, not {p}");
        };
        close(&[], 1.0);
        close(&[0, 0], 1.0);
        close(&[1], 1.0);
        close(&[1, -1, 2], 3.0 / 4.0);
        close(&[3, 3, 3], 2.0 / 8.0);
        close(&[1, 2, 3, 4], 2.0 / 16.0);
        // McNemar: 9 against 1 is 2 (1 + 10) / 2^10.
        close(&[[1i64; 9].as_slice(), &[-1, 0, 0, 0]].concat(), 22.0 / 1024.0);
    }

    #[test]
    fn sign_flips_agree_with_counting_all_signs() {
        for case in 0..200u64 {
            let mut draw = Draw::new(&[case]);
            let differences: Vec<i64> =
                (0..draw.between(1, 9)).map(|_| draw.between(0, 6) as i64 - 3).collect();
            let sum = |signs: usize| -> i64 {
                let signed = |(i, d): (usize, &i64)| if signs >> i & 1 == 1 { -d } else { *d };
                differences.iter().enumerate().map(signed).sum()
            };
            let all = 1usize << differences.len();
            let far = (0..all).filter(|signs| sum(*signs).abs() >= sum(0).abs()).count();
            assert!((sign_flip(&differences) - far as f64 / all as f64).abs() < 1e-12, "{differences:?}");
        }
    }

    #[test]
    fn bootstrap_of_many_values_is_the_normal_interval() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let e = bootstrap(&values, 1);
        // 1.96 sqrt(0.25 / 400)
        assert!((e.high - 0.549).abs() < 0.004 && (e.low - 0.451).abs() < 0.004, "{e:?}");
        assert_eq!(e, bootstrap(&values, 1));
        assert_eq!(bootstrap(&[0.5, 0.5], 1), Estimate { mean: 0.5, low: 0.5, high: 0.5 });
    }

    #[test]
    fn trailing_means() {
        assert_eq!(trailing_mean(&[1.0, 3.0, 5.0, 7.0], 2), [1.0, 2.0, 4.0, 6.0]);
        assert_eq!(trailing_mean(&[], 5), Vec::<f64>::new());
    }
}
