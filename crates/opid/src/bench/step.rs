//! How long whole training steps take, under OPID and under GRPO, and how many tokens they compute.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use opid_lm::checkpoint::StoredDtype;
use serde::Serialize;

use super::median;
use crate::algo::Algorithm;
use crate::algo::grpo::Grpo;
use crate::algo::opid::Opid;
use crate::metrics::{Seconds, StepMetrics};
use crate::policy::untrained;
use crate::recipe::{Recipe, WarmStart};
use crate::tasks::Tasks;
use crate::train::{Control, Event, TrainError, train};
use crate::trajectory::Trajectory;

/// Steps that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No policy.
    #[error("the recipe has no [warm_start] to make a random policy by; name a model with --model")]
    NoPolicy,
    /// A file of the measurement.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The training.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// What was measured under one algorithm; medians over steps.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The method's name.
    pub algorithm: &'static str,
    /// Seconds of a step.
    pub total: f64,
    /// Seconds by phase.
    pub seconds: Seconds,
    /// Tokens of the last step.
    pub tokens: Tokens,
}

/// Both, and how they compare.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// OPID and GRPO.
    pub algorithms: [Measured; 2],
    /// How many times as long a step takes under OPID as the same step, of the same episodes, under GRPO; the median
    /// over steps.
    pub opid_over_grpo: f64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How often both methods take turns: the machine may change while they do.
    pub rounds: usize,
    /// Steps of each round, besides a first one that does not count.
    pub steps: u64,
}

/// Learning rate of the measured steps: so small that the policy stays what it is, and both methods sample the same
/// episodes.
const NO_LEARNING: f64 = 1e-20;

/// Tokens of one training step, without those of sampling.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tokens {
    /// Turns, each a row in the reference.
    pub rows: usize,
    /// Tokens computed here: re-scoring, reference, forward and backward.
    pub computed: usize,
    /// What one row per turn computes, each with its whole history, in as many passes as the reference
    /// takes: old policy, reference, re-scoring, update.
    pub rows_computed: usize,
    /// The same with every row padded to the longest, as the reference does.
    pub padded_computed: usize,
}

impl Tokens {
    /// How many times as many tokens the reference computes.
    pub fn saved(&self) -> f64 {
        self.padded_computed as f64 / self.computed.max(1) as f64
    }
}

/// Measures steps of the same episodes under OPID and under GRPO; the policy is in the folder `model`, or random.
///
/// # Errors
/// There is no policy, or training fails.
pub fn measure(
    recipe: &Recipe,
    model: Option<&Path>,
    extent: Extent,
    progress: &mut dyn FnMut(&str),
) -> Result<Comparison, StepError> {
    let scratch = tempfile::tempdir();
    let scratch = scratch.map_err(|source| StepError::File { path: std::env::temp_dir(), source })?;
    let policy = match model {
        Some(folder) => folder.to_owned(),
        None => {
            progress("making a random policy");
            let folder = scratch.path().join("policy");
            let warm = recipe.warm_start.as_ref().ok_or(StepError::NoPolicy)?;
            random_policy(recipe, warm, &folder)?;
            folder
        }
    };
    let mut recipe = recipe.clone();
    recipe.policy.model = policy.display().to_string();
    recipe.warm_start = None;
    recipe.steps = extent.steps + 1;
    recipe.optimizer.learning_rate = NO_LEARNING;
    recipe.evaluation.every = 0;
    recipe.evaluation.games = 1;
    recipe.evaluation.temperatures.truncate(1);
    recipe.checkpoint.every = 0;
    recipe.checkpoint.trajectories_every = 1;
    let recipes = [Algorithm::Opid(Opid {}), Algorithm::Grpo(Grpo {})];
    let recipes = recipes.map(|algorithm| Recipe { algorithm, ..recipe.clone() });
    let mut counted = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    let mut tokens = [Tokens::default(); 2];
    for round in 0..extent.rounds {
        for (number, recipe) in recipes.iter().enumerate() {
            let name = recipe.algorithm.method().title();
            let folder = scratch.path().join(format!("{name}-{round}"));
            let mut steps = Vec::new();
            train(recipe, &folder, &Control::default(), &mut |event| {
                if let Event::Step(metrics, of) = event {
                    progress(&format!("{name}: step {} of {of}", metrics.step));
                    steps.push(metrics.clone());
                }
            })?;
            if let Some(last) = steps.last() {
                tokens[number] = tokens_of(recipe, last, &episodes(&folder, last.step)?);
            }
            counted[number].extend(steps.into_iter().skip(1));
        }
        let pairs = counted[0].iter().zip(&counted[1]).skip(ratios.len());
        ratios.extend(pairs.map(|(opid, grpo)| opid.seconds.total() / grpo.seconds.total().max(1e-9)));
    }
    let summary = |number: usize| summary(&recipes[number], &counted[number], tokens[number]);
    Ok(Comparison { algorithms: [summary(0), summary(1)], opid_over_grpo: median(ratios) })
}

/// Writes a policy that has learned nothing, with a tokenizer for the recipe's texts.
fn random_policy(recipe: &Recipe, warm: &WarmStart, folder: &Path) -> Result<(), TrainError> {
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let start = untrained(recipe, warm, &tasks)?;
    start.model.save(folder, StoredDtype::F32, Some(&start.text))?;
    Ok(())
}

fn summary(recipe: &Recipe, steps: &[StepMetrics], tokens: Tokens) -> Measured {
    let phase = |f: fn(&Seconds) -> f64| median(steps.iter().map(|m| f(&m.seconds)).collect());
    let seconds = Seconds {
        rollout: phase(|s| s.rollout),
        reference: phase(|s| s.reference),
        analyzer_wait: phase(|s| s.analyzer_wait),
        rescore: phase(|s| s.rescore),
        update: phase(|s| s.update),
        saving: phase(|s| s.saving),
    };
    let total = phase(Seconds::total);
    Measured { algorithm: recipe.algorithm.method().title(), total, seconds, tokens }
}

/// Reads the episodes of a step back.
fn episodes(run: &Path, step: u64) -> Result<Vec<Trajectory>, StepError> {
    let path = run.join(format!("trajectories/step_{step:06}.jsonl.gz"));
    let read = || -> std::io::Result<Vec<Trajectory>> {
        let lines = BufReader::new(GzDecoder::new(File::open(&path)?)).lines();
        lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
    };
    read().map_err(|source| StepError::File { path: path.clone(), source })
}

fn tokens_of(recipe: &Recipe, metrics: &StepMetrics, episodes: &[Trajectory]) -> Tokens {
    let lengths: Vec<usize> = episodes.iter().flat_map(Trajectory::contexts).collect();
    let reference = usize::from(recipe.loss.kl > 0.0);
    let skills = metrics.skills.as_ref();
    let passes = 2 + reference + usize::from(skills.is_some());
    Tokens {
        rows: lengths.len(),
        computed: metrics.update.computed
            + metrics.update.reference_computed
            + skills.map_or(0, |s| s.computed),
        rows_computed: passes * lengths.iter().sum::<usize>(),
        padded_computed: passes * lengths.len() * lengths.iter().max().copied().unwrap_or(0),
    }
}
