//! Skill-GRPO: GRPO with skills in the policy's own history while it trains.
//!
//! The advantage is GRPO's. Every training episode is sampled with the bank's skill for its task after the
//! task (`rollout.skills`); evaluations are made without skills and, starred in the tables, with them.
//!
//! Code: `verl/trainer/main_skill_grpo.py` of ZJU-REAL/SDAR, which puts all skill files before every
//! observation.

use serde::{Deserialize, Serialize};

use super::Method;

/// What Skill-GRPO sets elsewhere.
pub const PRESET: &str = "\
[rollout]
skills = \"bank\"
[evaluation]
skills = [\"none\", \"bank\"]
";

/// Skill-GRPO has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkillGrpo {}

impl Method for SkillGrpo {
    fn title(&self) -> &'static str {
        "Skill-GRPO"
    }
}
