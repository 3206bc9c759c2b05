//! The policy update: mini-batches, gradients of the objective, AdamW. It knows nothing of how the
//! advantages came about.

use std::sync::Arc;

use opid_lm::graph::Workspace;
use opid_lm::kernels::head::TokenStats;
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig, global_norm};
use serde::Serialize;

use crate::objective::{Objective, Tokens};
use crate::packing::{Pack, Row, pack_responses};
use crate::recipe::{Optimizer, Recipe, Schedule, Teacher};
use crate::trajectory::Trajectory;

/// The model in training and everything an update needs. What a checkpoint may still be writing is shared with it.
pub struct Learner {
    /// The policy.
    pub policy: Arc<Model>,
    /// The policy that training started from, if the loss or the skills look at it.
    pub reference: Option<Model>,
    /// The policy averaged over training steps, if it is the teacher.
    pub average: Option<Arc<Model>>,
    /// Moments.
    pub optimizer: Arc<AdamW>,
    /// Buffers.
    pub workspace: Workspace,
    grad: Vec<f32>,
}

/// What an update did; means are over response tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct UpdateMetrics {
    /// Mean clipped loss.
    pub policy_loss: f64,
    /// Mean k3 divergence from the reference.
    pub kl: f64,
    /// Mean of the method's own loss over all tokens, 0 where there is none.
    pub distillation: f64,
    /// Mean entropy of the policy.
    pub entropy: f64,
    /// Share of tokens whose ratio was clipped.
    pub clip_fraction: f64,
    /// Share of tokens whose loss the dual clip bounded.
    pub dual_clip_fraction: f64,
    /// Mean of old less new log-probability.
    pub ppo_kl: f64,
    /// Largest difference between the sampler's log-probability and the scorer's, over the tokens of
    /// the first mini-batch, whose policy is the one that sampled.
    pub sampler_gap: f64,
    /// Gradient norm before clipping, mean over mini-batches.
    pub grad_norm: f64,
    /// Mini-batches with a gradient or log-probability that was not finite; they changed nothing.
    pub skipped: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Tokens computed forward and backward.
    pub computed: usize,
    /// Tokens computed to score the reference, where re-scoring did not do so along the way.
    pub reference_computed: usize,
}

/// Learning rate of a training step (counted from 0) as a share of its peak.
pub fn rate_factor(o: &Optimizer, step: u64, steps: u64) -> f64 {
    if step < o.warmup_steps {
        return (step + 1) as f64 / (o.warmup_steps + 1) as f64;
    }
    let span = steps.saturating_sub(o.warmup_steps).max(1) as f64;
    let done = (step - o.warmup_steps) as f64 / span;
    match o.schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => (1.0 - done).max(0.0),
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
    }
}

impl Learner {
    /// A learner that starts from `policy`.
    pub fn new(policy: Model, recipe: &Recipe) -> Self {
        let o = &recipe.optimizer;
        // Where nobody teaches, the key says nothing.
        let teacher = recipe.algorithm.teaches(&recipe.skill).then_some(recipe.skill.teacher);
        let teaches = teacher == Some(Teacher::Reference);
        let config = AdamWConfig {
            beta1: o.beta1 as f32,
            beta2: o.beta2 as f32,
            weight_decay: o.weight_decay as f32,
            moments: o.moments,
            ..AdamWConfig::default()
        };
        Learner {
            reference: (recipe.loss.kl > 0.0 || teaches).then(|| policy.clone()),
            average: (teacher == Some(Teacher::Average)).then(|| Arc::new(policy.clone())),
            optimizer: Arc::new(AdamW::new(policy.len(), config)),
            workspace: Workspace::new(&policy).recomputing(o.recompute),
            grad: vec![0.0; policy.len()],
            policy: Arc::new(policy),
        }
    }

    /// Copies what a checkpoint is still writing, so that the update can change its own.
    pub fn own(&mut self) {
        Arc::make_mut(&mut self.policy);
        Arc::make_mut(&mut self.optimizer);
        self.average.as_mut().map(Arc::make_mut);
    }

    /// Log-probabilities of every response token under the reference, if the loss compares with it, and the
    /// number of tokens computed.
    pub fn score_reference(
        &mut self,
        trajectories: &[Trajectory],
        rows: &[Row],
        recipe: &Recipe,
    ) -> Option<(Vec<f64>, usize)> {
        let model = self.reference.as_ref().filter(|_| recipe.loss.kl > 0.0)?;
        let mut reference = vec![0.0; rows.last().map_or(0, |r| r.tokens.end)];
        let mut computed = 0;
        let mut scorer = self.workspace.scorer(model);
        for pack in pack_responses(trajectories, rows, recipe.optimizer.micro_batch_tokens) {
            computed += pack.batch.rows();
            let stats = scorer.score(&pack.batch, recipe.rollout.temperature);
            for (stats, &n) in stats.iter().zip(&pack.numbers) {
                reference[n] = stats.logprob as f64;
            }
        }
        Some((reference, computed))
    }

    /// One training step: an update for each mini-batch of groups.
    pub fn update(
        &mut self,
        trajectories: &[Trajectory],
        rows: &[Row],
        tokens: Tokens<'_>,
        recipe: &Recipe,
        step: u64,
    ) -> UpdateMetrics {
        let parts = mini_batches(trajectories, rows, recipe);
        let temperature = recipe.rollout.temperature;
        let lr = recipe.optimizer.learning_rate * rate_factor(&recipe.optimizer, step, recipe.steps);
        let mut metrics = UpdateMetrics { learning_rate: lr, ..UpdateMetrics::default() };
        let mut objective = Objective::new(recipe, tokens);
        let (policy, optimizer) = (Arc::make_mut(&mut self.policy), Arc::make_mut(&mut self.optimizer));
        for (i, (rows, packs)) in parts.iter().enumerate() {
            objective.weigh(rows, recipe.rollout.max_response_tokens);
            if objective.needs_log_probs() {
                let mut log_probs = vec![0.0; tokens.old.len()];
                let mut scorer = self.workspace.scorer(policy);
                for pack in packs {
                    let stats = scorer.score(&pack.batch, temperature);
                    for (stats, &n) in stats.iter().zip(&pack.numbers) {
                        log_probs[n] = stats.logprob as f64;
                    }
                    metrics.computed += pack.batch.rows();
                }
                objective.tell_log_probs(rows, &log_probs);
            }
            self.grad.fill(0.0);
            let mut finite = true;
            for pack in packs {
                let loss = |target: usize, stats: TokenStats| objective.grad(pack.numbers[target], stats);
                let ws = &mut self.workspace;
                let stats = ws.forward_backward(policy, &pack.batch, temperature, &loss, &mut self.grad);
                metrics.computed += pack.batch.rows();
                finite &= stats.iter().all(TokenStats::is_finite);
                objective.measure(&mut metrics, &pack.numbers, &stats, i == 0);
            }
            let norm = global_norm(&self.grad);
            if finite && norm.is_finite() {
                let scale = (recipe.optimizer.grad_clip / norm.max(1e-12)).min(1.0);
                optimizer.step(&mut policy.weights, &self.grad, lr as f32, scale as f32);
                metrics.grad_norm += norm / parts.len() as f64;
            } else {
                metrics.skipped += 1;
            }
        }
        if let Some(average) = &mut self.average {
            blend(&mut Arc::make_mut(average).weights, &policy.weights, recipe.skill.teacher_decay as f32);
        }
        let n = tokens.old.len().max(1) as f64;
        for sum in [
            &mut metrics.policy_loss,
            &mut metrics.kl,
            &mut metrics.distillation,
            &mut metrics.entropy,
            &mut metrics.clip_fraction,
            &mut metrics.dual_clip_fraction,
            &mut metrics.ppo_kl,
        ] {
            *sum /= n;
        }
        metrics
    }
}

/// `average = decay * average + (1 - decay) * now`.
fn blend(average: &mut [f32], now: &[f32], decay: f32) {
    for (average, now) in average.iter_mut().zip(now) {
        *average += (1.0 - decay) * (now - *average);
    }
}

/// The rows of consecutive groups divided into the recipe's number of mini-batches, and laid out as tree
/// batches.
fn mini_batches<'a>(
    trajectories: &[Trajectory],
    rows: &'a [Row],
    recipe: &Recipe,
) -> Vec<(&'a [Row], Vec<Pack>)> {
    let groups = trajectories.last().map_or(0, |t| t.group + 1);
    let count = recipe.optimizer.mini_batches.clamp(1, groups.max(1));
    (0..count)
        .map(|i| {
            let bounds = (groups * i / count, groups * (i + 1) / count);
            let at = |g: usize| rows.partition_point(|r| trajectories[r.trajectory].group < g);
            let part = &rows[at(bounds.0)..at(bounds.1)];
            (part, pack_responses(trajectories, part, recipe.optimizer.micro_batch_tokens))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::blend;

    #[test]
    fn an_average_follows_the_policy_by_the_share_that_does_not_stay() {
        let mut average = [1.0, -2.0];
        blend(&mut average, &[3.0, -2.0], 0.75);
        assert_eq!(average, [1.5, -2.0]);
        blend(&mut average, &[4.0, 0.0], 0.0);
        assert_eq!(average, [4.0, 0.0]);
    }
}
