//! At which training steps skills are used, and for which episodes.

use serde::{Deserialize, Serialize};

use super::analyzer::{Analyses, Analyzer, Answer, StepContext, StopError, Usage};
use crate::trajectory::Trajectory;

/// When the skill term is part of the method; where it is not, a training step is one of GRPO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkillSchedule {
    /// First training step with skills, from 1.
    pub start_step: u64,
    /// Last training step with skills; 0 sets none.
    pub stop_step: u64,
    /// Whether only episodes that did not solve their task get skills.
    pub only_failed: bool,
}

impl Default for SkillSchedule {
    fn default() -> Self {
        SkillSchedule { start_step: 1, stop_step: 0, only_failed: false }
    }
}

/// The skills of the episodes of a step.
#[derive(Debug)]
pub struct Scheduled {
    /// In the order of the episodes: their skills, why there are none, or nothing where the schedule has none.
    pub results: Vec<Option<Answer>>,
    /// What the analysis took.
    pub usage: Usage,
}

impl SkillSchedule {
    /// Whether skills are used at training step `step` (from 1).
    pub fn is_on(&self, step: u64) -> bool {
        step >= self.start_step && (self.stop_step == 0 || step <= self.stop_step)
    }

    /// Whether an episode gets skills at a step that has them.
    pub fn includes(&self, trajectory: &Trajectory) -> bool {
        !(self.only_failed && trajectory.won)
    }

    /// The skills of a step's episodes. The analyzer is shown those that get skills and no others; where there
    /// are none, it is not asked.
    ///
    /// # Errors
    /// The analyzer cannot go on.
    pub fn analyze(
        &self,
        analyzer: &dyn Analyzer,
        context: StepContext<'_>,
        trajectories: &[Trajectory],
    ) -> Result<Scheduled, StopError> {
        let is_shown = |t: &&Trajectory| self.is_on(context.step) && self.includes(t);
        let shown: Vec<&Trajectory> = trajectories.iter().filter(is_shown).collect();
        let Analyses { results, usage } = match shown.is_empty() {
            true => Analyses { results: Vec::new(), usage: Usage::default() },
            false => analyzer.analyze(context, &shown)?,
        };
        let mut results = results.into_iter();
        let results = trajectories.iter().map(|t| if is_shown(&t) { results.next() } else { None }).collect();
        Ok(Scheduled { results, usage })
    }

    /// Starts on an episode while others are still played, if it gets skills.
    ///
    /// # Errors
    /// The analyzer cannot go on.
    pub fn prefetch(
        &self,
        analyzer: &dyn Analyzer,
        step: u64,
        trajectory: &Trajectory,
    ) -> Result<(), StopError> {
        match self.is_on(step) && self.includes(trajectory) {
            true => analyzer.prefetch(trajectory),
            false => Ok(()),
        }
    }

    /// The first key that cannot work in a run of `steps` training steps, and why.
    pub fn fault(&self, steps: u64) -> Option<(&'static str, &'static str)> {
        Some(match () {
            () if self.start_step == 0 => ("skill.schedule.start_step", "training steps count from 1"),
            () if self.stop_step > 0 && self.stop_step < self.start_step => (
                "skill.schedule.stop_step",
                "it lies before start_step, so no step has skills: raise it, or set algorithm.name = \"grpo\"",
            ),
            () if steps > 0 && self.start_step > steps => (
                "skill.schedule.start_step",
                "it lies behind the last training step (steps), so no step has skills: lower it, or set \
                 algorithm.name = \"grpo\"",
            ),
            () => return None,
        })
    }
}
