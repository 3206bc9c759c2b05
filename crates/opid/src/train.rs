//! The training loop: task, rollout, analysis, routing, re-scoring, advantage, update.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use opid_env::environment::Task;
use opid_lm::checkpoint::{StoredDtype, TextFiles};
use opid_lm::error::LoadError;
use opid_lm::model::Model;
use rayon::prelude::*;
use serde::Serialize;

use crate::advantage::{Shares, advantages};
use crate::dialogue::{Dialogue, DialogueError};
use crate::evaluate::{EVALUATION, Report, evaluate};
use crate::packing::{Row, rows};
use crate::probe::{Probe, ProbeError, probe};
use crate::recipe::{AlgorithmName, Recipe};
use crate::rollout::{Group, Settings, sample};
use crate::run::{RunError, RunFolder, last_checkpoint};
use crate::skill::analyzer::{self, Analysis, Analyzer};
use crate::skill::rescore::{Rescorer, SkillScores};
use crate::skill::route::Route;
use crate::tasks::{Tasks, TasksError};
use crate::trajectory::{Ending, Trajectory};
use crate::update::{Learner, UpdateMetrics};
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
    WarmStart(#[from] WarmStartError),
    /// The model folder.
    #[error("policy.model: {0}")]
    Model(#[from] LoadError),
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
    /// Too much of the method did not run.
    #[error(
        "step {step}: {failed} of {episodes} episodes got no skill advantage ({reason}), more than \
         skill.max_failures = {most}; the run is saved up to the step before"
    )]
    Analysis {
        /// Training step.
        step: u64,
        /// Episodes without skills.
        failed: usize,
        /// Episodes of the step.
        episodes: usize,
        /// The first reason.
        reason: String,
        /// The share allowed.
        most: f64,
    },
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

/// Everything measured in a training step.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StepMetrics {
    /// Training step, from 1.
    pub step: u64,
    /// Share of episodes that solved their task.
    pub success: f64,
    /// Mean reward.
    pub reward: f64,
    /// Mean number of turns.
    pub turns: f64,
    /// Share of turns with an invalid action.
    pub invalid: f64,
    /// Share of groups whose episodes all have the same reward.
    pub zero_variance_groups: f64,
    /// Responses cut off at their length limit.
    pub truncated_responses: usize,
    /// Episodes ended by the history's length limit.
    pub context_limited: usize,
    /// Response tokens.
    pub response_tokens: usize,
    /// All tokens of the episodes.
    pub episode_tokens: usize,
    /// Skills and re-scoring; absent under GRPO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skills: Option<SkillMetrics>,
    /// Parts of the advantage.
    pub advantage: Shares,
    /// The update.
    pub update: UpdateMetrics,
    /// Seconds by phase.
    pub seconds: Seconds,
    /// Tokens of the episodes per second of the whole step.
    pub tokens_per_second: f64,
}

/// What became of the skills of a step.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SkillMetrics {
    /// Episodes with an analysis.
    pub analyzed: usize,
    /// Episodes whose analysis failed.
    pub failed: usize,
    /// Turns scored under their episode's skill.
    pub episode_rows: usize,
    /// Turns scored under a skill of their own.
    pub step_rows: usize,
    /// Turns left out because the history with the skill is too long.
    pub too_long: usize,
    /// Mean log-prob shift per token in episodes that were won, in nats.
    pub shift_won: f64,
    /// The same in episodes that were lost.
    pub shift_lost: f64,
    /// Tokens computed for re-scoring.
    pub computed: usize,
}

/// Where the time of a step went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Sampling episodes.
    pub rollout: f64,
    /// Analysis.
    pub analyze: f64,
    /// Re-scoring under skills.
    pub rescore: f64,
    /// Advantages, reference scores, loss, gradient, optimizer.
    pub update: f64,
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
    analyzer: Box<dyn Analyzer>,
    learner: Learner,
    folder: RunFolder,
    observe: &'a mut dyn FnMut(Event<'_>),
}

/// Number format of a recipe's checkpoints.
pub fn dtype(recipe: &Recipe) -> StoredDtype {
    if recipe.policy.save_dtype == "bf16" { StoredDtype::Bf16 } else { StoredDtype::F32 }
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
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let panel = tasks.panel(&recipe.evaluation.split, recipe.evaluation.games)?;
    let analyzer = analyzer::open(&recipe.skill);
    let start = starting_policy(recipe, &tasks, analyzer.as_ref(), observe)?;
    let folder = RunFolder::create(path, recipe)?;
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
        let (policy, analyzer) = (&run.learner.policy, run.analyzer.as_ref());
        let probe = probe(policy, &run.dialogue, &run.tasks, analyzer, recipe, warm.probe_games)?;
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
    let mut learner = Learner::new(Model::open(&first)?, recipe);
    let last = last_checkpoint(path, learner.optimizer.config)?;
    learner.policy = last.model;
    if let Some(optimizer) = last.optimizer {
        learner.optimizer = optimizer;
    }
    let dialogue = Dialogue::open(&first, recipe)?;
    let text = TextFiles::from_folder(&first)?;
    let folder = RunFolder::reopen(path, last.step)?;
    let analyzer = analyzer::open(&recipe.skill);
    let mut run = Run { recipe, tasks, panel, dialogue, text, analyzer, learner, folder, observe };
    run.go_on(last.step, Vec::new())
}

/// A policy before training, and what it needs to speak.
pub struct Start {
    /// The model.
    pub model: Model,
    /// Between text and tokens.
    pub dialogue: Dialogue,
    /// The files to store beside the model.
    pub text: TextFiles,
}

/// Opens the recipe's model folder, or makes a policy by its warm start.
pub fn starting_policy(
    recipe: &Recipe,
    tasks: &Tasks,
    analyzer: &dyn Analyzer,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Start, TrainError> {
    let start = match &recipe.warm_start {
        None => open_policy(Path::new(&recipe.policy.model), recipe)?,
        Some(warm) => {
            let tokenizer = warm_start::train_tokenizer(recipe, warm, tasks, analyzer)?;
            let chat = warm_start::chat_template();
            let json = tokenizer.to_json().map_err(DialogueError::from)?;
            let end = chat.end_of_turn(&Default::default()).map_err(DialogueError::from)?;
            let text = TextFiles::new(json, chat.source().to_owned(), &end, recipe.policy.max_context);
            let reread = opid_lm::tokenizer::Tokenizer::from_json(text.tokenizer.as_bytes());
            let dialogue = Dialogue::new(reread.map_err(DialogueError::from)?, chat, recipe)?;
            let mut model = warm_start::new_model(recipe, warm, &tokenizer, &dialogue);
            observe(Event::Policy { parameters: model.len(), vocabulary: model.config.vocab_size });
            let stages = &warm.stages;
            let progress = &mut |p| observe(Event::WarmStart(p));
            warm_start::train(&mut model, &dialogue, tasks, analyzer, stages, recipe, progress)?;
            return Ok(Start { model, dialogue, text });
        }
    };
    observe(Event::Policy { parameters: start.model.len(), vocabulary: start.model.config.vocab_size });
    Ok(start)
}

/// Opens a model folder with the recipe's prompts.
pub fn open_policy(folder: &Path, recipe: &Recipe) -> Result<Start, TrainError> {
    let model = Model::open(folder)?;
    let text = TextFiles::from_folder(folder)?;
    Ok(Start { model, dialogue: Dialogue::open(folder, recipe)?, text })
}

impl Run<'_> {
    /// Trains from after step `done` to the end, evaluating and saving on the way.
    fn go_on(&mut self, done: u64, before: Vec<Evaluated>) -> Result<Outcome, TrainError> {
        let recipe = self.recipe;
        let mut after = before.clone();
        for step in done + 1..=recipe.steps {
            let metrics = self.step(step)?;
            self.folder.log(&metrics)?;
            (self.observe)(Event::Step(&metrics, recipe.steps));
            let due = |every: u64| every > 0 && step.is_multiple_of(every);
            if due(recipe.checkpoint.every) || step == recipe.steps {
                let learner = &self.learner;
                self.folder.save(
                    step,
                    &learner.policy,
                    Some(&learner.optimizer),
                    dtype(recipe),
                    &self.text,
                )?;
                self.folder.prune(recipe.checkpoint.keep)?;
            }
            if due(recipe.evaluation.every) || step == recipe.steps {
                after = self.evaluate(step)?;
            }
        }
        let checkpoint = self.folder.checkpoint(recipe.steps.max(done));
        Ok(Outcome { before, after, checkpoint })
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
        let mut metrics = episode_metrics(step, &trajectories);
        metrics.seconds.rollout = clock.lap();
        let mut analyses = vec![None; trajectories.len()];
        let skills = match recipe.algorithm.name {
            AlgorithmName::Grpo => None,
            AlgorithmName::Opid => {
                analyses = self.analyze(step, &trajectories)?;
                metrics.seconds.analyze = clock.lap();
                let scores = self.rescore(&trajectories, &rows, &analyses)?;
                metrics.skills = Some(skill_metrics(&trajectories, &rows, &analyses, &old, &scores));
                metrics.seconds.rescore = clock.lap();
                Some(scores)
            }
        };
        let parts = advantages(&trajectories, &rows, &old, skills.as_ref(), recipe);
        metrics.advantage = parts.shares();
        metrics.update = self.learner.update(&trajectories, &rows, &old, &parts.total(), recipe, step - 1);
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
    fn analyze(&self, step: u64, trajectories: &[Trajectory]) -> Result<Vec<Option<Analysis>>, TrainError> {
        let results: Vec<_> = trajectories.par_iter().map(|t| self.analyzer.analyze(t)).collect();
        let failed = results.iter().filter(|r| r.is_err()).count();
        let most = self.recipe.skill.max_failures;
        if failed as f64 > most * results.len() as f64 {
            let reason = results.iter().find_map(|r| r.as_ref().err()).map(ToString::to_string);
            let (episodes, reason) = (results.len(), reason.unwrap_or_default());
            return Err(TrainError::Analysis { step, failed, episodes, reason, most });
        }
        Ok(results.into_iter().map(Result::ok).collect())
    }

    /// Log-probabilities of the responses under their skills, by the policy that sampled them.
    fn rescore(
        &mut self,
        trajectories: &[Trajectory],
        rows: &[Row],
        analyses: &[Option<Analysis>],
    ) -> Result<SkillScores, DialogueError> {
        let recipe = self.recipe;
        let s = &recipe.skill;
        let route = |row: &Row| match &analyses[row.trajectory] {
            None => Route { episode: false, step: false },
            Some(a) => {
                let skill = a.step_skills.get(&row.turn).map(String::as_str);
                s.routing.route(skill, s.episode_weight > 0.0, s.step_weight > 0.0)
            }
        };
        let routes: Vec<Route> = rows.iter().map(route).collect();
        let rescorer = Rescorer {
            model: &self.learner.policy,
            dialogue: &self.dialogue,
            temperature: recipe.rollout.temperature,
            max_context: recipe.policy.max_context,
            micro_batch_tokens: recipe.optimizer.micro_batch_tokens,
        };
        rescorer.score(&mut self.learner.workspace, trajectories, rows, analyses, &routes)
    }
}

/// Measures consecutive phases.
struct Clock {
    start: Instant,
    last: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Clock { start: now, last: now }
    }

    /// Seconds since the last lap.
    fn lap(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.last, Instant::now());
        (self.last - before).as_secs_f64()
    }

    /// Seconds since the start.
    fn total(&self) -> f64 {
        self.start.elapsed().as_secs_f64().max(1e-9)
    }
}

fn episode_metrics(step: u64, trajectories: &[Trajectory]) -> StepMetrics {
    let n = trajectories.len().max(1) as f64;
    let turns: Vec<_> = trajectories.iter().flat_map(|t| &t.turns).collect();
    let groups: Vec<&[Trajectory]> = trajectories.chunk_by(|a, b| a.group == b.group).collect();
    let flat = groups.iter().filter(|g| g.iter().all(|t| t.reward == g[0].reward)).count();
    StepMetrics {
        step,
        success: trajectories.iter().filter(|t| t.won).count() as f64 / n,
        reward: trajectories.iter().map(|t| t.reward).sum::<f64>() / n,
        turns: turns.len() as f64 / n,
        invalid: turns.iter().filter(|t| !t.valid).count() as f64 / turns.len().max(1) as f64,
        zero_variance_groups: flat as f64 / groups.len().max(1) as f64,
        truncated_responses: turns.iter().filter(|t| !t.ended).count(),
        context_limited: trajectories.iter().filter(|t| t.ending == Ending::ContextLimit).count(),
        response_tokens: trajectories.iter().map(Trajectory::response_tokens).sum(),
        episode_tokens: trajectories.iter().map(Trajectory::tokens).sum(),
        ..StepMetrics::default()
    }
}

fn skill_metrics(
    trajectories: &[Trajectory],
    rows: &[Row],
    analyses: &[Option<Analysis>],
    old: &[f64],
    scores: &SkillScores,
) -> SkillMetrics {
    let mean_shift = |won: bool| {
        let (mut sum, mut n) = (0.0, 0usize);
        for row in rows.iter().filter(|r| trajectories[r.trajectory].won == won) {
            for part in [&scores.episode, &scores.step] {
                for token in row.tokens.clone().filter(|&t| part.selected[t]) {
                    sum += part.logprobs[token] - old[token];
                    n += 1;
                }
            }
        }
        sum / n.max(1) as f64
    };
    let analyzed = analyses.iter().flatten().count();
    SkillMetrics {
        analyzed,
        failed: analyses.len() - analyzed,
        episode_rows: scores.episode.rows,
        step_rows: scores.step.rows,
        too_long: scores.too_long,
        shift_won: mean_shift(true),
        shift_lost: mean_shift(false),
        computed: scores.computed,
    }
}

/// A trajectory as it is kept on disk: with its skills and every token's advantage by component.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    trajectory: &'a Trajectory,
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<&'a Analysis>,
    turn_advantages: Vec<TurnAdvantages>,
}

/// Advantages of one turn's response tokens.
#[derive(Serialize)]
struct TurnAdvantages {
    outcome: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    episode_skill: Option<SkillAdvantage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_skill: Option<SkillAdvantage>,
}

/// One skill's part, and the log-probabilities it came from.
#[derive(Serialize)]
struct SkillAdvantage {
    advantage: Vec<f64>,
    logprobs: Vec<f64>,
}

fn records<'a>(
    trajectories: &'a [Trajectory],
    rows: &[Row],
    analyses: &'a [Option<Analysis>],
    parts: &crate::advantage::Advantages,
    skills: Option<&SkillScores>,
) -> Vec<Record<'a>> {
    let mut records: Vec<Record<'a>> = trajectories
        .iter()
        .zip(analyses)
        .map(|(trajectory, a)| Record { trajectory, analysis: a.as_ref(), turn_advantages: Vec::new() })
        .collect();
    for row in rows {
        let at = row.tokens.clone();
        let skill = |scores: Option<&crate::skill::rescore::Scores>, advantage: &[f64]| {
            let scores = scores.filter(|s| s.selected[at.start])?;
            let logprobs = scores.logprobs[at.clone()].to_vec();
            Some(SkillAdvantage { advantage: advantage[at.clone()].to_vec(), logprobs })
        };
        records[row.trajectory].turn_advantages.push(TurnAdvantages {
            outcome: parts.outcome[at.clone()].to_vec(),
            episode_skill: skill(skills.map(|s| &s.episode), &parts.episode_skill),
            step_skill: skill(skills.map(|s| &s.step), &parts.step_skill),
        });
    }
    records
}
