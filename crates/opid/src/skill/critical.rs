//! Which steps are critical: those the analyzer writes a skill for, or of these only those that the returns of
//! the whole group point at.

use serde::{Deserialize, Serialize};

use super::hindsight::Analysis;
use crate::algo::critical::{CriticalSteps, Visit};
use crate::algo::returns::step_returns;
use crate::packing::Row;
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

/// Takes the step skills away from steps that are not critical by statistics; at most `most` of an episode stay.
/// Returns how many were taken.
///
/// `rows` are those of all episodes of the training step, with and without an analysis.
pub fn keep_critical(
    analyses: &mut [Option<Analysis>],
    trajectories: &[Trajectory],
    rows: &[Row],
    most: usize,
) -> usize {
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
    let idle = rows.iter().zip(selection.critical).filter(|(_, critical)| !critical);
    let taken = idle.filter(|(row, _)| {
        let analysis = analyses[row.trajectory].as_mut();
        analysis.is_some_and(|analysis| analysis.step_skills.remove(&row.turn).is_some())
    });
    taken.count()
}
