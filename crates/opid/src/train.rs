//! The training loop: task, rollout, analysis, routing, re-scoring, advantage, update.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use opid_env::environment::Task;
use opid_lm::checkpoint::{StoredDtype, TextFiles};
use serde::Serialize;

mod error;

pub use error::TrainError;

use crate::algo::sampled::{Sampled, taught};
use crate::collapse;
use crate::dialogue::Dialogue;
use crate::evaluate::{EVALUATION, Report, evaluate};
use crate::metrics::{Clock, SkillMetrics, StepMetrics};
use crate::objective::Tokens;
use crate::packing::{Row, rows};
use crate::policy::starting_policy;
use crate::probe::{Probe, probe};
use crate::recipe::{Recipe, ShownSkills, Teacher};
use crate::record::records;
use crate::rollout::{Group, Settings, sample};
use crate::run::{RunError, RunFolder, exact_model, last_checkpoint};
use crate::skill::analyzer::{self, Analysis, Analyzer, Policy, StepContext, StopError};
use crate::skill::bank::Bank;
use crate::skill::critical::{Selector, keep_critical};
use crate::skill::rescore::{Rescorer, SkillScores};
use crate::skill::route::Route;
use crate::skill::schedule::Scheduled;
use crate::tasks::Tasks;
use crate::trajectory::Trajectory;
use crate::update::Learner;
use crate::warm_start;

/// Key that tells the random draws of training rollouts from others.
const TRAINING: u64 = 201;

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
    /// Skills in the policy's history.
    pub skills: ShownSkills,
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
    /// Of methods with a teacher.
    analyzer: Option<Arc<dyn Analyzer>>,
    /// Where skills are shown to the policy.
    bank: Option<Bank>,
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
    Ok(match recipe.algorithm.teaches(&recipe.skill) {
        false => None,
        true => Some(analyzer::open(recipe)?.into()),
    })
}

/// The bank of a recipe that shows its skills to the policy.
fn open_bank(recipe: &Recipe) -> Result<Option<Bank>, StopError> {
    let shown = recipe.evaluation.skills.iter().chain([&recipe.rollout.skills]);
    let needed = shown.into_iter().any(|skills| *skills == ShownSkills::Bank);
    Ok(needed.then(|| Bank::open(&recipe.skill.bank, &recipe.environment.name)).transpose()?)
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
    let (analyzer, bank) = (open_analyzer(recipe)?, open_bank(recipe)?);
    let mut start = starting_policy(recipe, &tasks)?;
    // After everything that can be wrong with the recipe, before anything that takes long.
    let folder = RunFolder::create(path, recipe)?;
    observe(Event::Policy { parameters: start.model.len(), vocabulary: start.model.config.vocab_size });
    if let Some(warm) = &recipe.warm_start {
        let progress = &mut |p| observe(Event::WarmStart(p));
        warm_start::train(&mut start.model, &start.dialogue, &tasks, &warm.stages, recipe, progress)?;
    }
    let learner = Learner::new(start.model, recipe);
    folder.save(0, &learner.policy, None, learner.average.as_ref(), dtype(recipe), &start.text)?;
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
        let gain = probe.workflow.success - probe.plain.success;
        if recipe.algorithm.teaches(&recipe.skill) && gain < warm.min_skill_gain {
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
    if learner.average.is_some() {
        learner.average = Some(last.average.ok_or(RunError::NoAverage { step: last.step })?);
    }
    let dialogue = Dialogue::open(&first, recipe)?;
    let text = TextFiles::from_folder(&first)?;
    let folder = RunFolder::reopen(path, last.step)?;
    let (analyzer, bank) = (open_analyzer(recipe)?, open_bank(recipe)?);
    let mut run = Run { recipe, tasks, panel, dialogue, text, analyzer, bank, learner, folder, observe };
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
        let average = learner.average.as_ref();
        self.folder.save(step, &learner.policy, Some(&learner.optimizer), average, dtype, &self.text)?;
        self.folder.prune(self.recipe.checkpoint.keep)
    }

    /// The bank, if the policy is shown its skills.
    fn shown(&self, skills: ShownSkills) -> Option<&Bank> {
        self.bank.as_ref().filter(|_| skills == ShownSkills::Bank)
    }

    /// Plays the evaluation tasks at every temperature, with every kind of skills.
    fn evaluate(&mut self, step: u64) -> Result<Vec<Evaluated>, TrainError> {
        let mut results = Vec::new();
        let e = &self.recipe.evaluation;
        let ways = e.skills.iter().flat_map(|s| e.temperatures.iter().map(move |t| (*s, *t)));
        for (skills, temperature) in ways {
            let groups = Group::of(&self.panel, self.shown(skills))?;
            // The same draws at every evaluation: differences come from the policy alone.
            let settings = Settings::evaluation(self.recipe, temperature, [self.recipe.seed, EVALUATION, 0]);
            let observe = std::cell::RefCell::new(&mut *self.observe);
            let total = self.panel.len();
            let progress =
                |done| (observe.borrow_mut())(Event::Sampling { purpose: "evaluation", done, total });
            let (report, _) = evaluate(&self.learner.policy, &self.dialogue, &groups, &settings, &progress)?;
            let split = e.split.clone();
            let result = Evaluated { step, split, temperature, skills, report };
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
        let groups = Group::of(&tasks, self.shown(recipe.rollout.skills))?;
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
            Some(_) if !recipe.skill.schedule.is_on(step) => {
                metrics.skills = Some(SkillMetrics::default());
                None
            }
            Some(analyzer) => {
                let Scheduled { results, usage } = self.analyze(analyzer.as_ref(), step, &trajectories)?;
                let failures = analyzer::failures(results.iter().flatten());
                let skipped = results.iter().filter(|r| r.is_none()).count();
                analyses = results.into_iter().map(|r| r.and_then(Result::ok)).collect();
                let not_critical = match recipe.skill.critical_steps {
                    Selector::Analyzer => 0,
                    Selector::Statistics => {
                        keep_critical(&mut analyses, &trajectories, &rows, recipe.skill.max_step_skills)
                    }
                };
                metrics.seconds.analyze = clock.lap();
                let scores = self.rescore(step, &trajectories, &rows, &analyses)?;
                let measured =
                    SkillMetrics::of(&trajectories, &rows, &analyses, &old, &scores, &recipe.skill);
                let (covered, turns, least) =
                    (measured.covered, measured.entitled, recipe.skill.min_coverage);
                if (covered as f64) < least * turns as f64 {
                    return Err(TrainError::Coverage { step, covered, turns, least });
                }
                let failed = failures.values().sum();
                metrics.skills = Some(SkillMetrics {
                    skipped,
                    failed,
                    failures,
                    not_critical,
                    analyzer: usage,
                    ..measured
                });
                metrics.seconds.rescore = clock.lap();
                Some(scores)
            }
        };
        let method = recipe.algorithm.method();
        let sampled = Sampled::new(&trajectories, &rows, &old, step, recipe);
        let parts = method.advantages(&sampled, method.outcome(&sampled), skills.as_ref());
        let teacher = skills.as_ref().map(taught);
        metrics.advantage = parts.shares();
        let scored = skills.as_mut().and_then(|scores| scores.plain.take()).map(|plain| (plain, 0));
        let scored = scored.or_else(|| self.learner.score_reference(&trajectories, &rows, recipe));
        let total = parts.total();
        let tokens = Tokens {
            old: &old,
            reference: scored.as_ref().map(|(reference, _)| &reference[..]),
            teacher: teacher.as_deref(),
            advantages: &total,
        };
        metrics.update = self.learner.update(&trajectories, &rows, tokens, recipe, step - 1);
        metrics.update.reference_computed = scored.as_ref().map_or(0, |(_, computed)| *computed);
        metrics.collapse = collapse::signs(&metrics);
        metrics.seconds.update = clock.lap();
        metrics.tokens_per_second = metrics.episode_tokens as f64 / clock.total();
        let every = recipe.checkpoint.trajectories_every;
        if every > 0 && step.is_multiple_of(every) {
            let records = records(&trajectories, &rows, &analyses, &parts, skills.as_ref());
            self.folder.write_trajectories(&format!("step_{step:06}"), &records)?;
        }
        Ok(metrics)
    }

    /// Skills of the episodes that the schedule gives some; too many failures stop the run.
    fn analyze(
        &self,
        analyzer: &dyn Analyzer,
        step: u64,
        trajectories: &[Trajectory],
    ) -> Result<Scheduled, TrainError> {
        let policy = Policy { model: &self.learner.policy, chat: self.dialogue.chat() };
        let context = StepContext { step, policy: Some(policy) };
        let scheduled = self.recipe.skill.schedule.analyze(analyzer, context, trajectories);
        let scheduled = scheduled.map_err(|reason| TrainError::Stopped { step, reason })?;
        let asked = || scheduled.results.iter().flatten();
        let (causes, episodes) = (analyzer::failures(asked()), asked().count());
        let failed = causes.values().sum::<usize>();
        let most = self.recipe.skill.max_failures;
        if failed as f64 > most * episodes as f64 {
            let first = asked().find_map(|r| r.as_ref().err());
            let reason = first.map(ToString::to_string).unwrap_or_default();
            let causes = analyzer::describe(&causes);
            return Err(TrainError::Analysis { step, failed, episodes, causes, reason, most });
        }
        Ok(scheduled)
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
        let uses = recipe.algorithm.method().skills(s);
        let route = |row: &Row| match &analyses[row.trajectory] {
            None => Route { episode: false, step: false },
            Some(a) => {
                let skill = a.step_skills.get(&row.turn).map(String::as_str);
                let advised = !a.episode_skill.trim().is_empty();
                s.routing.route(skill, advised && uses.episode, uses.step)
            }
        };
        let routes: Vec<Route> = rows.iter().map(route).collect();
        let rescorer = Rescorer {
            model: match s.teacher {
                Teacher::Policy => &self.learner.policy,
                Teacher::Reference => self.learner.reference.as_ref().unwrap_or(&self.learner.policy),
                Teacher::Average => self.learner.average.as_ref().unwrap_or(&self.learner.policy),
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
