//! Dr. GRPO: GRPO without its two biases (arXiv 2503.20783, section 3).
//!
//! `A_i = S_i - mean` of the group, not divided by its deviation, which would weigh easy and hard tasks
//! up; and the losses of a response's tokens are summed, not averaged, so that long wrong responses are
//! not let off lightly. The paper also leaves out the KL term: that is `loss.kl = 0`.
//!
//! Code: the reference has the parts (`norm_adv_by_std_in_grpo = False`, `seq-mean-token-sum-norm`) and no
//! script. Its sum is divided by the longest response alone; here the rows are averaged, as in the paper, and
//! the constant is left to the learning rate.

use serde::{Deserialize, Serialize};

use super::Method;

/// What Dr. GRPO sets elsewhere.
pub const PRESET: &str = "\
[advantage]
normalize_std = false
[loss]
aggregation = \"seq-mean-token-sum\"
";

/// Dr. GRPO has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrGrpo {}

impl Method for DrGrpo {
    fn title(&self) -> &'static str {
        "Dr. GRPO"
    }
}
