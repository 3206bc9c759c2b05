//! Skill-SD: GRPO and an importance-weighted divergence to the teacher (arXiv 2604.10674).
//!
//! `L = L_GRPO + weight * mean of rho k3` with `l = lp - lp_T`, `k3 = exp(-l) - 1 + l` and
//! `rho = exp(lp - lp_old)`; the gradient goes through `rho` as well.
//!
//! Code: `skillsd_utils.py` of ZJU-REAL/SDAR, the baseline of the tables, which bounds the exponents at 20
//! and 10; weight 0.001. The paper's skills are summaries of the policy's own episodes by a language model,
//! chosen by an upper confidence bound; the baseline's, and the preset here, come from a fixed bank.

use serde::{Deserialize, Serialize};

use super::{Method, Skills, TaughtToken};
use crate::recipe::Skill;

/// What Skill-SD sets elsewhere.
pub const PRESET: &str = "\
[skill]
analyzer = \"bank\"
";

/// Bound of `-l`.
const MOST_GAP: f64 = 20.0;

/// Bound of `lp - lp_old`.
const MOST_SHIFT: f64 = 10.0;

/// Settings of Skill-SD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkillSd {
    /// Weight of the distillation loss.
    pub weight: f64,
}

impl Default for SkillSd {
    fn default() -> Self {
        SkillSd { weight: 0.001 }
    }
}

impl Method for SkillSd {
    fn title(&self) -> &'static str {
        "Skill-SD"
    }

    fn skills(&self, _: &Skill) -> Skills {
        Skills::BOTH
    }

    fn distillation(&self, token: TaughtToken) -> Option<(f64, f64)> {
        let gap = token.teacher - token.log_prob;
        let (ratio, moves) = (gap.min(MOST_GAP).exp(), f64::from(gap < MOST_GAP));
        let divergence = ratio - 1.0 - gap;
        let shift = token.log_prob - token.old;
        let (rho, rho_moves) = (shift.min(MOST_SHIFT).exp(), f64::from(shift < MOST_SHIFT));
        let slope = rho_moves * rho * divergence + rho * (1.0 - moves * ratio);
        Some((self.weight * rho * divergence, self.weight * slope))
    }
}
