//! One training step, phase by phase.

use std::ops::ControlFlow;

use super::skills::SkillTerm;
use super::{Event, Run, TrainError};
use crate::algo::dapo;
use crate::algo::sampled::{Sampled, taught};
use crate::collapse;
use crate::memory::Memory;
use crate::metrics::{Clock, SkillMetrics, StepMetrics};
use crate::objective::Tokens;
use crate::packing::{Row, rows};
use crate::recipe::WarmStart;
use crate::record::records;
use crate::rollout::{Group, Settings, sample};
use crate::skill::analyzer::{Analysis, Analyzer};
use crate::trajectory::{Ending, Trajectory};

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
    /// Groups that were replaced because their episodes all had the same reward.
    pub replaced: usize,
    /// Episodes dropped because their environment failed.
    pub crashed: usize,
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
        let Played { trajectories, rows, old, replaced, crashed } = &played;
        let mut metrics = StepMetrics::of(step, trajectories);
        metrics.replaced_groups = *replaced;
        metrics.crashed_episodes = *crashed;
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
        self.heed_interrupt()?;
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
        self.heed_interrupt()?;
        metrics.seconds.update = clock.lap();
        self.learner.own();
        metrics.seconds.saving = clock.lap() + std::mem::take(&mut self.blocked);
        metrics.update = self.learner.update(trajectories, rows, tokens, recipe, step - 1);
        metrics.update.reference_computed = reference_computed.unwrap_or(0);
        metrics.collapse = collapse::signs(&metrics);
        metrics.seconds.update += clock.lap();
        metrics.memory = Memory::now();
        metrics.tokens_per_second = metrics.episode_tokens as f64 / clock.total();

        let every = recipe.checkpoint.trajectories_every;
        if every > 0 && step.is_multiple_of(every) {
            let records = records(trajectories, rows, &analyses, &parts, scores.as_ref());
            self.folder.write_trajectories(&format!("step_{step:06}"), &records)?;
            self.blocked += clock.lap();
        }
        Ok(metrics)
    }

    /// Samples the step's episodes. Where the method replaces groups whose episodes all have the same reward,
    /// further batches of tasks are sampled; those of the last batch are taken as they are.
    fn play(&mut self, step: u64, analyzer: Option<&dyn Analyzer>) -> Result<Played, TrainError> {
        let recipe = self.recipe;
        let batches = recipe.algorithm.method().batches();
        let mut trajectories: Vec<Trajectory> = Vec::new();
        let (mut groups, mut replaced, mut crashed) = (0, 0, 0);
        for batch in 0..batches {
            let mut sampled = self.play_batch((step, batch, batches), analyzer)?;
            crashed += drop_crashed(&mut sampled);
            let (all, rest) = (recipe.rollout.groups, batches - batch - 1);
            for mut group in by_group(sampled) {
                let rewards: Vec<f64> = group.iter().map(|t| t.reward).collect();
                if groups == all {
                    break;
                } else if rest > 0 && !dapo::differ(&rewards) {
                    replaced += 1;
                } else {
                    group.iter_mut().for_each(|t| t.group = groups);
                    trajectories.append(&mut group);
                    groups += 1;
                }
            }
            if groups == all {
                break;
            }
        }
        let rows = rows(&trajectories);
        let logprobs = trajectories.iter().flat_map(|t| &t.turns).flat_map(|t| &t.logprobs);
        let old = logprobs.map(|&l| l as f64).collect();
        Ok(Played { trajectories, rows, old, replaced, crashed })
    }

    /// Samples the episodes of a batch of tasks: `batch` of at most `batches` of a step. `analyzer` may begin with
    /// each episode as soon as it is over; where it cannot go on, sampling ends with the present pass of the model.
    fn play_batch(
        &mut self,
        (step, batch, batches): (u64, usize, usize),
        analyzer: Option<&dyn Analyzer>,
    ) -> Result<Vec<Trajectory>, TrainError> {
        let recipe = self.recipe;
        let groups = recipe.rollout.groups;
        let first = self.first_task() + ((step as usize - 1) * batches + batch) * groups;
        let tasks = self.tasks.training(&recipe.environment.split, first, groups)?;
        let groups = Group::of(&tasks, recipe.rollout.skills.of(self.bank.as_ref()))?;
        let keys = [recipe.seed, TRAINING + ((batch as u64) << 32), step];
        let settings = Settings { interrupt: self.interrupt.clone(), ..Settings::training(recipe, keys) };
        let total = groups.len() * recipe.rollout.group_size;
        let (mut done, mut stopped) = (0, None);
        let mut ended = |t: &Trajectory| {
            let asks = analyzer.filter(|_| t.ending != Ending::Crashed);
            let begun = asks.map_or(Ok(()), |a| recipe.skill.schedule.prefetch(a, step, t));
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
        let sampled = sample(&self.learner.policy, &self.dialogue, &groups, &settings, &mut ended);
        let sampled = sampled.map_err(|error| self.stopped(error))?;
        stopped.map_or(Ok(sampled), |reason| Err(TrainError::Stopped { step, reason }))
    }

    /// Number of the first task of training; the warm start takes those before.
    fn first_task(&self) -> usize {
        self.recipe.warm_start.as_ref().map_or(0, WarmStart::tasks) + self.recipe.environment.first_task
    }
}

/// Drops episodes whose environment failed, which teach nothing, and counts them.
fn drop_crashed(episodes: &mut Vec<Trajectory>) -> usize {
    let all = episodes.len();
    episodes.retain(|t| t.ending != Ending::Crashed);
    all - episodes.len()
}

/// Episodes in order of group, one list for each group.
fn by_group(trajectories: Vec<Trajectory>) -> Vec<Vec<Trajectory>> {
    let mut groups: Vec<Vec<Trajectory>> = Vec::new();
    for t in trajectories {
        match groups.last_mut() {
            Some(group) if group[0].group == t.group => group.push(t),
            _ => groups.push(vec![t]),
        }
    }
    groups
}
