//! The clipped policy loss (PPO, arXiv 1707.06347) with dual clip (arXiv 1912.09729).

use serde::{Deserialize, Serialize};

/// Bound of the mean log ratio of a response, as in the reference.
const MOST_LOG_RATIO: f64 = 10.0;

/// Which probability ratio is clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ratio {
    /// That of each token.
    #[default]
    Token,
    /// That of the response: the exponential of the mean over its tokens (GSPO, arXiv 2507.18071).
    Sequence,
}

/// Clip ranges of the probability ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipRange {
    /// The ratio is clipped below at `1 - low`.
    pub low: f64,
    /// The ratio is clipped above at `1 + high`.
    pub high: f64,
    /// With a negative advantage the loss is at most `-A * dual`; must be greater than 1.
    pub dual: f64,
}

impl Default for ClipRange {
    /// The reference's 0.2, 0.2 and 3.
    fn default() -> ClipRange {
        ClipRange { low: 0.2, high: 0.2, dual: 3.0 }
    }
}

impl ClipRange {
    /// Checks the ranges; the error names the setting and what it may be.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.low) {
            return Err(format!("clip low is {}, must lie between 0 and 1", self.low));
        }
        if !(self.high >= 0.0 && self.high.is_finite()) {
            return Err(format!("clip high is {}, must not be negative", self.high));
        }
        if self.dual.is_nan() || self.dual <= 1.0 {
            return Err(format!("dual clip is {}, must be greater than 1", self.dual));
        }
        Ok(())
    }
}

/// The loss of one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyLoss {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to the token's log-probability.
    pub gradient: f64,
    /// Whether the clipped ratio gave the greater loss (metric `clipfrac`).
    pub clipped: bool,
    /// Whether the dual clip lowered the loss (metric `clipfrac_lower`).
    pub clipped_lower: bool,
    /// `old - new` log-probability, whose mean estimates the divergence (metric `ppo_kl`).
    pub divergence: f64,
}

/// The loss of one token from its log-probability now, its log-probability when it was sampled, and
/// its advantage.
///
/// `ratio = exp(log_prob - old)`; `loss = max(-A ratio, -A clip(ratio, 1 - low, 1 + high))`, and with
/// `A < 0` at most `-A dual`. The derivative is `-A ratio` where the unclipped term counts, else 0.
pub fn policy_loss(log_prob: f64, old: f64, advantage: f64, clip: &ClipRange) -> PolicyLoss {
    let ratio = (log_prob - old).exp();
    let unclipped = -advantage * ratio;
    let bounded = -advantage * ratio.max(1.0 - clip.low).min(1.0 + clip.high);
    let clipped = bounded > unclipped;
    let loss = if clipped { bounded } else { unclipped };
    let limit = -advantage * clip.dual;
    let clipped_lower = advantage < 0.0 && loss > limit;
    PolicyLoss {
        loss: if clipped_lower { limit } else { loss },
        gradient: if clipped || clipped_lower { 0.0 } else { unclipped },
        clipped,
        clipped_lower,
        divergence: old - log_prob,
    }
}

/// The loss of a token by the ratio of its whole response, whose mean of `log_prob - old` is `log_ratio`.
///
/// `s = exp(log_ratio)`; `loss = max(-A s, -A clip(s, 1 - low, 1 + high))`. The derivative with respect to the
/// token's log-probability is `-A s` where the unclipped term counts, else 0: each token carries the gradient of
/// the whole, and averaging the tokens of a response gives that of its ratio. There is no dual clip.
pub fn sequence_loss(log_ratio: f64, advantage: f64, clip: &ClipRange) -> PolicyLoss {
    let ratio = log_ratio.min(MOST_LOG_RATIO).exp();
    let unclipped = -advantage * ratio;
    let bounded = -advantage * ratio.max(1.0 - clip.low).min(1.0 + clip.high);
    let clipped = bounded > unclipped;
    PolicyLoss {
        loss: unclipped.max(bounded),
        gradient: if clipped || log_ratio > MOST_LOG_RATIO { 0.0 } else { unclipped },
        clipped,
        clipped_lower: false,
        divergence: -log_ratio,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope() {
        let clip = ClipRange { low: 0.2, high: 0.28, dual: 3.0 };
        for advantage in [-1.5, 0.7] {
            for log_prob in [-4.0, -2.3, -2.05, -1.9, -1.7, -0.3] {
                let loss = |x| policy_loss(x, -2.0, advantage, &clip).loss;
                let slope = (loss(log_prob + 1e-6) - loss(log_prob - 1e-6)) / 2e-6;
                let found = policy_loss(log_prob, -2.0, advantage, &clip).gradient;
                assert!((slope - found).abs() < 1e-6, "{advantage} {log_prob}: {slope} {found}");
            }
        }
    }

    #[test]
    fn senseless_ranges_are_refused() {
        assert!(ClipRange::default().check().is_ok());
        for (low, high, dual) in [(1.5, 0.2, 3.0), (0.2, -0.1, 3.0), (0.2, 0.2, 1.0), (f64::NAN, 0.2, 3.0)] {
            assert!(ClipRange { low, high, dual }.check().is_err());
        }
    }
}
