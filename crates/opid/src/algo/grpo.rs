//! GRPO: group-relative policy optimisation (arXiv 2402.03300, equation 3).
//!
//! `A_i = (S_i - mean) / (std + 1e-6)` over the group of row `i`, or `A_i = S_i - mean` without the
//! division (`advantage.normalize_std`); every token of the row gets `A_i`.
//!
//! Code: `compute_grpo_outcome_advantage` in `verl/trainer/ppo/core_algos.py` of the reference. Its
//! statistics run over all rows of a group, so that long episodes weigh more; the paper's, and the default
//! here, run over trajectories (`advantage.statistics`). The paper of OPID divides and counts trajectories;
//! most scripts of its code do not divide, and count rows.

use serde::{Deserialize, Serialize};

use super::Method;
use super::group::{GroupStatistics, moments};
use super::sampled::Sampled;

/// GRPO sets nothing elsewhere.
pub const PRESET: &str = "";

/// GRPO has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpo {}

impl Method for Grpo {
    fn title(&self) -> &'static str {
        "GRPO"
    }

    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        outcome(sampled)
    }
}

/// GRPO's advantage of every token, which other methods begin with.
pub fn outcome(sampled: &Sampled<'_>) -> Vec<f64> {
    let (statistics, by_std) = (sampled.comparison.statistics, sampled.comparison.normalize_std);
    sampled.spread(
        &sampled.compare(|groups, episodes, scores| advantages(groups, episodes, scores, statistics, by_std)),
    )
}

/// The advantage of every row. Arguments as in [`moments`].
///
/// # Panics
/// If the lengths differ.
pub fn advantages(
    groups: &[usize],
    trajectories: &[usize],
    scores: &[f64],
    statistics: GroupStatistics,
    divide_by_std: bool,
) -> Vec<f64> {
    moments(groups, trajectories, scores, statistics)
        .iter()
        .zip(scores)
        .map(|(moments, score)| moments.advantage(*score, divide_by_std))
        .collect()
}
