//! The skill term of a training step: analysis, routing, re-scoring, and the thresholds of all three.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::TrainError;
use super::step::Played;
use crate::advantage::Shares;
use crate::dialogue::Dialogue;
use crate::metrics::SkillMetrics;
use crate::recipe::{Recipe, Teacher};
use crate::skill::analyzer::{self, Analysis, Analyzer, Policy, StepContext, StopError, Usage};
use crate::skill::critical::Critical;
use crate::skill::rescore::{Rescorer, Routed, SkillScores};
use crate::skill::schedule::Scheduled;
use crate::update::Learner;

/// The skill term of a step that has skills.
pub(super) struct SkillTerm<'a> {
    recipe: &'a Recipe,
    step: u64,
    analyzer: Arc<dyn Analyzer>,
    played: &'a Played,
    critical: Critical,
}

/// What the analyzer found, with no more than is used.
pub(super) struct Analyzed {
    /// By episode; none where the schedule has none, or the analysis failed.
    pub analyses: Vec<Option<Analysis>>,
    /// Failures by cause.
    failures: BTreeMap<&'static str, usize>,
    /// Episodes that the schedule gives no skills.
    skipped: usize,
    /// Step skills taken from steps that are not critical.
    not_critical: usize,
    usage: Usage,
}

/// The skills of a step and what the teacher says under them.
pub(super) struct Rescored {
    pub analyzed: Analyzed,
    pub scores: SkillScores,
    /// Seconds in which nothing was done but to wait for the analyzer.
    pub waited: f64,
}

impl<'a> SkillTerm<'a> {
    /// The term of a step whose episodes are played.
    pub fn new(recipe: &'a Recipe, step: u64, analyzer: Arc<dyn Analyzer>, played: &'a Played) -> Self {
        let skill = &recipe.skill;
        let critical = skill.critical_steps.select(&played.trajectories, skill.max_step_skills);
        SkillTerm { recipe, step, analyzer, played, critical }
    }

    /// Whether re-scoring gives the reference's log-probabilities along with those under skills: of one model, plain
    /// histories and branches with skills are cheaper together.
    pub fn scores_reference(&self) -> bool {
        self.recipe.skill.teacher == Teacher::Reference && self.recipe.loss.kl > 0.0
    }

    /// Log-probabilities of the responses under their skills, by the recipe's teacher. It begins with the first
    /// episodes while an analyzer that answers one by one still works on later ones.
    ///
    /// # Errors
    /// The analyzer cannot go on, or failed too often; a prompt cannot be made; or too many turns have no room for a
    /// skill.
    pub fn rescore(&self, learner: &mut Learner, dialogue: &Dialogue) -> Result<Rescored, TrainError> {
        let (recipe, skill) = (self.recipe, &self.recipe.skill);
        let Played { trajectories, rows, .. } = self.played;
        let rescorer = Rescorer {
            model: match skill.teacher {
                Teacher::Policy => &learner.policy,
                Teacher::Reference => learner.reference.as_ref().unwrap_or(&learner.policy),
                Teacher::Average => learner.average.as_deref().unwrap_or(&learner.policy),
            },
            dialogue,
            temperature: recipe.rollout.temperature,
            max_context: recipe.policy.max_context,
            micro_batch_tokens: recipe.optimizer.micro_batch_tokens,
            plain: self.scores_reference(),
            awaited: self.analyzer.answers_singly(),
        };
        let policy = Policy { model: &learner.policy, chat: dialogue.chat() };
        let context = StepContext { step: self.step, policy: Some(policy) };
        let (mut all, mut waited) = (None, Duration::ZERO);
        let skills = |episode: usize| -> Result<Option<Routed>, TrainError> {
            let start = Instant::now();
            let analysis = self.wait_for(context, episode, &mut all);
            waited += start.elapsed();
            Ok(analysis?.map(|analysis| self.routed(episode, analysis)))
        };
        let scores = rescorer.score(&mut learner.workspace, trajectories, rows, skills)?;
        let analyzed = all.map_or_else(|| self.analyze(context), Ok)?;
        let turns = scores.episode.rows + scores.step.rows + scores.too_long;
        let (step, too_long, most) = (self.step, scores.too_long, skill.max_failures);
        if too_long as f64 > most * turns as f64 {
            return Err(TrainError::TooLong { step, too_long, turns, most });
        }
        Ok(Rescored { analyzed, scores, waited: waited.as_secs_f64() })
    }

    /// The skills of an episode, if it has some: from the analyzer as soon as it has them, or from `all`, which is
    /// filled in where the analyzer answers only for all together.
    fn wait_for(
        &self,
        context: StepContext<'_>,
        episode: usize,
        all: &mut Option<Analyzed>,
    ) -> Result<Option<Analysis>, TrainError> {
        let t = &self.played.trajectories[episode];
        if all.is_none() && self.recipe.skill.schedule.includes(t) {
            let answer = self.analyzer.wait_for(t).map_err(|reason| self.stopped(reason))?;
            match answer {
                None => *all = Some(self.analyze(context)?),
                Some(Err(_)) => return Ok(None),
                Some(Ok(mut analysis)) => {
                    self.critical.keep(episode, &mut analysis);
                    return Ok(Some(analysis));
                }
            }
        }
        Ok(all.as_ref().and_then(|all| all.analyses[episode].clone()))
    }

    /// The skills of all episodes that the schedule gives some.
    fn analyze(&self, context: StepContext<'_>) -> Result<Analyzed, TrainError> {
        let (step, skill, trajectories) = (self.step, &self.recipe.skill, &self.played.trajectories);
        let scheduled = skill.schedule.analyze(self.analyzer.as_ref(), context, trajectories);
        let Scheduled { results, usage } = scheduled.map_err(|reason| self.stopped(reason))?;
        let failures = analyzer::failures(results.iter().flatten());
        let failed = failures.values().sum::<usize>();
        let episodes = results.iter().flatten().count();
        let most = skill.max_failures;
        if failed as f64 > most * episodes as f64 {
            let first = results.iter().flatten().find_map(|r| r.as_ref().err());
            let reason = first.map(ToString::to_string).unwrap_or_default();
            let causes = analyzer::describe(&failures);
            return Err(TrainError::Analysis { step, failed, episodes, causes, reason, most });
        }
        let skipped = results.len() - episodes;
        let mut analyses: Vec<Option<Analysis>> =
            results.into_iter().map(|r| r.and_then(Result::ok)).collect();
        let found = analyses.iter_mut().enumerate();
        let taken = found.filter_map(|(i, analysis)| Some(self.critical.keep(i, analysis.as_mut()?)));
        let not_critical = taken.sum();
        Ok(Analyzed { analyses, failures, skipped, not_critical, usage })
    }

    fn stopped(&self, reason: StopError) -> TrainError {
        TrainError::Stopped { step: self.step, reason }
    }

    /// Which of its skills each turn of an episode is scored under.
    fn routed(&self, episode: usize, analysis: Analysis) -> Routed {
        let skill = &self.recipe.skill;
        let uses = self.recipe.algorithm.method().skills(skill);
        let advised = uses.episode && !analysis.episode_skill.trim().is_empty();
        let route = |turn: usize| {
            let of_step = analysis.step_skills.get(&turn).map(String::as_str);
            skill.routing.route(of_step, advised, uses.step)
        };
        let routes = (0..self.played.trajectories[episode].turns.len()).map(route).collect();
        Routed { routes, analysis }
    }

    /// What became of the skills.
    ///
    /// # Errors
    /// Too few turns have one.
    pub fn measure(&self, rescored: &Rescored) -> Result<SkillMetrics, TrainError> {
        let Rescored { analyzed, scores, .. } = rescored;
        let Played { trajectories, rows, old, .. } = self.played;
        let (step, skill) = (self.step, &self.recipe.skill);
        let measured = SkillMetrics::of(trajectories, rows, &analyzed.analyses, old, scores, skill);
        let turns = measured.entitled;
        for (key, what, covered, least) in [
            ("skill.min_coverage", "a skill", measured.covered, skill.min_coverage),
            ("skill.min_step_coverage", "a skill of their own", measured.step_rows, skill.min_step_coverage),
        ] {
            if (covered as f64) < least * turns as f64 {
                return Err(TrainError::Coverage { step, covered, turns, what, key, least });
            }
        }
        Ok(SkillMetrics {
            skipped: analyzed.skipped,
            failed: analyzed.failures.values().sum(),
            failures: analyzed.failures.clone(),
            not_critical: analyzed.not_critical,
            analyzer: analyzed.usage.clone(),
            ..measured
        })
    }

    /// Refuses a step in which skills hardly weigh anything.
    ///
    /// # Errors
    /// Their share of the advantage is too small.
    pub fn check_share(&self, shares: &Shares) -> Result<(), TrainError> {
        let share = shares.episode_skill_share + shares.step_skill_share;
        let least = self.recipe.skill.min_advantage_share;
        match share < least {
            true => Err(TrainError::Share { step: self.step, share, least }),
            false => Ok(()),
        }
    }
}
