//! On-policy skill distillation (OPID, arXiv 2606.26790): advantages with skill token signals.
//!
//! For a response token `y` of a row that was scored with a skill in its prompt,
//! `t = log p_old(y | prompt with skill) - log p_old(y | prompt)`; no gradient flows through it.
//! `A = A_episode + w_E t_E + w_S t_S`, with the outcome advantage `A_episode` of the row, `t_E` from
//! the skill of the episode and `t_S` from the skill of the step. Weights, clip and normalisation are in
//! `[skill]`.
//!
//! Code: `gigpo/core_gigpo.py` and `opid/` of the reference, with weights of 0.001 and no clip in its scripts.

use serde::{Deserialize, Serialize};

use super::sampled::Sampled;
use super::{Method, Skills};
use crate::advantage::Advantages;
use crate::recipe::Skill;
use crate::skill::rescore::{Scores, SkillScores};

/// OPID sets nothing elsewhere.
pub const PRESET: &str = "";

/// OPID, whose settings are the recipe's `[skill]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Opid {}

impl Method for Opid {
    fn title(&self) -> &'static str {
        "OPID"
    }

    /// A skill that weighs nothing is not scored.
    fn skills(&self, skill: &Skill) -> Skills {
        Skills { episode: skill.episode_weight > 0.0, step: skill.step_weight > 0.0 }
    }

    fn advantages(
        &self,
        sampled: &Sampled<'_>,
        outcome: Vec<f64>,
        scores: Option<&SkillScores>,
    ) -> Advantages {
        let Some(scores) = scores else { return Advantages::of_outcomes(outcome) };
        let s = sampled.skill;
        let part = |scores: &Scores, weight: f64| {
            let signal = token_signal(&scores.logprobs, sampled.old, &scores.selected, &s.shaping());
            signal.iter().map(|t| weight * t).collect()
        };
        Advantages {
            outcome,
            episode_skill: part(&scores.episode, s.episode_weight),
            step_skill: part(&scores.step, s.step_weight),
        }
    }
}

/// Standard deviation at and below which a signal is centred but not scaled, and the term that
/// keeps the shares finite; both as in the reference.
const EPSILON: f64 = 1e-6;

/// How raw skill signals are shaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalShaping {
    /// Subtract the mean of the selected tokens and divide by their population standard deviation.
    pub normalize: bool,
    /// Then clamp to plus or minus this, in nats (or standard deviations).
    pub clip: Option<f64>,
}

/// The skill token advantage `t`; 0 where a token is not selected.
///
/// `with_skill` and `old` are log-probabilities of the same tokens with and without the skill;
/// `selected` marks the tokens whose row was scored with a skill.
///
/// # Panics
/// If the lengths differ.
pub fn token_signal(with_skill: &[f64], old: &[f64], selected: &[bool], shaping: &SignalShaping) -> Vec<f64> {
    assert_eq!(with_skill.len(), old.len(), "one old log-probability for each token");
    assert_eq!(selected.len(), old.len(), "one selection for each token");
    let pairs = with_skill.iter().zip(old).zip(selected);
    let mut signal: Vec<f64> =
        pairs.map(|((with_skill, old), selected)| if *selected { with_skill - old } else { 0.0 }).collect();
    if shaping.normalize {
        normalize(&mut signal, selected);
    }
    if let Some(limit) = shaping.clip {
        for value in &mut signal {
            *value = value.clamp(-limit.abs(), limit.abs());
        }
    }
    signal
}

fn normalize(signal: &mut [f64], selected: &[bool]) {
    let chosen: Vec<f64> =
        signal.iter().zip(selected).filter(|(_, selected)| **selected).map(|(value, _)| *value).collect();
    if chosen.is_empty() {
        return;
    }
    let count = chosen.len() as f64;
    let mean = chosen.iter().sum::<f64>() / count;
    let std = (chosen.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let scale = if std > EPSILON { std } else { 1.0 };
    for (value, _) in signal.iter_mut().zip(selected).filter(|(_, selected)| **selected) {
        *value = (*value - mean) / scale;
    }
}

/// Weights of the two skill sources.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillWeights {
    /// `w_E`, for the skill of the episode.
    pub episode: f64,
    /// `w_S`, for the skill of the step.
    pub step: f64,
}

/// The weighted skill part of the advantage, `w_E t_E + w_S t_S`, for every token.
///
/// # Panics
/// If the lengths differ.
pub fn skill_advantage(episode_signal: &[f64], step_signal: &[f64], weights: &SkillWeights) -> Vec<f64> {
    assert_eq!(episode_signal.len(), step_signal.len(), "two signals for each token");
    let pairs = episode_signal.iter().zip(step_signal);
    pairs.map(|(episode, step)| weights.episode * episode + weights.step * step).collect()
}

/// The total advantage: outcome advantage (already spread to tokens) plus skill advantage.
///
/// # Panics
/// If the lengths differ.
pub fn total_advantage(outcome: &[f64], skill: &[f64]) -> Vec<f64> {
    assert_eq!(outcome.len(), skill.len(), "two parts for each token");
    outcome.iter().zip(skill).map(|(outcome, skill)| outcome + skill).collect()
}

/// How much of the advantage comes from where: the reference's metrics `opid/adv/*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Mean outcome advantage over tokens (`episode_mean`).
    pub outcome_mean: f64,
    /// Mean skill advantage over tokens (`teacher_mean`).
    pub skill_mean: f64,
    /// Mean absolute outcome advantage (`episode_abs_mean`).
    pub outcome_abs_mean: f64,
    /// Mean absolute skill advantage (`teacher_abs_mean`).
    pub skill_abs_mean: f64,
    /// Sum of the two absolute means (`total_abs_mean`); not the mean of `|A|`.
    pub total_abs_mean: f64,
    /// `outcome_abs_mean / (total_abs_mean + 1e-6)` (`episode_share`).
    pub outcome_share: f64,
    /// `skill_abs_mean / (total_abs_mean + 1e-6)` (`teacher_share`).
    pub skill_share: f64,
    /// Part of the tokens whose skill advantage is not 0 (`teacher_active_token_ratio`).
    pub skill_active_tokens: f64,
}

impl Shares {
    /// The shares of the two parts; all 0 without tokens.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn of(outcome: &[f64], skill: &[f64]) -> Shares {
        assert_eq!(outcome.len(), skill.len(), "two parts for each token");
        let count = outcome.len().max(1) as f64;
        let mean = |part: &[f64], f: fn(f64) -> f64| part.iter().map(|v| f(*v)).sum::<f64>() / count;
        let outcome_abs_mean = mean(outcome, f64::abs);
        let skill_abs_mean = mean(skill, f64::abs);
        let total_abs_mean = outcome_abs_mean + skill_abs_mean;
        Shares {
            outcome_mean: mean(outcome, |value| value),
            skill_mean: mean(skill, |value| value),
            outcome_abs_mean,
            skill_abs_mean,
            total_abs_mean,
            outcome_share: outcome_abs_mean / (total_abs_mean + EPSILON),
            skill_share: skill_abs_mean / (total_abs_mean + EPSILON),
            skill_active_tokens: mean(skill, |value| if value == 0.0 { 0.0 } else { 1.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_signal_is_only_centred() {
        let shaping = SignalShaping { normalize: true, clip: None };
        let signal = token_signal(&[-1.0, -2.0, -9.0], &[-1.5, -2.5, -1.0], &[true, true, false], &shaping);
        assert_eq!(signal, [0.0, 0.0, 0.0]);
    }

    #[test]
    fn no_tokens_have_no_shares() {
        assert_eq!(Shares::of(&[], &[]), Shares::default());
    }
}
