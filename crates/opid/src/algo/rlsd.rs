//! RLSD: the reward says which way, the teacher how far (arXiv 2604.03128).
//!
//! `A_t = A [(1 - m) + m w_t]` with GRPO's `A`, `w_t = clip(exp(sign(A) (lp_T - lp_old)), 1 - clip, 1 + clip)`
//! and a mixture `m` that falls along a line from `mixture` to 0 over `decay_steps` training steps. Tokens
//! that the teacher likes gain from a win and lose less from a failure, and the other way round.
//!
//! Code: `rlsd_utils.py` of ZJU-REAL/SDAR: mixture 0.5, clip 0.2, 100 steps in its scripts. Its skill text
//! is put before the chat template, and the prompt then cut at its front, so that long prompts lose the
//! skill; here it stands where every method has it, and is never cut.

use serde::{Deserialize, Serialize};

use super::sampled::{Sampled, taught};
use super::{Method, Skills};
use crate::advantage::Advantages;
use crate::recipe::Skill;
use crate::skill::rescore::SkillScores;

/// What RLSD sets elsewhere.
pub const PRESET: &str = "\
[skill]
analyzer = \"bank\"
";

/// Settings of RLSD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rlsd {
    /// Share of the advantage that the teacher scales, at the first step.
    pub mixture: f64,
    /// Training steps after which it no longer does; 0 never stops.
    pub decay_steps: u64,
    /// The factor stays within `1 - clip` and `1 + clip`.
    pub clip: f64,
}

impl Default for Rlsd {
    fn default() -> Self {
        Rlsd { mixture: 0.5, decay_steps: 100, clip: 0.2 }
    }
}

impl Rlsd {
    /// The mixture at a training step, from 1.
    pub fn mixture_at(&self, step: u64) -> f64 {
        match self.decay_steps {
            0 => self.mixture,
            steps => self.mixture * (1.0 - (step.saturating_sub(1)) as f64 / steps as f64).max(0.0),
        }
    }

    /// `w_t`.
    pub fn factor(&self, advantage: f64, teacher: f64, old: f64) -> f64 {
        let sign = if advantage == 0.0 { 0.0 } else { advantage.signum() };
        (sign * (teacher - old)).exp().clamp(1.0 - self.clip, 1.0 + self.clip)
    }
}

impl Method for Rlsd {
    fn title(&self) -> &'static str {
        "RLSD"
    }

    fn skills(&self, _: &Skill) -> Skills {
        Skills::BOTH
    }

    /// What the teacher adds, `A m (w_t - 1)`, counts as the part of the skill it came from.
    fn advantages(
        &self,
        sampled: &Sampled<'_>,
        outcome: Vec<f64>,
        scores: Option<&SkillScores>,
    ) -> Advantages {
        let mut parts = Advantages::of_outcomes(outcome);
        let Some(scores) = scores else { return parts };
        let mixture = self.mixture_at(sampled.step);
        for (n, teacher) in taught(scores).into_iter().enumerate() {
            let (Some(teacher), a) = (teacher, parts.outcome[n]) else { continue };
            let added = a * mixture * (self.factor(a, teacher, sampled.old[n]) - 1.0);
            let part = if scores.step.selected[n] { &mut parts.step_skill } else { &mut parts.episode_skill };
            part[n] = added;
        }
        parts
    }

    fn fault(&self) -> Option<(&'static str, &'static str)> {
        if !(0.0..=1.0).contains(&self.mixture) {
            return Some(("algorithm.mixture", "it is a share of the advantage: use 0 to 1"));
        }
        (!(0.0..1.0).contains(&self.clip)).then_some(("algorithm.clip", "use 0 up to, but not, 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_teacher_scales_and_never_turns_an_advantage() {
        let rlsd = Rlsd::default();
        assert!((rlsd.factor(1.0, -1.0, -1.1) - 0.1f64.exp()).abs() < 1e-12);
        assert_eq!(rlsd.factor(1.0, -1.0, -3.0), 1.2);
        assert_eq!(rlsd.factor(-1.0, -1.0, -3.0), 0.8);
        assert_eq!(rlsd.factor(0.0, -1.0, -3.0), 1.0);
        assert_eq!([1, 51, 101, 500].map(|step| rlsd.mixture_at(step)), [0.5, 0.25, 0.0, 0.0]);
        assert_eq!(Rlsd { decay_steps: 0, ..rlsd }.mixture_at(500), 0.5);
    }
}
