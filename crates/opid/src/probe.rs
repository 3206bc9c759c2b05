//! What skills are worth to a policy: its success with and without one in its history.
//!
//! OPID distils the difference that a skill makes; where there is none, it has nothing to distil. So
//! this is measured before training, on tasks of the evaluation split.

use std::ops::ControlFlow;
use std::sync::Arc;

use opid_env::environment::Task;
use opid_lm::model::Model;
use serde::Serialize;

use crate::demonstration::{LookupError, Noise, play};
use crate::dialogue::Dialogue;
use crate::evaluate::{Rate, Report};
use crate::interrupt::Interrupt;
use crate::recipe::Recipe;
use crate::rollout::{Group, SampleError, Settings, sample};
use crate::skill::hindsight;
use crate::tasks::{Tasks, TasksError};

/// Key that tells the random draws of this file from others.
const PROBE: u64 = 203;

/// A measurement that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The tasks.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// An expert's searches come to nothing.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Episodes.
    #[error(transparent)]
    Sampling(#[from] SampleError),
}

/// Success of a policy with and without skills in its history, at temperature 1.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Probe {
    /// No skill.
    pub plain: Rate,
    /// A workflow drawn from an expert's success at the same task.
    pub workflow: Rate,
    /// A lesson drawn from an erring expert's failure at the same task (or the workflow, where the
    /// erring expert did not fail).
    pub avoidance: Rate,
    /// Window only: prompts that were too long and lost some tokens.
    pub truncated_prompts: usize,
}

/// Plays the first `games` tasks of the evaluation split without a skill, with a workflow and with a
/// lesson.
///
/// # Errors
/// The tasks cannot be had, or as of [`sample`].
pub fn probe(
    model: &Model,
    dialogue: &Dialogue,
    tasks: &Tasks,
    recipe: &Recipe,
    games: usize,
    interrupt: &Interrupt,
) -> Result<Probe, ProbeError> {
    let tasks = tasks.panel(&recipe.evaluation.split, games)?;
    let noise = recipe.warm_start.as_ref().and_then(|w| w.stages.last()).map(|s| s.noise);
    let noise: Noise = noise.unwrap_or_default().into();
    let skill_of = |i: usize, task: &Arc<dyn Task>, noise: Noise| -> Result<_, LookupError> {
        let keys = [recipe.seed, PROBE, i as u64];
        let t = play(task, noise, recipe.environment.max_turns, keys)?.trajectory;
        let analysis = hindsight::read(&t, recipe.skill.max_step_skills).ok();
        Ok(analysis.map(|analysis| (analysis.episode_skill, t.won)))
    };
    let mut workflows: Vec<Option<String>> = Vec::with_capacity(tasks.len());
    let mut lessons: Vec<Option<String>> = Vec::with_capacity(tasks.len());
    for (i, task) in tasks.iter().enumerate() {
        let workflow = skill_of(i, task, Noise::default())?.map(|(skill, _)| skill);
        let lesson = skill_of(i, task, noise)?.filter(|(_, won)| !won).map(|(skill, _)| skill);
        lessons.push(lesson.or_else(|| workflow.clone()));
        workflows.push(workflow);
    }
    let settings = Settings {
        interrupt: interrupt.clone(),
        ..Settings::evaluation(recipe, 1.0, [recipe.seed, PROBE, 0])
    };
    let mut rates = [Rate::default(); 3];
    let mut truncated_prompts = 0;
    for (rate, skills) in rates.iter_mut().zip([vec![None; tasks.len()], workflows, lessons]) {
        let pairs = tasks.iter().cloned().zip(skills);
        let groups: Vec<Group> = pairs.map(|(task, skill)| Group { task, skill }).collect();
        let played = sample(model, dialogue, &groups, &settings, &mut |_| ControlFlow::Continue(()))?;
        let report = Report::of(&played);
        *rate = report.overall;
        truncated_prompts += report.truncated_prompts;
    }
    Ok(Probe { plain: rates[0], workflow: rates[1], avoidance: rates[2], truncated_prompts })
}
