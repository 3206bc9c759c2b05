//! The advantage of every response token, in the parts it is made of.
//!
//! `A = A_outcome + A_episode_skill + A_step_skill`; which parts there are is the method's affair
//! ([`crate::algo`]).

use serde::{Deserialize, Serialize};

/// The parts of the advantage, one number per response token each.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// From the outcomes of episodes.
    pub outcome: Vec<f64>,
    /// What skills of episodes add (`w_E t_E` under OPID).
    pub episode_skill: Vec<f64>,
    /// What skills of steps add (`w_S t_S` under OPID).
    pub step_skill: Vec<f64>,
}

/// How much each part contributes, and how the policy takes its skills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Mean absolute value of the outcome's part.
    pub outcome_abs: f64,
    /// Mean absolute value of the part of episode skills.
    pub episode_skill_abs: f64,
    /// Mean absolute value of the part of step skills.
    pub step_skill_abs: f64,
    /// Share of the outcome in the sum of the three.
    pub outcome_share: f64,
    /// Share of episode skills.
    pub episode_skill_share: f64,
    /// Share of step skills.
    pub step_skill_share: f64,
}

impl Advantages {
    /// Outcomes alone.
    pub fn of_outcomes(outcome: Vec<f64>) -> Advantages {
        let none = vec![0.0; outcome.len()];
        Advantages { outcome, episode_skill: none.clone(), step_skill: none }
    }

    /// The advantage of every response token.
    pub fn total(&self) -> Vec<f64> {
        let skills = self.episode_skill.iter().zip(&self.step_skill);
        self.outcome.iter().zip(skills).map(|(o, (e, s))| o + e + s).collect()
    }

    /// Mean absolute value and share of each part.
    pub fn shares(&self) -> Shares {
        let n = self.outcome.len().max(1) as f64;
        let abs = |part: &[f64]| part.iter().map(|v| v.abs()).sum::<f64>() / n;
        let (o, e, s) = (abs(&self.outcome), abs(&self.episode_skill), abs(&self.step_skill));
        let sum = (o + e + s).max(f64::MIN_POSITIVE);
        Shares {
            outcome_abs: o,
            episode_skill_abs: e,
            step_skill_abs: s,
            outcome_share: o / sum,
            episode_skill_share: e / sum,
            step_skill_share: s / sum,
        }
    }
}
