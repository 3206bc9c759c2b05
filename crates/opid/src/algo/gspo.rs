//! GSPO: group sequence policy optimisation (arXiv 2507.18071, equations 5 to 7).
//!
//! GRPO whose ratio is that of the whole response, `s = exp(mean over its tokens of (lp - lp_old))`, clipped
//! to a narrow range (`loss.ratio = "sequence"`); all tokens of a response are clipped or kept together. Every
//! response weighs the same.
//!
//! Code: `policy_loss.loss_mode = gspo` of the reference, whose token-level gradient (`s` times that of `lp`)
//! is used here too; it bounds the exponent at 10, and has no dual clip.

use serde::{Deserialize, Serialize};

use super::Method;

/// What GSPO sets elsewhere.
pub const PRESET: &str = "\
[loss]
ratio = \"sequence\"
clip_low = 3e-4
clip_high = 4e-4
dual_clip = 0.0
aggregation = \"seq-mean-token-mean\"
";

/// GSPO has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gspo {}

impl Method for Gspo {
    fn title(&self) -> &'static str {
        "GSPO"
    }
}
