//! Evaluation: every task of a fixed list once, without an analyzer; and without a skill, unless a bank's are asked
//! for.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use opid_lm::model::Model;
use serde::{Deserialize, Serialize};

use crate::dialogue::Dialogue;
use crate::recipe::{Evaluation, ShownSkills};
use crate::rollout::{Group, SampleError, Settings, sample};
use crate::trajectory::{Ending, Trajectory, is_zero};

/// Key that tells the random draws of evaluations from others: with it and a run's seed, an evaluation
/// repeats the run's own.
pub const EVALUATION: u64 = 202;

/// A way of evaluating: which skills are shown, and the sampling temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Skills in the policy's history.
    pub skills: ShownSkills,
    /// Sampling temperature.
    pub temperature: f32,
}

impl Way {
    /// Every way in which a recipe evaluates, in its order.
    pub fn all(evaluation: &Evaluation) -> impl Iterator<Item = Way> {
        let at = |skills| evaluation.temperatures.iter().map(move |&temperature| Way { skills, temperature });
        evaluation.skills.iter().flat_map(move |&skills| at(skills))
    }
}

/// Successes among a number of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Tasks solved.
    pub won: usize,
    /// Tasks played.
    pub tasks: usize,
    /// Share of tasks solved.
    pub success: f64,
    /// 95 % interval of the share (Wilson 1927).
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Rate {
    /// The rate of `won` among `tasks`.
    pub fn new(won: usize, tasks: usize) -> Self {
        if tasks == 0 {
            return Rate { high: 1.0, ..Rate::default() };
        }
        const Z: f64 = 1.959_964;
        let (n, p) = (tasks as f64, won as f64 / tasks as f64);
        let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Rate { won, tasks, success: p, low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
    }
}

/// The result of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Over all tasks.
    pub overall: Rate,
    /// Mean success of the kinds, each counting the same whatever its number of tasks (the macro average; `overall` is
    /// the micro average).
    #[serde(default)]
    pub macro_success: f64,
    /// By kind of task; of search QA by source of the question.
    pub kinds: BTreeMap<String, Rate>,
    /// Mean score of the environment, 0 to 1; where a task is solved or not, the share of tasks solved.
    #[serde(default)]
    pub score: f64,
    /// Mean number of turns.
    pub turns: f64,
    /// Share of turns whose action was invalid.
    pub invalid: f64,
    /// Episodes that ended because the history was too long.
    pub context_limited: usize,
    /// Episodes whose environment failed; they count as lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashed: usize,
    /// Window only: prompts that were too long and lost some tokens.
    pub truncated_prompts: usize,
    /// Search QA: episodes in which a search failed because of the retriever.
    #[serde(default)]
    pub failed_lookups: usize,
    /// For every task, in the order of the list: 1 if it was solved, else 0. The list of a split is the same in
    /// every run, so that runs can be compared task by task.
    pub solved: Vec<u8>,
}

impl Report {
    /// Summarises finished episodes.
    pub fn of(trajectories: &[Trajectory]) -> Self {
        let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for t in trajectories {
            let count = kinds.entry(t.kind.clone()).or_default();
            count.0 += usize::from(t.won);
            count.1 += 1;
        }
        let turns: usize = trajectories.iter().map(|t| t.turns.len()).sum();
        let all = || trajectories.iter().flat_map(|t| &t.turns);
        let invalid = all().filter(|t| !t.valid).count();
        let kinds: BTreeMap<String, Rate> =
            kinds.into_iter().map(|(kind, (won, n))| (kind, Rate::new(won, n))).collect();
        Report {
            macro_success: kinds.values().map(|k| k.success).sum::<f64>() / kinds.len().max(1) as f64,
            overall: Rate::new(trajectories.iter().filter(|t| t.won).count(), trajectories.len()),
            kinds,
            score: trajectories.iter().map(|t| t.score).sum::<f64>() / trajectories.len().max(1) as f64,
            turns: turns as f64 / trajectories.len().max(1) as f64,
            invalid: invalid as f64 / turns.max(1) as f64,
            failed_lookups: trajectories.iter().filter(|t| t.lookup_failed()).count(),
            context_limited: trajectories.iter().filter(|t| t.ending == Ending::ContextLimit).count(),
            crashed: trajectories.iter().filter(|t| t.ending == Ending::Crashed).count(),
            truncated_prompts: all().filter(|t| t.cut > 0).count(),
            solved: trajectories.iter().map(|t| u8::from(t.won)).collect(),
        }
    }
}

/// Plays every task once; `progress` is told the number of finished episodes.
///
/// # Errors
/// As of [`sample`].
pub fn evaluate(
    model: &Model,
    dialogue: &Dialogue,
    groups: &[Group],
    settings: &Settings,
    progress: &mut dyn FnMut(usize),
) -> Result<(Report, Vec<Trajectory>), SampleError> {
    let mut done = 0;
    let mut ended = |_: &Trajectory| {
        done += 1;
        progress(done);
        ControlFlow::Continue(())
    };
    let trajectories = sample(model, dialogue, groups, settings, &mut ended)?;
    Ok((Report::of(&trajectories), trajectories))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval() {
        // The textbook case of 50 in 100: 0.404 to 0.596.
        let rate = Rate::new(50, 100);
        assert!((rate.low - 0.4038).abs() < 1e-3 && (rate.high - 0.5962).abs() < 1e-3, "{rate:?}");
        assert!(Rate::new(0, 20).low == 0.0 && Rate::new(0, 20).high > 0.1);
    }
}
