//! The training loop: task, rollout, analysis, routing, re-scoring, advantage, update.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use opid_env::environment::Task;
use opid_lm::checkpoint::{StoredDtype, TextFiles};
use opid_lm::error::LoadError;
use serde::Serialize;

use crate::advantage::advantages;
use crate::dialogue::{Dialogue, DialogueError};
use crate::evaluate::{EVALUATION, Report, evaluate};
use crate::metrics::{Clock, SkillMetrics, StepMetrics};
use crate::packing::{Row, rows};
use crate::policy::{PolicyError, starting_policy};
use crate::probe::{Probe, ProbeError, probe};
use crate::recipe::{AlgorithmName, Recipe, Teacher};
use crate::record::records;
use crate::rollout::{Group, Settings, sample};
use crate::run::{RunError, RunFolder, exact_model, last_checkpoint};
use crate::skill::analyzer::{self, Analyses, Analysis, Analyzer, StopError};
use crate::skill::rescore::{Rescorer, SkillScores};
use crate::skill::route::Route;
use crate::tasks::{Tasks, TasksError};
use crate::trajectory::Trajectory;
use crate::update::{Learner, Tokens};
use crate::warm_start::{self, WarmStartError};

/// Key that tells the random draws of training rollouts from others.
const TRAINING: u64 = 201;

/// A run that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The tasks.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// Prompts or tokens.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
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
    /// Whether the policy is still that of the step before.
    fn leaves_policy(&self) -> bool {
        matches!(self, TrainError::Stopped { .. } | TrainError::Analysis { .. } | TrainError::TooLong { .. })
    }
}

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
#[derive(Clone, Debug, Serialize)]
pub struct Evaluated {
    /// Training steps done.
    pub step: u64,
    /// Split.
    pub split: String,
    /// Sampling temperature.
    pub temperature: f32,
    /// Result.
    pub report: Report,
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
    /// Under OPID only.
    analyzer: Option<Arc<dyn Analyzer>>,
    learner: Learner,
    folder: RunFolder,
    observe: &'a mut dyn FnMut(Event<'_>),
}

/// Number format of a recipe's checkpoints.
pub fn dtype(recipe: &Recipe) -> StoredDtype {
    if recipe.policy.save_dtype == "bf16" { StoredDtype::Bf16 } else { StoredDtype::F32 }
}

/// The analyzer of a recipe, if its algorithm uses one.
fn open_analyzer(recipe: &Recipe) -> Result<Option<Arc<dyn Analyzer>>, StopError> {
    Ok(match recipe.algorithm.name {
        AlgorithmName::Grpo => None,
        AlgorithmName::Opid => Some(analyzer::open(recipe)?.into()),
    })
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
    let analyzer = open_analyzer(recipe)?;
    let mut start = starting_policy(recipe, &tasks)?;
    // After everything that can be wrong with the recipe, before anything that takes long.
    let folder = RunFolder::create(path, recipe)?;
    observe(Event::Policy { parameters: start.model.len(), vocabulary: start.model.config.vocab_size });
    if let Some(warm) = &recipe.warm_start {
        let progress = &mut |p| observe(Event::WarmStart(p));
        warm_start::train(&mut start.model, &start.dialogue, &tasks, &warm.stages, recipe, progress)?;
    }
    let learner = Learner::new(start.model, recipe);
    folder.save(0, &learner.policy, None, dtype(recipe), &start.text)?;
    let mut run = Run {
        recipe,
        tasks,
        panel,
        dialogue: start.dialogue,
        text: start.text,
        analyzer,
        learner,
        folder,
        observe,
    };
    if let Some(warm) = recipe.warm_start.as_ref().filter(|w| w.probe_games > 0) {
        let probe = probe(&run.learner.policy, &run.dialogue, &run.tasks, recipe, warm.probe_games)?;
        run.folder.log(&serde_json::json!({ "step": 0, "probe": probe }))?;
        (run.observe)(Event::Probe(&probe));
        let gain = probe.workflow.success - probe.plain.success;
        if recipe.algorithm.name == AlgorithmName::Opid && gain < warm.min_skill_gain {
            return Err(TrainError::NoSkillGain {
                plain: probe.plain.success,
                skill: probe.workflow.success,
                least: warm.min_skill_gain,
            });
        }
    }
    run.evaluate(0).and_then(|before| run.go_on(0, before))
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
    let dialogue = Dialogue::open(&first, recipe)?;
    let text = TextFiles::from_folder(&first)?;
    let folder = RunFolder::reopen(path, last.step)?;
    let analyzer = open_analyzer(recipe)?;
    let mut run = Run { recipe, tasks, panel, dialogue, text, analyzer, learner, folder, observe };
    run.go_on(last.step, Vec::new())
}

impl Run<'_> {
    /// Trains from after step `done` to the end, evaluating and saving on the way.
    fn go_on(&mut self, done: u64, before: Vec<Evaluated>) -> Result<Outcome, TrainError> {
        let recipe = self.recipe;
        let mut after = before.clone();
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
            let due = |every: u64| every > 0 && step.is_multiple_of(every);
            if due(recipe.checkpoint.every) || step == recipe.steps {
                self.save(step)?;
                saved = step;
            }
            if due(recipe.evaluation.every) || step == recipe.steps {
                after = self.evaluate(step)?;
            }
        }
        let checkpoint = self.folder.checkpoint(recipe.steps.max(done));
        Ok(Outcome { before, after, checkpoint })
    }

    /// Writes a checkpoint, and removes old ones.
    fn save(&self, step: u64) -> Result<(), RunError> {
        let (learner, dtype) = (&self.learner, dtype(self.recipe));
        self.folder.save(step, &learner.policy, Some(&learner.optimizer), dtype, &self.text)?;
        self.folder.prune(self.recipe.checkpoint.keep)
    }

    /// Plays the evaluation tasks at every temperature.
    fn evaluate(&mut self, step: u64) -> Result<Vec<Evaluated>, TrainError> {
        let mut results = Vec::new();
        for &temperature in &self.recipe.evaluation.temperatures {
            // The same draws at every evaluation: differences come from the policy alone.
            let settings = Settings::evaluation(self.recipe, temperature, [self.recipe.seed, EVALUATION, 0]);
            let observe = std::cell::RefCell::new(&mut *self.observe);
            let total = self.panel.len();
            let progress =
                |done| (observe.borrow_mut())(Event::Sampling { purpose: "evaluation", done, total });
            let (report, _) =
                evaluate(&self.learner.policy, &self.dialogue, &self.panel, &settings, &progress)?;
            let split = self.recipe.evaluation.split.clone();
            let result = Evaluated { step, split, temperature, report };
            self.folder.log(&serde_json::json!({ "step": step, "evaluation": result }))?;
            (self.observe)(Event::Evaluation(&result));
            results.push(result);
        }
        Ok(results)
    }

    /// One training step.
    fn step(&mut self, step: u64) -> Result<StepMetrics, TrainError> {
        let recipe = self.recipe;
        let mut clock = Clock::start();
        let warm: usize = recipe
            .warm_start
            .as_ref()
            .map_or(0, |w| w.stages.iter().map(|s| s.updates as usize * s.episodes).sum());
        let first = warm + (step as usize - 1) * recipe.rollout.groups;
        let tasks = self.tasks.training(&recipe.environment.split, first, recipe.rollout.groups)?;
        let groups: Vec<Group> = tasks.into_iter().map(|task| Group { task, skill: None }).collect();
        let settings = Settings::training(recipe, [recipe.seed, TRAINING, step]);
        let total = groups.len() * recipe.rollout.group_size;
        let trajectories = {
            let observe = std::cell::RefCell::new(&mut *self.observe);
            let progress = |done| (observe.borrow_mut())(Event::Sampling { purpose: "rollout", done, total });
            sample(&self.learner.policy, &self.dialogue, &groups, &settings, &progress)?
        };
        let rows = rows(&trajectories);
        let logprobs = trajectories.iter().flat_map(|t| &t.turns).flat_map(|t| &t.logprobs);
        let old: Vec<f64> = logprobs.map(|&l| l as f64).collect();
        let mut metrics = StepMetrics::of(step, &trajectories);
        metrics.seconds.rollout = clock.lap();
        let mut analyses = vec![None; trajectories.len()];
        let mut skills = match self.analyzer.clone() {
            None => None,
            Some(analyzer) => {
                let analyzed = self.analyze(analyzer.as_ref(), step, &trajectories)?;
                let failures = analyzed.failures();
                let Analyses { results, usage } = analyzed;
                analyses = results.into_iter().map(Result::ok).collect();
                metrics.seconds.analyze = clock.lap();
                let scores = self.rescore(step, &trajectories, &rows, &analyses)?;
                let measured = SkillMetrics::of(&trajectories, &rows, &analyses, &old, &scores);
                metrics.skills = Some(SkillMetrics { failures, analyzer: usage, ..measured });
                metrics.seconds.rescore = clock.lap();
                Some(scores)
            }
        };
        let parts = advantages(&trajectories, &rows, &old, skills.as_ref(), recipe);
        metrics.advantage = parts.shares();
        let scored = skills.as_mut().and_then(|scores| scores.plain.take()).map(|plain| (plain, 0));
        let scored = scored.or_else(|| self.learner.score_reference(&trajectories, &rows, recipe));
        let total = parts.total();
        let tokens = Tokens {
            old: &old,
            reference: scored.as_ref().map(|(reference, _)| &reference[..]),
            advantages: &total,
        };
        metrics.update = self.learner.update(&trajectories, &rows, tokens, recipe, step - 1);
        metrics.update.reference_computed = scored.as_ref().map_or(0, |(_, computed)| *computed);
        metrics.seconds.update = clock.lap();
        metrics.tokens_per_second = metrics.episode_tokens as f64 / clock.total();
        let every = recipe.checkpoint.trajectories_every;
        if every > 0 && step.is_multiple_of(every) {
            let records = records(&trajectories, &rows, &analyses, &parts, skills.as_ref());
            self.folder.write_trajectories(&format!("step_{step:06}"), &records)?;
        }
        Ok(metrics)
    }

    /// Skills of every episode; too many failures stop the run.
    fn analyze(
        &self,
        analyzer: &dyn Analyzer,
        step: u64,
        trajectories: &[Trajectory],
    ) -> Result<Analyses, TrainError> {
        let analyses =
            analyzer.analyze(step, trajectories).map_err(|reason| TrainError::Stopped { step, reason })?;
        let (causes, episodes) = (analyses.failures(), analyses.results.len());
        let failed = causes.values().sum::<usize>();
        let most = self.recipe.skill.max_failures;
        if failed as f64 > most * episodes as f64 {
            let first = analyses.results.iter().find_map(|r| r.as_ref().err());
            let reason = first.map(ToString::to_string).unwrap_or_default();
            let causes = analyzer::describe(&causes);
            return Err(TrainError::Analysis { step, failed, episodes, causes, reason, most });
        }
        Ok(analyses)
    }

    /// Log-probabilities of the responses under their skills, by the recipe's teacher.
    fn rescore(
        &mut self,
        step: u64,
        trajectories: &[Trajectory],
        rows: &[Row],
        analyses: &[Option<Analysis>],
    ) -> Result<SkillScores, TrainError> {
        let recipe = self.recipe;
        let s = &recipe.skill;
        let route = |row: &Row| match &analyses[row.trajectory] {
            None => Route { episode: false, step: false },
            Some(a) => {
                let skill = a.step_skills.get(&row.turn).map(String::as_str);
                let advised = !a.episode_skill.trim().is_empty();
                s.routing.route(skill, advised && s.episode_weight > 0.0, s.step_weight > 0.0)
            }
        };
        let routes: Vec<Route> = rows.iter().map(route).collect();
        let rescorer = Rescorer {
            model: match s.teacher {
                Teacher::Policy => &self.learner.policy,
                Teacher::Reference => self.learner.reference.as_ref().unwrap_or(&self.learner.policy),
            },
            dialogue: &self.dialogue,
            temperature: recipe.rollout.temperature,
            max_context: recipe.policy.max_context,
            micro_batch_tokens: recipe.optimizer.micro_batch_tokens,
            plain: s.teacher == Teacher::Reference && recipe.loss.kl > 0.0,
        };
        let scores = rescorer.score(&mut self.learner.workspace, trajectories, rows, analyses, &routes)?;
        let turns = routes.iter().map(|r| usize::from(r.episode) + usize::from(r.step)).sum();
        let (too_long, most) = (scores.too_long, s.max_failures);
        if too_long as f64 > most * turns as f64 {
            return Err(TrainError::TooLong { step, too_long, turns, most });
        }
        Ok(scores)
    }
}
