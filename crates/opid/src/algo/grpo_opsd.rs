//! GRPO+OPSD: GRPO with an ungated distillation loss.
//!
//! `textbook`: `L = L_GRPO - weight * mean of sg(lp_T - lp) lp`, the policy gradient of the reverse KL
//! divergence to the teacher at sampled tokens. `released`: `L = L_GRPO + weight * mean of 0.5 (lp_T - lp)`,
//! what the code behind the published rows computes: a gate that is one half whatever the teacher says,
//! so that every sampled token becomes more likely by the same amount.
//!
//! Code: `sdar_utils.py` of ZJU-REAL/SDAR with its gate off, weight 0.01. Which of the two made the rows in
//! the papers of SDAR and OPID is not known.

use serde::{Deserialize, Serialize};

use super::{Method, Skills, TaughtToken};
use crate::recipe::Skill;

/// What GRPO+OPSD sets elsewhere.
pub const PRESET: &str = "\
[skill]
analyzer = \"bank\"
";

/// Which of the two losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The policy gradient of the reverse KL divergence.
    #[default]
    Textbook,
    /// The released code.
    Released,
}

/// Settings of GRPO+OPSD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoOpsd {
    /// Weight of the distillation loss.
    pub weight: f64,
    /// `textbook` or `released`.
    pub form: Form,
}

impl Default for GrpoOpsd {
    fn default() -> Self {
        GrpoOpsd { weight: 0.01, form: Form::Textbook }
    }
}

impl Method for GrpoOpsd {
    fn title(&self) -> &'static str {
        match self.form {
            Form::Textbook => "GRPO+OPSD",
            Form::Released => "GRPO+OPSD (released)",
        }
    }

    fn skills(&self, _: &Skill) -> Skills {
        Skills::BOTH
    }

    fn distillation(&self, token: TaughtToken) -> Option<(f64, f64)> {
        let gap = token.teacher - token.log_prob;
        Some(match self.form {
            Form::Textbook => (-self.weight * gap * token.log_prob, -self.weight * gap),
            Form::Released => (self.weight * 0.5 * gap, -self.weight * 0.5),
        })
    }
}
