//! The training loop: task, rollout, analysis, routing, re-scoring, advantage, update.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use opid_env::environment::Task;
use opid_lm::checkpoint::TextFiles;
use serde::{Deserialize, Serialize};

mod error;
mod skills;
mod step;

pub use error::TrainError;

use crate::dialogue::Dialogue;
use crate::evaluate::{EVALUATION, Report, Way, evaluate};
use crate::log::Log;
use crate::metrics::StepMetrics;
use crate::policy::starting_policy;
use crate::probe::{Probe, probe};
use crate::recipe::{Recipe, ShownSkills, WarmStart};
use crate::rollout::{Group, Settings};
use crate::run::{RunError, RunFolder, exact_model, last_checkpoint};
use crate::skill::analyzer::{self, Analyzer, StopError};
use crate::skill::bank::Bank;
use crate::tasks::Tasks;
use crate::update::Learner;
use crate::warm_start;

/// What happens in a run, for whoever shows it.
pub enum Event<'a> {
    /// Supervised training of the starting policy.
    WarmStart(warm_start::Progress),
    /// Number of parameters and tokens of the policy.
    Policy {
        /// Parameters.
        parameters: usize,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// What skills are worth to the starting policy.
    Probe(&'a Probe),
    /// Episodes finished of those being sampled.
    Sampling {
        /// What they are for.
        purpose: &'static str,
        /// Finished episodes.
        done: usize,
        /// All episodes.
        total: usize,
    },
    /// An evaluation.
    Evaluation(&'a Evaluated),
    /// A training step.
    Step(&'a StepMetrics, u64),
}

/// An evaluation's place and result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluated {
    /// Training steps done.
    pub step: u64,
    /// Split.
    pub split: String,
    /// Sampling temperature.
    pub temperature: f32,
    /// Skills in the policy's history.
    pub skills: ShownSkills,
    /// Result.
    pub report: Report,
}

impl Evaluated {
    /// How it was made.
    pub fn way(&self) -> Way {
        Way { skills: self.skills, temperature: self.temperature }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Evaluations before training.
    pub before: Vec<Evaluated>,
    /// Evaluations after training.
    pub after: Vec<Evaluated>,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
}

/// A run in progress.
struct Run<'a> {
    recipe: &'a Recipe,
    tasks: Tasks,
    panel: Vec<Arc<dyn Task>>,
    dialogue: Dialogue,
    text: TextFiles,
    /// Of methods with a teacher.
    analyzer: Option<Arc<dyn Analyzer>>,
    /// Where skills are shown to the policy.
    bank: Option<Bank>,
    learner: Learner,
    folder: RunFolder,
    observe: &'a mut dyn FnMut(Event<'_>),
}

/// The analyzer of a run in a folder, if its algorithm uses one.
fn open_analyzer(recipe: &Recipe, path: &Path) -> Result<Option<Arc<dyn Analyzer>>, StopError> {
    Ok(match recipe.algorithm.teaches(&recipe.skill) {
        false => None,
        true => Some(analyzer::open(recipe, Some(path))?.into()),
    })
}

/// The bank of a recipe that shows its skills to the policy, in training or in evaluations.
fn open_bank(recipe: &Recipe) -> Result<Option<Bank>, StopError> {
    Ok(Bank::among(&[&recipe.evaluation.skills[..], &[recipe.rollout.skills]].concat(), recipe)?)
}

/// Trains as a recipe says, in a new folder.
///
/// # Errors
/// Whatever stops the run; what was saved stays.
pub fn train(
    recipe: &Recipe,
    path: &Path,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    RunFolder::refuse_taken(path)?;
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let panel = tasks.panel(&recipe.evaluation.split, recipe.evaluation.games)?;
    let (analyzer, bank) = (open_analyzer(recipe, path)?, open_bank(recipe)?);
    let mut start = starting_policy(recipe, &tasks)?;
    // After everything that can be wrong with the recipe, before anything that takes long.
    let folder = RunFolder::create(path, recipe)?;
    observe(Event::Policy { parameters: start.model.len(), vocabulary: start.model.config.vocab_size });
    if let Some(warm) = &recipe.warm_start {
        let progress = &mut |p| observe(Event::WarmStart(p));
        warm_start::train(&mut start.model, &start.dialogue, &tasks, &warm.stages, recipe, progress)?;
    }
    let learner = Learner::new(start.model, recipe);
    let average = learner.average.as_ref();
    folder.save(0, &learner.policy, None, average, recipe.policy.save_dtype, &start.text)?;
    let mut run = Run {
        recipe,
        tasks,
        panel,
        dialogue: start.dialogue,
        text: start.text,
        analyzer,
        bank,
        learner,
        folder,
        observe,
    };
    if let Some(warm) = recipe.warm_start.as_ref().filter(|w| w.probe_games > 0) {
        let probe = probe(&run.learner.policy, &run.dialogue, &run.tasks, recipe, warm.probe_games)?;
        run.folder.log(&serde_json::json!({ "step": 0, "probe": probe }))?;
        (run.observe)(Event::Probe(&probe));
        if recipe.algorithm.teaches(&recipe.skill) {
            check_skill_gain(warm, probe.plain.success, probe.workflow.success)?;
        }
    }
    run.evaluate(0, &[]).and_then(|before| run.go_on(0, before.clone(), before))
}

/// Continues a run from its last complete checkpoint.
///
/// # Errors
/// Whatever stops the run; what was saved stays.
pub fn resume(
    recipe: &Recipe,
    path: &Path,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let panel = tasks.panel(&recipe.evaluation.split, recipe.evaluation.games)?;
    let first = path.join("checkpoints/step_0");
    let mut learner = Learner::new(exact_model(&first, recipe.policy.precision)?, recipe);
    let last = last_checkpoint(path, learner.optimizer.config, recipe.policy.precision)?;
    learner.policy = last.model;
    if let Some(optimizer) = last.optimizer {
        learner.optimizer = optimizer;
    }
    if learner.average.is_some() {
        learner.average = Some(last.average.ok_or(RunError::NoAverage { step: last.step })?);
    }
    let dialogue = Dialogue::open(&first, recipe)?;
    let text = TextFiles::from_folder(&first)?;
    let folder = RunFolder::reopen(path, last.step)?;
    let log = Log::read(path)?;
    let (analyzer, bank) = (open_analyzer(recipe, path)?, open_bank(recipe)?);
    let mut run = Run { recipe, tasks, panel, dialogue, text, analyzer, bank, learner, folder, observe };
    // A run may have stopped after its checkpoint and before the end of the evaluation that follows it.
    let latest = match last.step == 0 || run.evaluates_after(last.step) {
        true => run.evaluate(last.step, &log.evaluations)?,
        false => Vec::new(),
    };
    let before = match last.step {
        0 => latest.clone(),
        _ => log.evaluations.into_iter().filter(|e| e.step == 0).collect(),
    };
    run.go_on(last.step, before, latest)
}

/// Refuses a starting policy that a good skill does not make better: its success without one (`plain`) and with one.
/// A gain of 0 asks for nothing.
pub(crate) fn check_skill_gain(warm: &WarmStart, plain: f64, skill: f64) -> Result<(), TrainError> {
    match warm.min_skill_gain > 0.0 && skill - plain < warm.min_skill_gain {
        true => Err(TrainError::NoSkillGain { plain, skill, least: warm.min_skill_gain }),
        false => Ok(()),
    }
}

/// Whether something done every so many steps (0: never) is done after this one.
fn is_due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

impl Run<'_> {
    /// Trains from after step `done` to the end, evaluating and saving on the way; `after` are the evaluations after
    /// that step.
    fn go_on(
        &mut self,
        done: u64,
        before: Vec<Evaluated>,
        mut after: Vec<Evaluated>,
    ) -> Result<Outcome, TrainError> {
        let recipe = self.recipe;
        let mut saved = done;
        for step in done + 1..=recipe.steps {
            let metrics = match self.step(step) {
                // Nothing has been learnt from the step yet, so that what was learnt before is kept.
                Err(error) if error.leaves_policy() && saved < step - 1 => {
                    self.save(step - 1)?;
                    return Err(error);
                }
                result => result?,
            };
            self.folder.log(&metrics)?;
            (self.observe)(Event::Step(&metrics, recipe.steps));
            if is_due(recipe.checkpoint.every, step) || step == recipe.steps {
                self.save(step)?;
                saved = step;
            }
            if self.evaluates_after(step) {
                after = self.evaluate(step, &[])?;
            }
        }
        let checkpoint = self.folder.checkpoint(recipe.steps.max(done));
        Ok(Outcome { before, after, checkpoint })
    }

    /// Writes a checkpoint, and removes old ones.
    fn save(&self, step: u64) -> Result<(), RunError> {
        let (learner, dtype) = (&self.learner, self.recipe.policy.save_dtype);
        let average = learner.average.as_ref();
        self.folder.save(step, &learner.policy, Some(&learner.optimizer), average, dtype, &self.text)?;
        self.folder.prune(self.recipe.checkpoint.keep)
    }

    /// Whether there is an evaluation after a training step.
    fn evaluates_after(&self, step: u64) -> bool {
        is_due(self.recipe.evaluation.every, step) || step == self.recipe.steps
    }

    /// Plays the evaluation tasks at every temperature, with every kind of skills, but for what is among the `known`
    /// evaluations already.
    fn evaluate(&mut self, step: u64, known: &[Evaluated]) -> Result<Vec<Evaluated>, TrainError> {
        let mut results = Vec::new();
        let e = &self.recipe.evaluation;
        for way @ Way { skills, temperature } in Way::all(e) {
            let same = |e: &&Evaluated| (e.step, e.way()) == (step, way);
            if let Some(result) = known.iter().find(same) {
                results.push(result.clone());
                continue;
            }
            let groups = Group::of(&self.panel, skills.of(self.bank.as_ref()))?;
            // The same draws at every evaluation: differences come from the policy alone.
            let settings = Settings::evaluation(self.recipe, temperature, [self.recipe.seed, EVALUATION, 0]);
            let total = self.panel.len();
            let mut progress = |done| (self.observe)(Event::Sampling { purpose: "evaluation", done, total });
            let (report, played) =
                evaluate(&self.learner.policy, &self.dialogue, &groups, &settings, &mut progress)?;
            let most = self.recipe.environment.search.max_failures;
            TrainError::check_lookups(|| format!("evaluation after step {step}"), &played, most)?;
            let split = e.split.clone();
            let result = Evaluated { step, split, temperature, skills, report };
            self.folder.log(&serde_json::json!({ "step": step, "evaluation": result }))?;
            (self.observe)(Event::Evaluation(&result));
            results.push(result);
        }
        Ok(results)
    }
}
