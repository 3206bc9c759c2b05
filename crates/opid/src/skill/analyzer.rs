//! Who reads finished episodes and writes skills.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use opid_lm::model::Model;
use opid_lm::storage::Storage;
use rayon::prelude::*;

use super::bank::{Bank, BankError, NoSkill};
use super::critical::Selector;
pub use super::hindsight::Analysis;
use super::hindsight::{self, HindsightError};
use super::noisy::Noisy;
use super::openai::{OpenAi, OpenAiError, RequestError};
use super::policy::{LocalModelError, PolicyAnalyzer, QuestionError};
use super::replay::{Replay, ReplayError};
use super::reply::ReplyError;
pub use super::usage::Usage;
use crate::chat::Chat;
use crate::interrupt::Interrupt;
use crate::recipe::{AnalyzerName, Recipe};
use crate::run::RunError;
use crate::trajectory::Trajectory;

/// An episode that could not be analyzed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnalyzerError {
    /// The built-in analyzer.
    #[error(transparent)]
    Hindsight(#[from] HindsightError),
    /// A request that got no reply.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A question that the local model cannot be asked.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// A reply that cannot be used.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The recording.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The bank.
    #[error(transparent)]
    Bank(#[from] NoSkill),
}

impl AnalyzerError {
    /// The name it is counted under.
    pub fn cause(&self) -> &'static str {
        match self {
            AnalyzerError::Hindsight(HindsightError::Goal { .. }) => "goal",
            AnalyzerError::Request(error) => error.cause(),
            AnalyzerError::Question(error) => error.cause(),
            AnalyzerError::Reply(error) => error.cause(),
            AnalyzerError::Replay(error) => error.cause(),
            AnalyzerError::Bank(NoSkill { .. }) => "no_skill",
        }
    }
}

/// Why an analyzer cannot work at all: going on would only repeat it.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The endpoint of a language model, or its budget or cache.
    #[error(transparent)]
    OpenAi(#[from] OpenAiError),
    /// The local model that is asked.
    #[error(transparent)]
    LocalModel(#[from] LocalModelError),
    /// A recording.
    #[error(transparent)]
    Recording(#[from] RunError),
    /// A bank of skills.
    #[error(transparent)]
    Bank(#[from] BankError),
}

impl StopError {
    /// Whether nothing failed: a stop was asked for.
    pub fn is_interrupt(&self) -> bool {
        matches!(
            self,
            StopError::OpenAi(OpenAiError::Interrupted) | StopError::LocalModel(LocalModelError::Interrupted)
        )
    }
}

/// The skills of an episode, or why there are none.
pub type Answer = Result<Analysis, AnalyzerError>;

/// What became of the episodes of a step.
#[derive(Debug)]
pub struct Analyses {
    /// In the order of the episodes.
    pub results: Vec<Answer>,
    /// What it took.
    pub usage: Usage,
}

/// Failures by cause.
pub fn failures<'a>(results: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<&'static str, usize> {
    let mut causes = BTreeMap::new();
    for error in results.into_iter().filter_map(|r| r.as_ref().err()) {
        *causes.entry(error.cause()).or_default() += 1;
    }
    causes
}

/// Failures by cause, in words.
pub fn describe(failures: &BTreeMap<&'static str, usize>) -> String {
    let causes: Vec<String> = failures.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
    causes.join(", ")
}

impl Analyses {
    /// Failures by cause.
    pub fn failures(&self) -> BTreeMap<&'static str, usize> {
        failures(&self.results)
    }
}

/// The policy as it is at a training step, before the update.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// The weights that sampled the step's episodes.
    pub model: &'a Model,
    /// Its tokenizer and chat template.
    pub chat: &'a Chat,
}

/// The training step whose episodes are analyzed.
#[derive(Clone, Copy)]
pub struct StepContext<'a> {
    /// Number of the step, from 1.
    pub step: u64,
    /// The policy; absent where stored episodes are read.
    pub policy: Option<Policy<'a>>,
}

impl StepContext<'_> {
    /// A step of which only the episodes are at hand.
    pub fn stored(step: u64) -> Self {
        StepContext { step, policy: None }
    }
}

/// Writes skills from finished episodes.
pub trait Analyzer: Send + Sync {
    /// The skills of the episodes of a training step.
    ///
    /// An episode that cannot be analyzed gets no skill advantage, and is counted.
    ///
    /// # Errors
    /// The analyzer cannot go on.
    fn analyze(&self, context: StepContext<'_>, trajectories: &[&Trajectory]) -> Result<Analyses, StopError>;

    /// From now on, work that takes long, or waits for something outside of this program, ends with an error once a stop
    /// is asked for.
    fn heed(&mut self, _interrupt: &Interrupt) {}

    /// Starts on an episode of the step while others are still played, and returns at once. What it finds waits for
    /// `wait_for` and the next `analyze`, which give the same results with and without it, sooner or later.
    ///
    /// By default nothing happens: an analyzer that computes would only slow the sampling down.
    ///
    /// # Errors
    /// The analyzer cannot go on, so there is no sense in playing on.
    fn prefetch(&self, _trajectory: &Trajectory) -> Result<(), StopError> {
        Ok(())
    }

    /// Whether `wait_for` gives answers.
    fn answers_singly(&self) -> bool {
        false
    }

    /// What `analyze` will say of one episode of the step, as soon as it is known; nothing, as by default, where all
    /// episodes are needed for that.
    ///
    /// # Errors
    /// The analyzer cannot go on.
    fn wait_for(&self, _trajectory: &Trajectory) -> Result<Option<Answer>, StopError> {
        Ok(None)
    }
}

/// The analyzer a recipe names, with the noise it asks for. Its budget counts what was spent for the run in the
/// folder `run` before; without one it starts anew. What an analyzer keeps is written through `storage`.
///
/// # Errors
/// The recording, the bank, the local model or the record of what was spent cannot be read, or the endpoint's
/// settings cannot be used.
pub fn open(
    recipe: &Recipe,
    run: Option<&Path>,
    storage: Arc<dyn Storage>,
) -> Result<Box<dyn Analyzer>, StopError> {
    let skill = &recipe.skill;
    let most = match skill.critical_steps {
        Selector::Analyzer => skill.max_step_skills,
        // Which of them stay is decided later, by what all episodes of the step came to.
        Selector::Statistics => recipe.environment.max_turns,
    };
    let analyzer: Box<dyn Analyzer> = match skill.analyzer {
        AnalyzerName::Hindsight => Box::new(Hindsight { most }),
        AnalyzerName::OpenAi => Box::new(OpenAi::new(&skill.openai, most, run, storage)?),
        AnalyzerName::Policy => Box::new(PolicyAnalyzer::open(recipe, most)?),
        AnalyzerName::Bank => Box::new(Bank::open(&skill.bank, &recipe.environment.name)?),
        AnalyzerName::Replay => Box::new(Replay::open(Path::new(&skill.replay))?),
    };
    Ok(match skill.noise.is_silent() {
        true => analyzer,
        false => Box::new(Noisy::new(analyzer, skill.noise, recipe.seed)),
    })
}

/// The built-in analyzer.
struct Hindsight {
    /// Most step skills of an episode.
    most: usize,
}

impl Analyzer for Hindsight {
    fn analyze(
        &self,
        _context: StepContext<'_>,
        trajectories: &[&Trajectory],
    ) -> Result<Analyses, StopError> {
        let read = |t: &&Trajectory| Ok(hindsight::read(t, self.most)?);
        Ok(Analyses { results: trajectories.par_iter().map(read).collect(), usage: Usage::default() })
    }
}
