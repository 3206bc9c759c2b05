//! SDAR: GRPO and gated self-distillation (arXiv 2605.15155).
//!
//! `L = L_GRPO + weight * mean of g (lp_T - lp)` with the gate `g = sg sigmoid(gate * (lp_T - lp))`. The
//! derivative with respect to `lp` is `-weight g`: the sampled token always becomes more likely, the more so
//! the more the teacher likes it.
//!
//! Code: `sdar_utils.py` of ZJU-REAL/SDAR; weight 0.01 as in its scripts (0.1 in its code), gate 5. Its
//! skills come from a fixed bank; `skill.analyzer` may name any source here.

use serde::{Deserialize, Serialize};

use super::{Method, Skills, TaughtToken};
use crate::recipe::Skill;

/// What SDAR sets elsewhere.
pub const PRESET: &str = "\
[skill]
analyzer = \"bank\"
";

/// Settings of SDAR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sdar {
    /// Weight of the distillation loss.
    pub weight: f64,
    /// Steepness of the gate.
    pub gate: f64,
}

impl Default for Sdar {
    fn default() -> Self {
        Sdar { weight: 0.01, gate: 5.0 }
    }
}

impl Method for Sdar {
    fn title(&self) -> &'static str {
        "SDAR"
    }

    fn skills(&self, _: &Skill) -> Skills {
        Skills::BOTH
    }

    fn distillation(&self, token: TaughtToken) -> Option<(f64, f64)> {
        Some(gated(token, self.weight, self.gate))
    }
}

/// `weight * g (lp_T - lp)` and its derivative with respect to `lp`; the gate `g` carries no gradient.
pub fn gated(token: TaughtToken, weight: f64, gate: f64) -> (f64, f64) {
    let gap = token.teacher - token.log_prob;
    let g = 1.0 / (1.0 + (-gate * gap).exp());
    (weight * g * gap, -weight * g)
}
