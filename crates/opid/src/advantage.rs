//! From finished episodes and their scores under skills to the advantage of every response token.
//!
//! `A = A_episode + w_E t_E + w_S t_S` (OPID, arXiv 2606.26790); GRPO is the first term alone.

use serde::Serialize;

use crate::algo::group::GroupStatistics;
use crate::algo::grpo;
use crate::algo::opid::token_signal;
use crate::packing::Row;
use crate::recipe::Recipe;
use crate::skill::rescore::{Scores, SkillScores};
use crate::trajectory::Trajectory;

/// The parts of the advantage, one number per response token each.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// Group-relative advantage of the episode's outcome.
    pub outcome: Vec<f64>,
    /// `w_E t_E`.
    pub episode_skill: Vec<f64>,
    /// `w_S t_S`.
    pub step_skill: Vec<f64>,
}

/// How much each part contributes, and how the policy takes its skills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Mean of `|A_episode|`.
    pub outcome_abs: f64,
    /// Mean of `|w_E t_E|`.
    pub episode_skill_abs: f64,
    /// Mean of `|w_S t_S|`.
    pub step_skill_abs: f64,
    /// Share of the outcome in the sum of the three.
    pub outcome_share: f64,
    /// Share of episode skills.
    pub episode_skill_share: f64,
    /// Share of step skills.
    pub step_skill_share: f64,
}

impl Advantages {
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

/// The group-relative advantage of every row.
///
/// With statistics per row (the reference) a row's score is its episode's reward less the penalty of
/// its own invalid action, and the penalty enters the group's mean and deviation. With statistics per
/// trajectory (the paper) the group compares rewards, and the penalty is taken from the advantage of
/// the row at fault: inside the comparison it would be divided by a deviation that has nothing to do
/// with it. A group whose scores are all equal gives exactly zero.
pub fn outcome_advantages(trajectories: &[Trajectory], rows: &[Row], recipe: &Recipe) -> Vec<f64> {
    let (statistics, by_std) = (recipe.algorithm.statistics, recipe.algorithm.normalize_std);
    let groups: Vec<usize> = rows.iter().map(|r| trajectories[r.trajectory].group).collect();
    let episodes: Vec<usize> = rows.iter().map(|r| r.trajectory).collect();
    let fault = |row: &Row| match trajectories[row.trajectory].turns[row.turn].valid {
        true => 0.0,
        false => recipe.reward.invalid_penalty,
    };
    let reward = |row: &Row| trajectories[row.trajectory].reward;
    match statistics {
        GroupStatistics::Row => {
            let scores: Vec<f64> = rows.iter().map(|r| reward(r) - fault(r)).collect();
            grpo::advantages(&groups, &episodes, &scores, statistics, by_std)
        }
        GroupStatistics::Trajectory => {
            let scores: Vec<f64> = rows.iter().map(reward).collect();
            let compared = grpo::advantages(&groups, &episodes, &scores, statistics, by_std);
            compared.iter().zip(rows).map(|(a, row)| a - fault(row)).collect()
        }
    }
}

/// All parts of the advantage; `skills` is absent under GRPO.
pub fn advantages(
    trajectories: &[Trajectory],
    rows: &[Row],
    old: &[f64],
    skills: Option<&SkillScores>,
    recipe: &Recipe,
) -> Advantages {
    let by_row = outcome_advantages(trajectories, rows, recipe);
    let mut outcome = vec![0.0; old.len()];
    for (row, a) in rows.iter().zip(by_row) {
        outcome[row.tokens.clone()].fill(a);
    }
    let s = &recipe.skill;
    let shaping = s.shaping();
    let part = |scores: Option<&Scores>, weight: f64| match scores {
        None => vec![0.0; old.len()],
        Some(scores) => {
            let signal = token_signal(&scores.logprobs, old, &scores.selected, &shaping);
            signal.iter().map(|t| weight * t).collect()
        }
    };
    Advantages {
        outcome,
        episode_skill: part(skills.map(|s| &s.episode), s.episode_weight),
        step_skill: part(skills.map(|s| &s.step), s.step_weight),
    }
}
