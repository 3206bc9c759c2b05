//! The warm start alone: supervised training of a policy, made here or given, on expert episodes.
//!
//! The result is a run folder whose checkpoint 0 is the starting policy, a Hugging Face folder;
//! training can go on from it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::policy::{open_policy, untrained};
use crate::probe::{Probe, probe};
use crate::recipe::Recipe;
use crate::run::{RunError, RunFolder, Snapshot};
use crate::tasks::Tasks;
use crate::train::{Control, Event, TrainError};
use crate::warm_start::{self, Progress};

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
/// Whatever stops the training; nothing but the log is left then.
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
    let mut start = match model {
        Some(folder) => open_policy(folder, recipe)?,
        None => untrained(recipe, warm, &tasks)?,
    };
    // After everything that can be wrong with the recipe, before anything that takes long.
    let mut folder = RunFolder::create(path, recipe, control.storage.clone())?;
    observe(Event::Policy { parameters: start.model.len(), vocabulary: start.model.config.vocab_size });
    let mut unwritten = None;
    let progress = &mut |progress: Progress| {
        if let Err(error) = log(&mut folder, &progress) {
            unwritten.get_or_insert(error);
        }
        observe(Event::WarmStart(progress));
        match unwritten.is_some() {
            true => ControlFlow::Break(()),
            false => control.interrupt.flow(),
        }
    };
    let trained =
        warm_start::train(&mut start.model, &start.dialogue, &tasks, &warm.stages, recipe, progress)?;
    if let Some(error) = unwritten {
        return Err(error.into());
    }
    if trained.is_break() {
        return Err(TrainError::NotTrained { run: path.to_owned() });
    }
    let model = Arc::new(start.model);
    let snapshot = Snapshot {
        step: 0,
        model: model.clone(),
        optimizer: None,
        average: None,
        dtype: recipe.policy.save_dtype,
        text: Arc::new(start.text),
    };
    folder.save(snapshot, 0, Vec::new())?;
    folder.finish()?;
    let checkpoint = folder.checkpoint(0);
    let games = warm.probe_games;
    let probe = match games {
        0 => None,
        _ => Some(probe(&model, &start.dialogue, &tasks, recipe, games, &control.interrupt)?),
    };
    if let Some(probe) = &probe {
        folder.log(&json!({ "step": 0, "probe": probe }))?;
        observe(Event::Probe(probe));
    }
    Ok(Trained { checkpoint, probe })
}

/// Writes some updates, and the last of every stage, to `metrics.jsonl`.
fn log(folder: &mut RunFolder, p: &Progress) -> Result<(), RunError> {
    if !p.update.is_multiple_of(LOG_EVERY) && p.update != p.updates {
        return Ok(());
    }
    folder.log(&json!({
        "step": 0,
        "warm_start": {
            "stage": p.stage, "update": p.update, "loss": p.loss, "tokens": p.tokens,
            "truncated_prompts": p.truncated_prompts,
        },
    }))
}
