//! What a method is told of a training step.

use super::group::GroupStatistics;
use crate::packing::Row;
use crate::recipe::{self, Recipe};
use crate::skill::rescore::SkillScores;
use crate::trajectory::Trajectory;

/// The episodes of a training step, as far as advantages need them.
#[derive(Clone, Copy, Debug)]
pub struct Sampled<'a> {
    /// The episodes.
    pub trajectories: &'a [Trajectory],
    /// Their rows.
    pub rows: &'a [Row],
    /// `lp_old` of every response token.
    pub old: &'a [f64],
    /// The training step, from 1.
    pub step: u64,
    /// How groups are compared.
    pub comparison: &'a recipe::Advantage,
    /// What an invalid action takes off the score of its row.
    pub invalid_penalty: f64,
    /// What skills weigh.
    pub skill: &'a recipe::Skill,
}

impl<'a> Sampled<'a> {
    /// The episodes of step `step` under a recipe.
    pub fn new(
        trajectories: &'a [Trajectory],
        rows: &'a [Row],
        old: &'a [f64],
        step: u64,
        recipe: &'a Recipe,
    ) -> Self {
        Sampled {
            trajectories,
            rows,
            old,
            step,
            comparison: &recipe.advantage,
            invalid_penalty: recipe.reward.invalid_penalty,
            skill: &recipe.skill,
        }
    }

    /// The group of every row.
    pub fn groups(&self) -> Vec<usize> {
        self.rows.iter().map(|r| self.trajectories[r.trajectory].group).collect()
    }

    /// The trajectory of every row.
    pub fn episodes(&self) -> Vec<usize> {
        self.rows.iter().map(|r| r.trajectory).collect()
    }

    /// What every row's own invalid action costs.
    pub fn penalties(&self) -> Vec<f64> {
        let penalty = |row: &Row| match self.trajectories[row.trajectory].turns[row.turn].valid {
            true => 0.0,
            false => self.invalid_penalty,
        };
        self.rows.iter().map(penalty).collect()
    }

    /// The reward of every row's episode.
    pub fn rewards(&self) -> Vec<f64> {
        self.rows.iter().map(|r| self.trajectories[r.trajectory].reward).collect()
    }

    /// The advantage of every row by a comparison of scores within groups, `compare(groups, trajectories,
    /// scores)`.
    ///
    /// With statistics per row (the reference) a row's score is its episode's reward less the penalty of
    /// its own invalid action, and the penalty enters the comparison. With statistics per trajectory (the
    /// paper) the group compares rewards, and the penalty is taken from the advantage of the row at fault:
    /// inside the comparison it would be divided by a deviation that has nothing to do with it.
    pub fn compare(&self, compare: impl FnOnce(&[usize], &[usize], &[f64]) -> Vec<f64>) -> Vec<f64> {
        let (groups, episodes) = (self.groups(), self.episodes());
        let less = |values: Vec<f64>| -> Vec<f64> {
            values.iter().zip(self.penalties()).map(|(value, penalty)| value - penalty).collect()
        };
        match self.comparison.statistics {
            GroupStatistics::Row => compare(&groups, &episodes, &less(self.rewards())),
            GroupStatistics::Trajectory => less(compare(&groups, &episodes, &self.rewards())),
        }
    }

    /// One value per row, repeated for each of its response tokens.
    pub fn spread(&self, by_row: &[f64]) -> Vec<f64> {
        let mut tokens = vec![0.0; self.old.len()];
        for (row, value) in self.rows.iter().zip(by_row) {
            tokens[row.tokens.clone()].fill(*value);
        }
        tokens
    }
}

/// What a teacher says of every token: `lp_T` under the step's skill where there is one, otherwise under the
/// episode's; none where neither was scored.
pub fn taught(scores: &SkillScores) -> Vec<Option<f64>> {
    let of = |part: &crate::skill::rescore::Scores, n: usize| part.selected[n].then(|| part.logprobs[n]);
    (0..scores.step.logprobs.len()).map(|n| of(&scores.step, n).or(of(&scores.episode, n))).collect()
}
