//! The warm start alone: supervised training of a policy, made here or given, on expert episodes.
//!
//! The result is a run folder whose checkpoint 0 is the starting policy, a Hugging Face folder;
//! training can go on from it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::policy::{open_policy, untrained};
use crate::probe::{Probe, probe};
use crate::recipe::{Recipe, WarmStart};
use crate::run::{RunError, RunFolder, Snapshot, begun};
use crate::tasks::Tasks;
use crate::train::{Control, Event, TrainError};
use crate::warm_start::course::Course;
use crate::warm_start::{Progress, Standing};

/// Updates between two lines in `metrics.jsonl`.
const LOG_EVERY: u64 = 10;

/// What supervised training came to.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The Hugging Face folder of the policy.
    pub checkpoint: PathBuf,
    /// What skills are worth to it, unless the recipe skips that.
    pub probe: Option<Probe>,
}

/// Makes a policy by the recipe's warm start, or trains the one in the folder `model` by its stages,
/// and saves it in the new run folder `path`.
///
/// # Errors
/// Whatever stops the training; what it had learnt then is kept if that was asked for, and every few minutes.
pub fn sft(
    recipe: &Recipe,
    model: Option<&Path>,
    path: &Path,
    control: &Control,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    let warm = recipe.warm_start.as_ref().ok_or(TrainError::NoStages)?;
    RunFolder::refuse_taken(path)?;
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let start = match model {
        Some(folder) => open_policy(folder, recipe)?,
        None => untrained(recipe, warm, &tasks)?,
    };
    // After everything that can be wrong with the recipe, before anything that takes long.
    let folder = RunFolder::create(path, recipe, control.storage.clone())?;
    teach(recipe, warm, Course::new(start), folder, &tasks, control, observe)
}

/// Continues a warm start that was stopped.
///
/// # Errors
/// Nothing of it is kept, or it is finished; or as of [`sft`].
pub fn resume(
    recipe: &Recipe,
    path: &Path,
    control: &Control,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    let warm = recipe.warm_start.as_ref().ok_or(TrainError::NoStages)?;
    let finished = !begun(&path.join("checkpoints"))?.is_empty();
    let kept = if finished { None } else { Course::kept(path, recipe)? };
    let course = kept.ok_or_else(|| TrainError::NothingKept { run: path.to_owned(), finished })?;
    let Standing { updates, .. } = course.pupil.standing;
    let later = |line: &Value| updates_until(warm, line).is_some_and(|done| done > updates);
    let folder = RunFolder::reopen_before(path, &later, control.storage.clone())?;
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    teach(recipe, warm, course, folder, &tasks, control, observe)
}

fn teach(
    recipe: &Recipe,
    warm: &WarmStart,
    mut course: Course,
    mut folder: RunFolder,
    tasks: &Tasks,
    control: &Control,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    observe(course.policy());
    let progress = &mut |folder: &mut RunFolder, progress: Progress| {
        observe(Event::WarmStart(progress));
        log(folder, &progress)
    };
    course.finish(&mut folder, tasks, recipe, control, "sft", progress)?;
    let Course { pupil, dialogue, text } = course;
    let model = pupil.model;
    let snapshot = Snapshot {
        step: 0,
        model: model.clone(),
        optimizer: None,
        average: None,
        standing: None,
        dtype: recipe.policy.save_dtype,
        text,
    };
    folder.save(snapshot, 0, Vec::new())?;
    folder.forget_warm_start()?;
    let checkpoint = folder.checkpoint(0);
    let games = warm.probe_games;
    let probe = match games {
        0 => None,
        _ => Some(probe(&model, &dialogue, tasks, recipe, games, &control.interrupt)?),
    };
    if let Some(probe) = &probe {
        folder.log(&json!({ "step": 0, "probe": probe }))?;
        observe(Event::Probe(probe));
    }
    Ok(Trained { checkpoint, probe })
}

/// The number of the update, over all stages, that a line of `metrics.jsonl` is about.
fn updates_until(warm: &WarmStart, line: &Value) -> Option<u64> {
    let (stage, update) = (line["warm_start"]["stage"].as_u64()?, line["warm_start"]["update"].as_u64()?);
    Some(warm.stages.iter().take(stage as usize).map(|stage| stage.updates).sum::<u64>() + update)
}

/// Writes some updates, and the last of every stage, to `metrics.jsonl`.
fn log(folder: &mut RunFolder, p: &Progress) -> Result<(), RunError> {
    if !p.update.is_multiple_of(LOG_EVERY) && p.update != p.updates {
        return Ok(());
    }
    let mut line = json!({
        "stage": p.stage, "update": p.update, "loss": p.loss, "tokens": p.tokens,
        "truncated_prompts": p.truncated_prompts,
    });
    if let Some((tokens, _)) = p.alphabet {
        line["alphabet"] = tokens.into();
    }
    folder.log(&json!({ "step": 0, "warm_start": line }))
}
