//! Mean and standard deviation of the scores of a group: the baseline of GRPO and its relatives.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

/// Added to the standard deviation before dividing by it, as in the reference.
const EPSILON: f64 = 1e-6;

/// Spread of a group's scores, relative to the largest, below which they count as equal.
const EQUAL: f64 = 1e-12;

/// What counts once in the statistics of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupStatistics {
    /// Every trajectory, as in the paper (arXiv 2606.26790) and in GRPO (arXiv 2402.03300): the
    /// score of its first row counts. Give all rows of a trajectory the same score, its return, to
    /// get the paper's statistics.
    #[default]
    Trajectory,
    /// Every row, as in the reference code: long trajectories weigh more.
    Row,
}

/// Mean and standard deviation of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Mean score.
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1); exactly 0 when all scores are equal.
    pub std: f64,
}

impl Moments {
    /// Moments of the scores of a group. As in the reference a single score has mean 0 and
    /// standard deviation 1, which leaves it as it is.
    pub fn of(scores: &[f64]) -> Moments {
        if scores.len() < 2 {
            return Moments { mean: 0.0, std: 1.0 };
        }
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let (low, high) = scores
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), s| (low.min(*s), high.max(*s)));
        if high - low <= EQUAL * low.abs().max(high.abs()) {
            return Moments { mean, std: 0.0 };
        }
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        Moments { mean, std: (squares / (count - 1.0)).sqrt() }
    }

    /// `S - mean`, divided by `std + 1e-6` on request; exactly 0 in a group without variance.
    pub fn advantage(&self, score: f64, divide_by_std: bool) -> f64 {
        if self.std == 0.0 {
            return 0.0;
        }
        let centred = score - self.mean;
        if divide_by_std { centred / (self.std + EPSILON) } else { centred }
    }
}

/// The scores that count in each group.
///
/// `groups`, `trajectories` and `scores` have one entry for each row; trajectory numbers need only be
/// distinct within a group.
///
/// # Panics
/// If the lengths differ.
pub fn pools(
    groups: &[usize],
    trajectories: &[usize],
    scores: &[f64],
    statistics: GroupStatistics,
) -> HashMap<usize, Vec<f64>> {
    assert_eq!(groups.len(), scores.len(), "one group for each score");
    assert_eq!(trajectories.len(), scores.len(), "one trajectory for each score");
    let mut pools = HashMap::<usize, Vec<f64>>::new();
    let mut seen = HashSet::new();
    for ((group, trajectory), score) in groups.iter().zip(trajectories).zip(scores) {
        let first = seen.insert((*group, *trajectory));
        if first || statistics == GroupStatistics::Row {
            pools.entry(*group).or_default().push(*score);
        }
    }
    pools
}

/// The moments of each row's group. Arguments as in [`pools`].
///
/// # Panics
/// If the lengths differ.
pub fn moments(
    groups: &[usize],
    trajectories: &[usize],
    scores: &[f64],
    statistics: GroupStatistics,
) -> Vec<Moments> {
    let pools = pools(groups, trajectories, scores, statistics);
    let moments: HashMap<usize, Moments> =
        pools.into_iter().map(|(group, pool)| (group, Moments::of(&pool))).collect();
    groups.iter().map(|group| moments[group]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_losers_weigh_once_per_trajectory() {
        // One win of 2 rows, one loss of 30: the measurement of the reference study.
        let trajectories: Vec<usize> = (0..32).map(|row| usize::from(row >= 2)).collect();
        let scores: Vec<f64> = trajectories.iter().map(|t| if *t == 0 { 10.0 } else { 0.0 }).collect();
        let advantage = |statistics, row: usize| {
            moments(&[0; 32], &trajectories, &scores, statistics)[row].advantage(scores[row], true)
        };
        assert!((advantage(GroupStatistics::Row, 0) - 3.81).abs() < 0.01);
        assert!((advantage(GroupStatistics::Row, 31) + 0.25).abs() < 0.01);
        assert!((advantage(GroupStatistics::Trajectory, 0) - 0.5f64.sqrt()).abs() < 1e-5);
        assert!((advantage(GroupStatistics::Trajectory, 31) + 0.5f64.sqrt()).abs() < 1e-5);
    }

    #[test]
    fn equal_scores_give_exactly_zero() {
        let scores = [9.9, 10.0 - 0.1, 9.9, 9.9, 9.9, 9.9, 9.9];
        let moments = Moments::of(&scores);
        assert_eq!(moments.advantage(9.9, true), 0.0);
        assert_eq!(moments.advantage(9.9, false), 0.0);
    }

    #[test]
    fn a_single_score_stays() {
        assert_eq!(Moments::of(&[7.0]).advantage(7.0, false), 7.0);
    }
}
