//! What skills do to the log-probabilities of responses, in numbers for people.

use serde::Serialize;

use super::rescore::Scores;
use crate::algo::critical::quantile;
use crate::algo::opid::{SignalShaping, token_signal};

/// The places of [`Shifts::quantiles`].
const PLACES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Log-prob shifts of response tokens under one kind of skill, in nats; all 0 without tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shifts {
    /// Tokens scored under such a skill.
    pub tokens: usize,
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub std: f64,
    /// The 5, 25, 50, 75 and 95 % quantiles.
    pub quantiles: [f64; 5],
    /// Share of tokens whose signal was clipped.
    pub clipped: f64,
}

impl Shifts {
    /// The shifts of the tokens that `scores` has, against `old`, their log-probabilities without a skill.
    pub fn of(scores: &Scores, old: &[f64], shaping: &SignalShaping) -> Self {
        let selected = |values: Vec<f64>| -> Vec<f64> {
            values.into_iter().zip(&scores.selected).filter(|(_, s)| **s).map(|(value, _)| value).collect()
        };
        let signal = |normalize: bool| {
            let shaping = SignalShaping { normalize, clip: None };
            selected(token_signal(&scores.logprobs, old, &scores.selected, &shaping))
        };
        let mut shifts = signal(false);
        if shifts.is_empty() {
            return Shifts::default();
        }
        let n = shifts.len() as f64;
        let mean = shifts.iter().sum::<f64>() / n;
        let variance = shifts.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
        let beyond = |limit: f64| signal(shaping.normalize).iter().filter(|s| s.abs() > limit.abs()).count();
        let clipped = shaping.clip.map_or(0, beyond) as f64 / n;
        shifts.sort_unstable_by(f64::total_cmp);
        let quantiles = PLACES.map(|at| quantile(&shifts, at));
        Shifts { tokens: shifts.len(), mean, std: variance.sqrt(), quantiles, clipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(shifts: &[f64]) -> Scores {
        // The last token was not scored; whatever stands there does not count.
        let logprobs = shifts.iter().map(|s| s - 1.0).chain([99.0]).collect();
        let selected = shifts.iter().map(|_| true).chain([false]).collect();
        Scores { logprobs, selected, rows: 1 }
    }

    #[test]
    fn only_scored_tokens_count() {
        let shaping = SignalShaping { normalize: false, clip: Some(2.0) };
        let found = Shifts::of(&scores(&[-3.0, -1.0, 0.0, 1.0, 8.0]), &[-1.0; 6], &shaping);
        assert_eq!((found.tokens, found.mean, found.clipped), (5, 1.0, 0.4));
        assert!((found.std - 14f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.quantiles[1..4], [-1.0, 0.0, 1.0]);
        assert!((found.quantiles[4] - 6.6).abs() < 1e-12);
        assert_eq!(Shifts::of(&scores(&[]), &[-1.0], &shaping), Shifts::default());
    }

    #[test]
    fn what_is_clipped_is_the_shaped_signal() {
        // Mean 10, deviation 14.14: standardised they are -0.71, -0.71 and 1.41.
        let shaping = SignalShaping { normalize: true, clip: Some(1.4) };
        let found = Shifts::of(&scores(&[0.0, 0.0, 30.0]), &[-1.0; 4], &shaping);
        assert!((found.clipped - 1.0 / 3.0).abs() < 1e-12 && found.mean == 10.0);
    }
}
