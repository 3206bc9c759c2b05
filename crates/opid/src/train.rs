//! The training loop: task, rollout, analysis, routing, re-scoring, advantage, update.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use opid_env::environment::Task;
use opid_lm::checkpoint::TextFiles;
use opid_lm::config::ModelConfig;
use opid_lm::storage::{Disk, Storage};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

mod error;
mod skills;
mod step;

pub use error::TrainError;

use crate::dialogue::Dialogue;
use crate::evaluate::{EVALUATION, Report, Way, evaluate};
use crate::interrupt::Interrupt;
use crate::log::{Log, ProbeLine};
use crate::memory;
use crate::metrics::StepMetrics;
use crate::policy::starting_policy;
use crate::probe::{Probe, ProbeError, probe};
use crate::recipe::{Recipe, ShownSkills, WarmStart};
use crate::rollout::{Group, SampleError, Settings};
use crate::run::{Fault, RunError, RunFolder, Snapshot, begun, exact_model, last_checkpoint, start_of};
use crate::skill::analyzer::{self, Analyzer, StopError};
use crate::skill::bank::Bank;
use crate::tasks::Tasks;
use crate::update::Learner;
use crate::warm_start;
use crate::warm_start::course::Course;

/// What happens in a run, for whoever shows it.
pub enum Event<'a> {
    /// A run goes on from a checkpoint.
    Resumed {
        /// Its training step.
        step: u64,
        /// Later checkpoints that are not whole, and why.
        passed_over: &'a [(u64, Fault)],
    },
    /// Supervised training of the starting policy.
    WarmStart(warm_start::Progress),
    /// Number of parameters and tokens of the policy.
    Policy {
        /// Parameters.
        parameters: usize,
        /// Size of the vocabulary.
        vocabulary: usize,
        /// Updates of its warm start that were done before a stop.
        taught: u64,
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

/// What a run is done with, besides its recipe.
#[derive(Clone, Debug)]
pub struct Control {
    /// What its folder is written through.
    pub storage: Arc<dyn Storage>,
    /// Ends it at the next clean place.
    pub interrupt: Interrupt,
}

impl Default for Control {
    fn default() -> Self {
        Control { storage: Arc::new(Disk), interrupt: Interrupt::default() }
    }
}

/// A run in progress.
struct Run<'a> {
    recipe: &'a Recipe,
    tasks: Tasks,
    panel: Vec<Arc<dyn Task>>,
    dialogue: Dialogue,
    text: Arc<TextFiles>,
    /// Of methods with a teacher.
    analyzer: Option<Arc<dyn Analyzer>>,
    /// Where skills are shown to the policy.
    bank: Option<Bank>,
    learner: Learner,
    folder: RunFolder,
    interrupt: Interrupt,
    /// All evaluations so far.
    evaluations: Vec<Evaluated>,
    /// The training step of the last checkpoint.
    saved: u64,
    /// Updates so far that were skipped, because their gradient was not finite.
    skipped: usize,
    /// Seconds that files kept training waiting, not yet in the metrics of a step.
    blocked: f64,
    observe: &'a mut dyn FnMut(Event<'_>),
}

/// The analyzer of a run in a folder, if its algorithm uses one.
fn open_analyzer(
    recipe: &Recipe,
    path: &Path,
    control: &Control,
) -> Result<Option<Arc<dyn Analyzer>>, StopError> {
    if !recipe.algorithm.teaches(&recipe.skill) {
        return Ok(None);
    }
    let mut analyzer = analyzer::open(recipe, Some(path), control.storage.clone())?;
    analyzer.heed(&control.interrupt);
    Ok(Some(analyzer.into()))
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
    control: &Control,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    RunFolder::refuse_taken(path)?;
    begin(recipe, path, control, observe)
}

/// Trains from the beginning, in a folder without checkpoints.
fn begin(
    recipe: &Recipe,
    path: &Path,
    control: &Control,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let panel = tasks.panel(&recipe.evaluation.split, recipe.evaluation.games)?;
    let (analyzer, bank) = (open_analyzer(recipe, path, control)?, open_bank(recipe)?);
    let given = Path::new(&recipe.policy.model);
    if recipe.warm_start.is_none() && given.is_dir() {
        memory::check(&ModelConfig::from_folder(given)?, recipe)?;
    }
    let mut course = match Course::kept(path, recipe)? {
        Some(course) => course,
        None => Course::new(starting_policy(recipe, &tasks)?),
    };
    // After everything that can be wrong with the recipe, before anything that takes long.
    let mut folder = RunFolder::begin(path, recipe, control.storage.clone())?;
    observe(course.policy());
    let progress = &mut |_: &mut RunFolder, p| {
        observe(Event::WarmStart(p));
        Ok(())
    };
    course.finish(&mut folder, &tasks, recipe, control, "train", progress)?;
    let mut run = Run {
        recipe,
        tasks,
        panel,
        dialogue: course.dialogue,
        text: course.text,
        analyzer,
        bank,
        learner: Learner::new(Arc::unwrap_or_clone(course.pupil.model), recipe),
        folder,
        interrupt: control.interrupt.clone(),
        evaluations: Vec::new(),
        saved: 0,
        skipped: 0,
        blocked: 0.0,
        observe,
    };
    run.save(0)?;
    run.folder.forget_warm_start()?;
    run.go_on(0, None)
}

/// Continues a run from its last complete checkpoint; without one, begins it again.
///
/// # Errors
/// Whatever stops the run; what was saved stays.
pub fn resume(
    recipe: &Recipe,
    path: &Path,
    control: &Control,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, TrainError> {
    // Where one was finished once, and is damaged, nothing is written over it.
    if begun(&path.join("checkpoints"))?.is_empty() {
        return begin(recipe, path, control, observe);
    }
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let panel = tasks.panel(&recipe.evaluation.split, recipe.evaluation.games)?;
    let first = start_of(path)?;
    memory::check(&ModelConfig::from_folder(&first)?, recipe)?;
    let mut learner = Learner::new(exact_model(&first, recipe.policy.precision)?, recipe);
    let last = last_checkpoint(path, learner.optimizer.config, recipe.policy.precision)?;
    learner.policy = Arc::new(last.model);
    if let Some(optimizer) = last.optimizer {
        learner.optimizer = Arc::new(optimizer);
    }
    if learner.average.is_some() {
        let average = last.average.ok_or(RunError::NoAverage { step: last.step })?;
        learner.average = Some(Arc::new(average));
    }
    let dialogue = Dialogue::open(&first, recipe)?;
    let text = Arc::new(TextFiles::from_folder(&first)?);
    let folder = RunFolder::reopen(path, last.step, control.storage.clone())?;
    let log = Log::read(path)?;
    observe(Event::Resumed { step: last.step, passed_over: &last.passed_over });
    let (analyzer, bank) = (open_analyzer(recipe, path, control)?, open_bank(recipe)?);
    let mut run = Run {
        recipe,
        tasks,
        panel,
        dialogue,
        text,
        analyzer,
        bank,
        learner,
        folder,
        interrupt: control.interrupt.clone(),
        evaluations: log.evaluations,
        saved: last.step,
        skipped: log.steps.iter().map(|line| line.update.skipped).sum(),
        blocked: 0.0,
        observe,
    };
    run.go_on(last.step, log.probe)
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
    /// Trains from after step `done` to the end, evaluating and saving on the way. A run may have stopped after its
    /// checkpoint and before what is measured there; `probed` is what a probe came to before.
    fn go_on(&mut self, done: u64, probed: Option<ProbeLine>) -> Result<Outcome, TrainError> {
        let mut learnt = done;
        if let Err(error) = self.work(&mut learnt, probed) {
            if !error.leaves_policy() {
                return Err(error);
            }
            // What was learnt up to here is kept.
            if self.saved < learnt {
                self.save(learnt)?;
            }
            self.folder.finish()?;
            return Err(match error.is_interrupt() {
                true => TrainError::Interrupted { run: self.folder.path().to_owned(), saved: Some(learnt) },
                false => error,
            });
        }
        let at = |step: u64| self.evaluations.iter().filter(move |e| e.step == step).cloned().collect();
        let last = self.evaluations.iter().map(|e| e.step).max().unwrap_or(0);
        let checkpoint = self.folder.checkpoint(learnt);
        Ok(Outcome { before: at(0), after: at(last), checkpoint })
    }

    /// Does what is left of a run; `learnt` counts the training steps that the policy has learnt from.
    fn work(&mut self, learnt: &mut u64, probed: Option<ProbeLine>) -> Result<(), TrainError> {
        let recipe = self.recipe;
        let done = *learnt;
        if done == 0 {
            self.probe(probed)?;
        }
        if done == 0 || self.evaluates_after(done) {
            self.evaluate(done)?;
        }
        for step in done + 1..=recipe.steps {
            self.folder.check_saving()?;
            self.heed_interrupt()?;
            let metrics = self.step(step)?;
            self.folder.log(&metrics)?;
            *learnt = step;
            (self.observe)(Event::Step(&metrics, recipe.steps));
            self.skipped += metrics.update.skipped;
            if metrics.update.skipped > 0 && self.skipped > recipe.optimizer.max_skipped {
                let (skipped, most) = (self.skipped, recipe.optimizer.max_skipped);
                return Err(TrainError::NotFinite { step, skipped, most });
            }
            if is_due(recipe.checkpoint.every, step) || step == recipe.steps {
                self.save(step)?;
            }
            if self.evaluates_after(step) {
                self.evaluate(step)?;
            }
        }
        Ok(self.prune()?)
    }

    /// Stops if that was asked for.
    fn heed_interrupt(&self) -> Result<(), TrainError> {
        match self.interrupt.is_set() {
            true => Err(self.stopped(SampleError::Interrupted)),
            false => Ok(()),
        }
    }

    /// Why sampling stopped.
    fn stopped(&self, error: SampleError) -> TrainError {
        match error {
            SampleError::Interrupted => {
                TrainError::Interrupted { run: self.folder.path().to_owned(), saved: None }
            }
            error => TrainError::Sampling(error),
        }
    }

    /// Begins to write a checkpoint, and then removes old ones.
    fn save(&mut self, step: u64) -> Result<(), TrainError> {
        let start = Instant::now();
        // It would take the place of one that is good.
        if !self.learner.policy.weights.par_iter().all(|weight| weight.is_finite()) {
            return Err(TrainError::Broken { step });
        }
        // Of the checkpoint before it must be known whether it is there.
        self.folder.finish()?;
        let learner = &self.learner;
        let snapshot = Snapshot {
            step,
            model: learner.policy.clone(),
            optimizer: (step > 0).then(|| learner.optimizer.clone()),
            average: learner.average.clone(),
            standing: None,
            dtype: self.recipe.policy.save_dtype,
            text: self.text.clone(),
        };
        let kept = self.best();
        self.folder.save(snapshot, self.recipe.checkpoint.keep, kept)?;
        self.saved = step;
        self.blocked += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Waits for the last checkpoint, and removes those that are not to stay.
    fn prune(&mut self) -> Result<(), RunError> {
        self.folder.finish()?;
        self.folder.prune(self.recipe.checkpoint.keep, &self.best())
    }

    /// The steps of the checkpoints with the best evaluations, as many as the recipe keeps.
    fn best(&self) -> Vec<u64> {
        let first = Way::all(&self.recipe.evaluation).next();
        let candidates = self.evaluations.iter().filter(|e| Some(e.way()) == first && e.step > 0);
        let mut candidates: Vec<&Evaluated> =
            candidates.filter(|e| self.folder.checkpoint(e.step).is_dir()).collect();
        candidates.sort_by(|a, b| {
            let rank = |e: &Evaluated| (e.report.overall.success, e.report.score);
            let ((success_a, score_a), (success_b, score_b)) = (rank(a), rank(b));
            // Of equals the later one.
            success_b.total_cmp(&success_a).then(score_b.total_cmp(&score_a)).then(b.step.cmp(&a.step))
        });
        candidates.iter().take(self.recipe.checkpoint.keep_best).map(|e| e.step).collect()
    }

    /// Measures what skills are worth to the starting policy, unless that is known, and refuses one to which they are
    /// worth too little.
    fn probe(&mut self, known: Option<ProbeLine>) -> Result<(), TrainError> {
        let Some(warm) = self.recipe.warm_start.as_ref().filter(|w| w.probe_games > 0) else { return Ok(()) };
        let (plain, workflow) = match known {
            Some(probe) => (probe.plain, probe.workflow),
            None => {
                let Run { learner, dialogue, tasks, recipe, interrupt, .. } = &*self;
                let probe = probe(&learner.policy, dialogue, tasks, recipe, warm.probe_games, interrupt);
                let probe = probe.map_err(|error| match error {
                    ProbeError::Sampling(error) => self.stopped(error),
                    error => error.into(),
                })?;
                self.folder.log(&serde_json::json!({ "step": 0, "probe": probe }))?;
                (self.observe)(Event::Probe(&probe));
                (probe.plain, probe.workflow)
            }
        };
        match self.recipe.algorithm.teaches(&self.recipe.skill) {
            true => check_skill_gain(warm, plain.success, workflow.success),
            false => Ok(()),
        }
    }

    /// Whether there is an evaluation after a training step.
    fn evaluates_after(&self, step: u64) -> bool {
        is_due(self.recipe.evaluation.every, step) || step == self.recipe.steps
    }

    /// Plays the evaluation tasks at every temperature, with every kind of skills, but for what was evaluated already.
    fn evaluate(&mut self, step: u64) -> Result<(), TrainError> {
        let e = &self.recipe.evaluation;
        for way @ Way { skills, temperature } in Way::all(e) {
            if self.evaluations.iter().any(|e| (e.step, e.way()) == (step, way)) {
                continue;
            }
            let groups = Group::of(&self.panel, skills.of(self.bank.as_ref()))?;
            // The same draws at every evaluation: differences come from the policy alone.
            let settings = Settings {
                interrupt: self.interrupt.clone(),
                ..Settings::evaluation(self.recipe, temperature, [self.recipe.seed, EVALUATION, 0])
            };
            let total = self.panel.len();
            let mut progress = |done| (self.observe)(Event::Sampling { purpose: "evaluation", done, total });
            let (report, _) =
                evaluate(&self.learner.policy, &self.dialogue, &groups, &settings, &mut progress)
                    .map_err(|error| self.stopped(error))?;
            let split = e.split.clone();
            let result = Evaluated { step, split, temperature, skills, report };
            self.folder.log(&serde_json::json!({ "step": step, "evaluation": result }))?;
            (self.observe)(Event::Evaluation(&result));
            self.evaluations.push(result);
        }
        Ok(())
    }
}
