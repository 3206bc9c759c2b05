//! The loss of a response token: clipped policy loss, KL divergence to the reference, entropy bonus, and
//! what the method adds for tokens that a teacher scored.

use opid_lm::kernels::head::{TokenGrad, TokenStats};

use crate::algo::{Method, TaughtToken};
use crate::loss::kl::Divergence;
use crate::loss::policy::{ClipRange, PolicyLoss, Ratio, policy_loss, sequence_loss};
use crate::packing::Row;
use crate::recipe::{self, Recipe};
use crate::update::UpdateMetrics;

/// What an update needs to know of the response tokens of a step, one number for each.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// Log-probability under the policy that sampled them.
    pub old: &'a [f64],
    /// Log-probability under the reference, if the loss compares with it.
    pub reference: Option<&'a [f64]>,
    /// Log-probability under the teacher, of tokens that it scored.
    pub teacher: Option<&'a [Option<f64>]>,
    /// Advantage.
    pub advantages: &'a [f64],
}

/// The loss of a training step.
pub struct Objective<'a> {
    loss: &'a recipe::Loss,
    method: &'a dyn Method,
    clip: ClipRange,
    tokens: Tokens<'a>,
    /// What each token weighs in the average.
    weights: Vec<f64>,
    /// With ratios of sequences: the mean over each token's response of `lp - lp_old`.
    log_ratios: Option<Vec<f64>>,
}

impl<'a> Objective<'a> {
    /// The loss of a recipe; no token weighs anything yet.
    pub fn new(recipe: &'a Recipe, tokens: Tokens<'a>) -> Self {
        let loss = &recipe.loss;
        let dual = if loss.dual_clip == 0.0 { f64::INFINITY } else { loss.dual_clip };
        let n = tokens.old.len();
        Objective {
            loss,
            method: recipe.algorithm.method(),
            clip: ClipRange { low: loss.clip_low, high: loss.clip_high, dual },
            tokens,
            weights: vec![0.0; n],
            log_ratios: (loss.ratio == Ratio::Sequence).then(|| vec![0.0; n]),
        }
    }

    /// Weighs the tokens of the rows of a mini-batch as the recipe's average does; `longest` is the limit of a
    /// response in tokens.
    pub fn weigh(&mut self, rows: &[Row], longest: usize) {
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        for (row, weight) in rows.iter().zip(self.loss.aggregation.row_weights(&lengths, longest)) {
            self.weights[row.tokens.clone()].fill(weight);
        }
    }

    /// Whether the loss of a token depends on the whole response, so that log-probabilities have to be known
    /// before a gradient is taken.
    pub fn needs_log_probs(&self) -> bool {
        self.log_ratios.is_some()
    }

    /// Tells the log-probabilities under the policy now, by token number, of the rows of a mini-batch.
    pub fn tell_log_probs(&mut self, rows: &[Row], log_probs: &[f64]) {
        let Some(log_ratios) = &mut self.log_ratios else { return };
        for row in rows {
            let old = &self.tokens.old[row.tokens.clone()];
            let sum: f64 = log_probs[row.tokens.clone()].iter().zip(old).map(|(new, old)| new - old).sum();
            log_ratios[row.tokens.clone()].fill(sum / row.tokens.len().max(1) as f64);
        }
    }

    /// Gradient of the weighted loss of token `n`.
    pub fn grad(&self, n: usize, stats: TokenStats) -> TokenGrad {
        let (log_prob, weight) = (stats.logprob as f64, self.weights[n]);
        let mut slope = self.loss.policy * self.policy(n, log_prob).gradient;
        if let Some(reference) = self.tokens.reference {
            slope += self.loss.kl * Divergence::K3.of(log_prob, reference[n]).1;
        }
        if let Some((_, distilled)) = self.distillation(n, log_prob) {
            slope += distilled;
        }
        TokenGrad { logprob: (slope * weight) as f32, entropy: (-self.loss.entropy * weight) as f32 }
    }

    /// Adds what tokens say to sums over all tokens; `first` is whether the policy is still the one that sampled
    /// them.
    pub fn measure(&self, m: &mut UpdateMetrics, numbers: &[usize], stats: &[TokenStats], first: bool) {
        for (stats, &n) in stats.iter().zip(numbers) {
            let log_prob = stats.logprob as f64;
            let loss = self.policy(n, log_prob);
            m.policy_loss += loss.loss;
            m.entropy += stats.entropy as f64;
            m.clip_fraction += f64::from(loss.clipped);
            m.dual_clip_fraction += f64::from(loss.clipped_lower);
            m.ppo_kl += loss.divergence;
            if let Some(reference) = self.tokens.reference {
                m.kl += Divergence::K3.of(log_prob, reference[n]).0;
            }
            m.distillation += self.distillation(n, log_prob).map_or(0.0, |(loss, _)| loss);
            if first {
                m.sampler_gap = m.sampler_gap.max((self.tokens.old[n] - log_prob).abs());
            }
        }
    }

    fn policy(&self, n: usize, log_prob: f64) -> PolicyLoss {
        let advantage = self.tokens.advantages[n];
        match &self.log_ratios {
            None => policy_loss(log_prob, self.tokens.old[n], advantage, &self.clip),
            Some(log_ratios) => sequence_loss(log_ratios[n], advantage, &self.clip),
        }
    }

    fn distillation(&self, n: usize, log_prob: f64) -> Option<(f64, f64)> {
        let teacher = self.tokens.teacher?[n]?;
        self.method.distillation(TaughtToken { log_prob, old: self.tokens.old[n], teacher })
    }
}
