//! OPSD: on-policy self-distillation alone, without a reward (arXiv 2601.18734).
//!
//! `L = weight * mean of g (lp_T - lp)` with `g = sg sigmoid(gate * (lp_T - lp))`: the sampled token is made
//! more likely where the teacher, the same model with a skill in its history, likes it. There is no policy
//! loss (`loss.policy = 0`).
//!
//! Code: this is the OPSD of the tables of OPID and SDAR (`examples/opsd_trainer` of SDAR: its loss with
//! `pg_loss_coef = 0`, weight 0.01, gate 5). The paper's own OPSD compares whole distributions, by a
//! Jensen-Shannon divergence of teacher and student over the vocabulary; only the sampled token's
//! log-probability is known here.

use serde::{Deserialize, Serialize};

use super::sampled::Sampled;
use super::sdar::gated;
use super::{Method, Skills, TaughtToken};
use crate::recipe::Skill;

/// What OPSD sets elsewhere.
pub const PRESET: &str = "\
[skill]
analyzer = \"bank\"
[loss]
policy = 0.0
";

/// Settings of OPSD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Opsd {
    /// Weight of the distillation loss.
    pub weight: f64,
    /// Steepness of the gate.
    pub gate: f64,
}

impl Default for Opsd {
    fn default() -> Self {
        Opsd { weight: 0.01, gate: 5.0 }
    }
}

impl Method for Opsd {
    fn title(&self) -> &'static str {
        "OPSD"
    }

    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        vec![0.0; sampled.old.len()]
    }

    fn skills(&self, _: &Skill) -> Skills {
        Skills::BOTH
    }

    fn distillation(&self, token: TaughtToken) -> Option<(f64, f64)> {
        Some(gated(token, self.weight, self.gate))
    }
}
