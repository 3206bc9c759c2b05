//! REINFORCE++ with a baseline (arXiv 2501.03262, section 3.3): the group's mean, then the batch's deviation.
//!
//! `A_i = S_i - mean` of the group of row `i`, given to each of its tokens; then the advantages of all
//! tokens of the batch are whitened as in REINFORCE++.
//!
//! Code: `compute_reinforce_plus_plus_baseline_outcome_advantage` in `core_algos.py` of the reference, whose
//! mean is over rows; `advantage.statistics` chooses.

use serde::{Deserialize, Serialize};

use super::Method;
use super::grpo;
use super::reinforce::whiten;
use super::sampled::Sampled;

/// The method sets nothing elsewhere.
pub const PRESET: &str = "";

/// REINFORCE++ with a baseline has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceBaseline {}

impl Method for ReinforceBaseline {
    fn title(&self) -> &'static str {
        "REINFORCE++ with a baseline"
    }

    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        let statistics = sampled.comparison.statistics;
        let centred = sampled.compare(|groups, episodes, scores| {
            grpo::advantages(groups, episodes, scores, statistics, false)
        });
        whiten(&sampled.spread(&centred))
    }
}
