//! RLOO: REINFORCE with a leave-one-out baseline (arXiv 2402.14740, equation 8).
//!
//! `A_i = S_i - mean of the others = (S_i - mean) n / (n - 1)` over the `n` members of the group of row
//! `i`; a lone member keeps its score.
//!
//! Code: `compute_rloo_outcome_advantage` in `core_algos.py` of the reference, whose `n` counts rows;
//! `advantage.statistics` chooses. Never divided by the deviation.

use serde::{Deserialize, Serialize};

use super::Method;
use super::group::{GroupStatistics, pools};
use super::sampled::Sampled;

/// RLOO sets nothing elsewhere.
pub const PRESET: &str = "";

/// RLOO has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rloo {}

impl Method for Rloo {
    fn title(&self) -> &'static str {
        "RLOO"
    }

    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        let statistics = sampled.comparison.statistics;
        sampled.spread(
            &sampled.compare(|groups, episodes, scores| advantages(groups, episodes, scores, statistics)),
        )
    }
}

/// The advantage of every row. Arguments as in [`super::group::moments`].
///
/// # Panics
/// If the lengths differ.
pub fn advantages(
    groups: &[usize],
    trajectories: &[usize],
    scores: &[f64],
    statistics: GroupStatistics,
) -> Vec<f64> {
    let pools = pools(groups, trajectories, scores, statistics);
    let advantage = |(group, score): (&usize, &f64)| {
        let pool = &pools[group];
        let n = pool.len() as f64;
        match pool.len() {
            1 => *score,
            _ if pool.iter().all(|other| other == score) => 0.0,
            _ => (score - pool.iter().sum::<f64>() / n) * n / (n - 1.0),
        }
    };
    groups.iter().zip(scores).map(advantage).collect()
}
