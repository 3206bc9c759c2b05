//! DAPO: decoupled clip and dynamic sampling (arXiv 2503.14476, sections 3.1 to 3.3).
//!
//! GRPO with three changes: the ratio is clipped higher above than below (0.2 and 0.28), losses are averaged
//! over all tokens of the batch, and a group whose episodes all have the same reward, which teaches
//! nothing, is replaced by that of another task, for up to `max_batches` batches of tasks a step.
//!
//! Code: `examples/dapo_trainer` of the reference, where the last batch is taken as it is, and the filter is
//! the only part besides the clip. The paper drops the KL term, the reference's scripts keep it: `loss.kl`.
//! The paper's penalty of overlong responses is not in the reference and not here.

use serde::{Deserialize, Serialize};

use super::Method;

/// What DAPO sets elsewhere.
pub const PRESET: &str = "\
[loss]
clip_low = 0.2
clip_high = 0.28
aggregation = \"token-mean\"
";

/// Settings of DAPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dapo {
    /// Most batches of tasks sampled for a step.
    pub max_batches: usize,
}

impl Default for Dapo {
    /// The reference's 10.
    fn default() -> Self {
        Dapo { max_batches: 10 }
    }
}

impl Method for Dapo {
    fn title(&self) -> &'static str {
        "DAPO"
    }

    fn batches(&self) -> usize {
        self.max_batches
    }

    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let reason = "a step needs at least one batch of tasks; 1 replaces no groups";
        (self.max_batches == 0).then_some(("algorithm.max_batches", reason))
    }
}

/// Whether the episodes of a group differ in reward, so that comparing them says something.
pub fn differ(rewards: &[f64]) -> bool {
    rewards.windows(2).any(|pair| pair[0] != pair[1])
}
