//! Why a run cannot go on.

use std::path::PathBuf;

use opid_lm::error::LoadError;

use crate::dialogue::DialogueError;
use crate::memory::MemoryError;
use crate::policy::PolicyError;
use crate::probe::ProbeError;
use crate::rollout::SampleError;
use crate::run::RunError;
use crate::skill::analyzer::StopError;
use crate::skill::bank::NoSkill;
use crate::tasks::TasksError;
use crate::warm_start::WarmStartError;

/// A run that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The tasks.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// Prompts or tokens.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// There is nothing to train by.
    #[error(
        "the recipe has no [warm_start]: its stages say what supervised training does; add [[warm_start.stages]], \
         and name a model to fine-tune with --model"
    )]
    NoStages,
    /// The starting policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its supervised training.
    #[error(transparent)]
    WarmStart(#[from] WarmStartError),
    /// The files of a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] LoadError),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Episodes.
    #[error(transparent)]
    Sampling(SampleError),
    /// The machine is too small.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A stop was asked for.
    #[error("interrupted {}: opid train --resume {}", match .saved {
        Some(steps) => format!("after {steps} steps, which are saved; to go on"),
        None => "before the starting policy was saved; to begin again".to_owned(),
    }, .run.display())]
    Interrupted {
        /// The run's folder.
        run: PathBuf,
        /// Training steps that are saved.
        saved: Option<u64>,
    },
    /// A stop was asked for in a warm start.
    #[error(
        "interrupted in the warm start after {updates} updates, which are saved; to go on: opid {command} --resume {}",
        .run.display()
    )]
    WarmStartInterrupted {
        /// The run's folder.
        run: PathBuf,
        /// Updates done, of all stages.
        updates: u64,
        /// The command that goes on.
        command: &'static str,
    },
    /// There is no warm start to go on with.
    #[error("{}: {}", .run.display(), match .finished {
        true => "its policy is made; train it with opid train and --set policy.model=RUN/checkpoints/step_0",
        false => "nothing is kept of its warm start; remove the folder, and begin again",
    })]
    NothingKept {
        /// The run's folder.
        run: PathBuf,
        /// Whether the warm start is finished.
        finished: bool,
    },
    /// Training does not go on.
    #[error(
        "step {step}: {skipped} updates of this run were skipped because their gradient or a log-probability was not a \
         finite number, more than optimizer.max_skipped = {most}; this step is not saved. Usually \
         optimizer.learning_rate is too high: set a lower one in the run's config.toml (or a higher \
         optimizer.max_skipped), and go on from the last checkpoint with --resume"
    )]
    NotFinite {
        /// Training step.
        step: u64,
        /// Updates skipped.
        skipped: usize,
        /// The number allowed.
        most: usize,
    },
    /// The policy is broken.
    #[error(
        "step {step}: the policy has weights that are not finite numbers, so it is not saved. A starting policy of that \
         kind is damaged; after an update set a lower optimizer.learning_rate in the run's config.toml, and go on from \
         the last checkpoint with --resume"
    )]
    Broken {
        /// Training step.
        step: u64,
    },
    /// Skills do not make the starting policy better.
    #[error(
        "a good episode skill lifts the starting policy's success from {plain:.2} to {skill:.2}, less than \
         warm_start.min_skill_gain = {least}: OPID has nothing to distil from it; train the warm start longer, or set \
         that key to 0 to go on"
    )]
    NoSkillGain {
        /// Success without a skill.
        plain: f64,
        /// Success with one.
        skill: f64,
        /// The gain asked for.
        least: f64,
    },
    /// Measuring what skills are worth.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The analyzer cannot be used.
    #[error(transparent)]
    Analyzer(#[from] StopError),
    /// The bank has no skill to show the policy.
    #[error(transparent)]
    NoSkill(#[from] NoSkill),
    /// The analyzer cannot go on.
    #[error(
        "step {step}: {reason}; the run is saved up to the step before, and goes on with --resume once that is put \
         right (its settings are in its config.toml)"
    )]
    Stopped {
        /// Training step.
        step: u64,
        /// Why.
        #[source]
        reason: StopError,
    },
    /// Too much of the method did not run.
    #[error(
        "step {step}: {failed} of {episodes} episodes got no skill advantage ({causes}; the first: {reason}), more \
         than skill.max_failures = {most}; the run is saved up to the step before"
    )]
    Analysis {
        /// Training step.
        step: u64,
        /// Episodes without skills.
        failed: usize,
        /// Episodes of the step.
        episodes: usize,
        /// How many by cause.
        causes: String,
        /// The first reason.
        reason: String,
        /// The share allowed.
        most: f64,
    },
    /// Hardly any turn has a skill.
    #[error(
        "step {step}: {covered} of {turns} turns were scored under {what}, less than {key} = {least}, so this is hardly \
         what the recipe asks for: see what the analyzer writes (opid analyze RUN) and which skills have a weight \
         (skill.episode_weight, skill.step_weight), or set {key} = 0 to go on all the same; the run is saved up to the \
         step before"
    )]
    Coverage {
        /// Training step.
        step: u64,
        /// Turns scored under a skill.
        covered: usize,
        /// Turns of the episodes that are to get skills.
        turns: usize,
        /// What is missing.
        what: &'static str,
        /// The recipe key of the least share.
        key: &'static str,
        /// The least share.
        least: f64,
    },
    /// Skills hardly change the advantage.
    #[error(
        "step {step}: skills make up {share:.5} of the advantage, less than skill.min_advantage_share = {least}: raise \
         skill.episode_weight and skill.step_weight, or set that key to 0 to go on all the same; the run is saved up to \
         the step before"
    )]
    Share {
        /// Training step.
        step: u64,
        /// Their share of the sum of `|A|`.
        share: f64,
        /// The least share.
        least: f64,
    },
    /// Too many turns could not be scored under their skill.
    #[error(
        "step {step}: {too_long} of {turns} turns could not be re-scored, because even the shortest history with the \
         skill is too long; that is more than skill.max_failures = {most}: raise policy.max_context (and \
         prompt.max_tokens in the window layout)"
    )]
    TooLong {
        /// Training step.
        step: u64,
        /// Turns left out.
        too_long: usize,
        /// Turns that a skill was meant for.
        turns: usize,
        /// The share allowed.
        most: f64,
    },
}

impl TrainError {
    /// Whether nothing failed: a stop was asked for.
    pub fn is_interrupt(&self) -> bool {
        match self {
            TrainError::Interrupted { .. } | TrainError::WarmStartInterrupted { .. } => true,
            TrainError::Stopped { reason, .. } => reason.is_interrupt(),
            _ => false,
        }
    }

    /// Whether the policy is still that of the last step that is in the metrics, and worth to be kept.
    pub(super) fn leaves_policy(&self) -> bool {
        use TrainError::{Analysis, Coverage, Interrupted, Sampling, Share, Stopped, TooLong};
        matches!(
            self,
            Stopped { .. }
                | Analysis { .. }
                | Coverage { .. }
                | Share { .. }
                | TooLong { .. }
                | Sampling(SampleError::Crashed { .. } | SampleError::Retrieval { .. })
                | Interrupted { .. }
        )
    }
}
