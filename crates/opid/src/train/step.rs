//! One training step, phase by phase.

use std::ops::ControlFlow;

use super::skills::SkillTerm;
use super::{Event, Run, TrainError};
use crate::algo::sampled::{Sampled, taught};
use crate::collapse;
use crate::metrics::{Clock, SkillMetrics, StepMetrics};
use crate::objective::Tokens;
use crate::packing::{Row, rows};
use crate::record::records;
use crate::rollout::{Group, Settings, sample};
use crate::skill::analyzer::{Analysis, Analyzer};
use crate::trajectory::Trajectory;

/// Key that tells the random draws of training rollouts from others.
const TRAINING: u64 = 201;

/// The episodes of a step.
pub(super) struct Played {
    /// In order of group and member.
    pub trajectories: Vec<Trajectory>,
    /// Their turns, in order.
    pub rows: Vec<Row>,
    /// Log-probability of every response token when it was sampled.
    pub old: Vec<f64>,
}

impl Run<'_> {
    /// One training step.
    ///
    /// An analyzer behind a network is asked while episodes are sampled, the reference is scored, and other episodes
    /// are scored under their skills. What is computed, and in which order, does not depend on when it answers.
    pub(super) fn step(&mut self, step: u64) -> Result<StepMetrics, TrainError> {
        let recipe = self.recipe;
        let mut clock = Clock::start();
        let scheduled = self.analyzer.clone().filter(|_| recipe.skill.schedule.is_on(step));
        let played = self.play(step, scheduled.as_deref())?;
        let Played { trajectories, rows, old } = &played;
        let mut metrics = StepMetrics::of(step, trajectories);
        metrics.seconds.rollout = clock.lap();

        let term = scheduled.map(|analyzer| SkillTerm::new(recipe, step, analyzer, &played));
        let apart = match term.as_ref().is_some_and(SkillTerm::scores_reference) {
            true => None,
            false => self.learner.score_reference(trajectories, rows, recipe),
        };
        let (mut reference, reference_computed) = apart.unzip();
        metrics.seconds.reference = clock.lap();

        let mut analyses: Vec<Option<Analysis>> = vec![None; trajectories.len()];
        let mut scores = None;
        metrics.skills = self.analyzer.as_ref().map(|_| SkillMetrics::default());
        if let Some(term) = &term {
            let mut rescored = term.rescore(&mut self.learner, &self.dialogue)?;
            metrics.skills = Some(term.measure(&rescored)?);
            metrics.seconds.analyzer_wait = rescored.waited;
            metrics.seconds.rescore = clock.lap() - rescored.waited;
            reference = reference.or(rescored.scores.plain.take());
            (analyses, scores) = (rescored.analyzed.analyses, Some(rescored.scores));
        }

        let method = recipe.algorithm.method();
        let sampled = Sampled::new(trajectories, rows, old, step, recipe);
        let parts = method.advantages(&sampled, method.outcome(&sampled), scores.as_ref());
        metrics.advantage = parts.shares();
        if let Some(term) = &term {
            term.check_share(&metrics.advantage)?;
        }
        let total = parts.total();
        let teacher = scores.as_ref().map(taught);
        let tokens =
            Tokens { old, reference: reference.as_deref(), teacher: teacher.as_deref(), advantages: &total };
        metrics.update = self.learner.update(trajectories, rows, tokens, recipe, step - 1);
        metrics.update.reference_computed = reference_computed.unwrap_or(0);
        metrics.collapse = collapse::signs(&metrics);
        metrics.seconds.update = clock.lap();
        metrics.tokens_per_second = metrics.episode_tokens as f64 / clock.total();

        let every = recipe.checkpoint.trajectories_every;
        if every > 0 && step.is_multiple_of(every) {
            let records = records(trajectories, rows, &analyses, &parts, scores.as_ref());
            self.folder.write_trajectories(&format!("step_{step:06}"), &records)?;
        }
        Ok(metrics)
    }

    /// Samples the step's episodes. `analyzer` may begin with each as soon as it is over; where it cannot go on,
    /// sampling ends with the present pass of the model.
    fn play(&mut self, step: u64, analyzer: Option<&dyn Analyzer>) -> Result<Played, TrainError> {
        let recipe = self.recipe;
        let groups = recipe.rollout.groups;
        let tasks = self.tasks.training(&recipe.environment.split, self.first_task(step), groups)?;
        let groups = Group::of(&tasks, self.shown(recipe.rollout.skills))?;
        let settings = Settings::training(recipe, [recipe.seed, TRAINING, step]);
        let total = groups.len() * recipe.rollout.group_size;
        let (mut done, mut stopped) = (0, None);
        let mut ended = |t: &Trajectory| {
            let begun = analyzer.map_or(Ok(()), |a| recipe.skill.schedule.prefetch(a, step, t));
            done += 1;
            (self.observe)(Event::Sampling { purpose: "rollout", done, total });
            match begun {
                Ok(()) => ControlFlow::Continue(()),
                Err(reason) => {
                    stopped = Some(reason);
                    ControlFlow::Break(())
                }
            }
        };
        let trajectories = sample(&self.learner.policy, &self.dialogue, &groups, &settings, &mut ended)?;
        if let Some(reason) = stopped {
            return Err(TrainError::Stopped { step, reason });
        }
        let rows = rows(&trajectories);
        let logprobs = trajectories.iter().flat_map(|t| &t.turns).flat_map(|t| &t.logprobs);
        let old = logprobs.map(|&l| l as f64).collect();
        Ok(Played { trajectories, rows, old })
    }

    /// Number of the step's first task; the warm start takes those before the first step's.
    fn first_task(&self, step: u64) -> usize {
        let stages = self.recipe.warm_start.iter().flat_map(|w| &w.stages);
        let warm: usize = stages.map(|s| s.updates as usize * s.episodes).sum();
        warm + (step as usize - 1) * self.recipe.rollout.groups
    }
}
