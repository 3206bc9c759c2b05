//! What is measured in a training step: one line of `metrics.jsonl`.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::advantage::Shares;
use crate::memory::Memory;
use crate::packing::Row;
use crate::recipe::Skill;
use crate::skill::analyzer::{Analysis, Usage};
use crate::skill::rescore::SkillScores;
use crate::skill::shift::Shifts;
use crate::trajectory::{Ending, Trajectory, is_zero};
use crate::update::UpdateMetrics;

/// Everything measured in a training step.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StepMetrics {
    /// Training step, from 1.
    pub step: u64,
    /// Share of episodes that solved their task.
    pub success: f64,
    /// Mean score of the environment, 0 to 1; where a task is solved or not, the same as `success`.
    pub score: f64,
    /// Mean reward.
    pub reward: f64,
    /// Mean number of turns.
    pub turns: f64,
    /// Share of turns with an invalid action.
    pub invalid: f64,
    /// Share of groups whose episodes all have the same reward.
    pub zero_variance_groups: f64,
    /// DAPO only: groups that were sampled and replaced, because their episodes all had the same reward.
    pub replaced_groups: usize,
    /// Responses cut off at their length limit.
    pub truncated_responses: usize,
    /// Episodes ended by the history's length limit.
    pub context_limited: usize,
    /// Search QA: episodes in which a search failed because of the retriever.
    pub failed_lookups: usize,
    /// Episodes dropped because their environment failed; everything else leaves them out.
    #[serde(skip_serializing_if = "is_zero")]
    pub crashed_episodes: usize,
    /// Response tokens.
    pub response_tokens: usize,
    /// All tokens of the episodes.
    pub episode_tokens: usize,
    /// Tokens of every turn's history and response, one turn by one: what is computed where nothing is
    /// shared.
    pub context_tokens: usize,
    /// Window only: tokens of prompts that sampling took over from the prompt before.
    pub cached_tokens: usize,
    /// Window only: prompts that were too long and lost some tokens.
    pub truncated_prompts: usize,
    /// Skills and re-scoring; absent under GRPO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skills: Option<SkillMetrics>,
    /// Parts of the advantage.
    pub advantage: Shares,
    /// The update.
    pub update: UpdateMetrics,
    /// Signs of a collapse, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub collapse: Vec<String>,
    /// Seconds by phase.
    pub seconds: Seconds,
    /// Tokens of the episodes per second of the whole step.
    pub tokens_per_second: f64,
    /// Memory of the process; absent where the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// What became of the skills of a step.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SkillMetrics {
    /// Whether the schedule has skills at this step; without them it is a step of GRPO, and nothing else is said here.
    pub scheduled: bool,
    /// Episodes that the schedule gives no skills (they were won).
    pub skipped: usize,
    /// Episodes with an analysis.
    pub analyzed: usize,
    /// Episodes whose analysis failed.
    pub failed: usize,
    /// The same by cause.
    pub failures: BTreeMap<&'static str, usize>,
    /// What the analysis took; absent if it took nothing.
    #[serde(skip_serializing_if = "Usage::is_nothing")]
    pub analyzer: Usage,
    /// Step skills left out because statistics (`skill.critical_steps`) do not find their step critical.
    pub not_critical: usize,
    /// Turns scored under their episode's skill.
    pub episode_rows: usize,
    /// Turns scored under a skill of their own.
    pub step_rows: usize,
    /// Share of all turns scored under their episode's skill.
    pub episode_coverage: f64,
    /// Share of all turns scored under a skill of their own.
    pub step_coverage: f64,
    /// Turns of the episodes that are to get skills.
    pub entitled: usize,
    /// Turns scored under any skill.
    pub covered: usize,
    /// Turns scored with a shorter history, because the whole one with the skill is too long.
    pub shortened: usize,
    /// Turns left out because not even the shortest history with the skill fits.
    pub too_long: usize,
    /// Mean log-prob shift per token in episodes that were won, in nats.
    pub shift_won: f64,
    /// The same in episodes that were lost.
    pub shift_lost: f64,
    /// Shifts of tokens under episode skills.
    pub episode_shifts: Shifts,
    /// Shifts of tokens under step skills.
    pub step_shifts: Shifts,
    /// Share of scored turns whose mean shift has the sign of the outcome: up in episodes that were won, down
    /// in those that were lost.
    pub agreement: f64,
    /// Tokens computed for re-scoring.
    pub computed: usize,
}

/// Where the time of a step went.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Sampling episodes.
    pub rollout: f64,
    /// Scoring the reference, where re-scoring does not do so along the way.
    pub reference: f64,
    /// Waiting for the analyzer when nothing else could go on: for late replies, or for all its work where it works
    /// on this machine.
    pub analyzer_wait: f64,
    /// Re-scoring under skills, without that wait.
    pub rescore: f64,
    /// Advantages, loss, gradient, optimizer.
    pub update: f64,
    /// Waiting for files: writing the trajectories of the step before, starting its checkpoint after the end of the
    /// one before, and copying what a checkpoint under way still needs.
    #[serde(default)]
    pub saving: f64,
}

impl Seconds {
    /// All phases.
    pub fn total(&self) -> f64 {
        self.rollout + self.reference + self.analyzer_wait + self.rescore + self.update + self.saving
    }
}

impl StepMetrics {
    /// What the episodes of a step say; the rest is filled in as the step goes on.
    pub fn of(step: u64, trajectories: &[Trajectory]) -> Self {
        let n = trajectories.len().max(1) as f64;
        let turns: Vec<_> = trajectories.iter().flat_map(|t| &t.turns).collect();
        let groups: Vec<&[Trajectory]> = trajectories.chunk_by(|a, b| a.group == b.group).collect();
        let flat = groups.iter().filter(|g| g.iter().all(|t| t.reward == g[0].reward)).count();
        StepMetrics {
            step,
            success: trajectories.iter().filter(|t| t.won).count() as f64 / n,
            score: trajectories.iter().map(|t| t.score).sum::<f64>() / n,
            reward: trajectories.iter().map(|t| t.reward).sum::<f64>() / n,
            turns: turns.len() as f64 / n,
            invalid: turns.iter().filter(|t| !t.valid).count() as f64 / turns.len().max(1) as f64,
            zero_variance_groups: flat as f64 / groups.len().max(1) as f64,
            truncated_responses: turns.iter().filter(|t| !t.ended).count(),
            failed_lookups: trajectories.iter().filter(|t| t.lookup_failed()).count(),
            context_limited: trajectories.iter().filter(|t| t.ending == Ending::ContextLimit).count(),
            response_tokens: trajectories.iter().map(Trajectory::response_tokens).sum(),
            episode_tokens: trajectories.iter().map(Trajectory::tokens).sum(),
            context_tokens: trajectories.iter().flat_map(Trajectory::contexts).sum(),
            cached_tokens: turns.iter().map(|t| t.cached).sum(),
            truncated_prompts: turns.iter().filter(|t| t.cut > 0).count(),
            ..StepMetrics::default()
        }
    }
}

impl SkillMetrics {
    /// What analysis and re-scoring came to, without what only the analysis knows; `old` are the log-probabilities
    /// without skills.
    pub fn of(
        trajectories: &[Trajectory],
        rows: &[Row],
        analyses: &[Option<Analysis>],
        old: &[f64],
        scores: &SkillScores,
        skill: &Skill,
    ) -> Self {
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
        let scored = |row: &&Row| {
            let first = row.tokens.start;
            !row.tokens.is_empty() && (scores.episode.selected[first] || scores.step.selected[first])
        };
        let (mut agreeing, mut shifted) = (0usize, 0usize);
        for part in [&scores.episode, &scores.step] {
            for row in rows.iter().filter(|row| row.tokens.clone().any(|t| part.selected[t])) {
                let shift: f64 = row.tokens.clone().map(|t| part.logprobs[t] - old[t]).sum();
                shifted += 1;
                let up_is_right = trajectories[row.trajectory].won;
                agreeing += usize::from(if up_is_right { shift > 0.0 } else { shift < 0.0 });
            }
        }
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        let entitled = |row: &&Row| skill.schedule.includes(&trajectories[row.trajectory]);
        SkillMetrics {
            scheduled: true,
            episode_coverage: share(scores.episode.rows, rows.len()),
            step_coverage: share(scores.step.rows, rows.len()),
            entitled: rows.iter().filter(entitled).count(),
            covered: rows.iter().filter(scored).count(),
            episode_shifts: Shifts::of(&scores.episode, old, &skill.shaping()),
            step_shifts: Shifts::of(&scores.step, old, &skill.shaping()),
            agreement: share(agreeing, shifted),
            analyzed: analyses.iter().flatten().count(),
            episode_rows: scores.episode.rows,
            step_rows: scores.step.rows,
            shortened: scores.shortened,
            too_long: scores.too_long,
            shift_won: mean_shift(true),
            shift_lost: mean_shift(false),
            computed: scores.computed,
            ..SkillMetrics::default()
        }
    }
}

/// Measures consecutive phases.
pub struct Clock {
    start: Instant,
    last: Instant,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Clock { start: now, last: now }
    }

    /// Seconds since the last lap.
    pub fn lap(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.last, Instant::now());
        (self.last - before).as_secs_f64()
    }

    /// Seconds since the start.
    pub fn total(&self) -> f64 {
        self.start.elapsed().as_secs_f64().max(1e-9)
    }
}
