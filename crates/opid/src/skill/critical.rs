//! Which steps are critical: those the analyzer writes a skill for, or of these only those that the returns of
//! the whole group point at.

use serde::{Deserialize, Serialize};

use super::hindsight::Analysis;
use crate::algo::critical::{CriticalSteps, Visit};
use crate::algo::returns::step_returns;
use crate::packing::{Row, rows};
use crate::trajectory::Trajectory;

/// Discount of the returns, as in the reference's scripts.
const GAMMA: f64 = 0.95;

/// Who says which steps are critical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The analyzer, by writing step skills for them (the paper).
    #[default]
    Analyzer,
    /// Statistics of returns ([`crate::algo::critical`]); the analyzer says what to do there.
    Statistics,
}

/// The critical steps of a training step's episodes.
#[derive(Clone, Debug)]
pub enum Critical {
    /// Those that the analyzer writes a skill for.
    Any,
    /// By episode, whether each turn is one.
    Turns(Vec<Vec<bool>>),
}

impl Selector {
    /// The critical steps of all episodes of a training step, by statistics at most `most` of an episode.
    pub fn select(self, trajectories: &[Trajectory], most: usize) -> Critical {
        match self {
            Selector::Analyzer => Critical::Any,
            Selector::Statistics => Critical::Turns(by_returns(trajectories, &rows(trajectories), most)),
        }
    }
}

impl Critical {
    /// Takes the skills away from steps of an episode, given by its number, that are not critical. Returns how many
    /// were taken.
    pub fn keep(&self, episode: usize, analysis: &mut Analysis) -> usize {
        let Critical::Turns(turns) = self else { return 0 };
        let before = analysis.step_skills.len();
        analysis.step_skills.retain(|&turn, _| turns[episode].get(turn).copied().unwrap_or(false));
        before - analysis.step_skills.len()
    }
}

fn by_returns(trajectories: &[Trajectory], rows: &[Row], most: usize) -> Vec<Vec<bool>> {
    let rewards: Vec<f64> = rows
        .iter()
        .map(|row| {
            let t = &trajectories[row.trajectory];
            if row.turn + 1 == t.turns.len() { t.reward } else { 0.0 }
        })
        .collect();
    let episodes: Vec<usize> = rows.iter().map(|row| row.trajectory).collect();
    let returns = step_returns(&episodes, &rewards, GAMMA);
    let visit = |(row, value): (&Row, f64)| {
        let t = &trajectories[row.trajectory];
        let observation = &*t.turns[row.turn].observation;
        Visit { group: t.group, trajectory: row.trajectory, observation, value }
    };
    let visits: Vec<Visit<'_>> = rows.iter().zip(returns).map(visit).collect();
    let selection = CriticalSteps { most, ..CriticalSteps::default() }.select(&visits);
    let mut turns: Vec<Vec<bool>> = trajectories.iter().map(|t| Vec::with_capacity(t.turns.len())).collect();
    for (row, critical) in rows.iter().zip(selection.critical) {
        turns[row.trajectory].push(critical);
    }
    turns
}
