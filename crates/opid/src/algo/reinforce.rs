//! REINFORCE++ (arXiv 2501.03262): no groups, one comparison over the whole batch.
//!
//! The return of a token is `R_j = r_j + discount * R_(j+1)` within its row, where the row's score is the
//! reward of its last token; the advantages are the returns of all tokens of the batch, whitened:
//! `(R - mean) / sqrt(variance + 1e-8)`.
//!
//! Code: `compute_reinforce_plus_plus_outcome_advantage` in `core_algos.py` of the reference. The paper also
//! takes the KL divergence off the rewards; here, as in the reference's scripts, it is a term of the loss.

use serde::{Deserialize, Serialize};

use super::Method;
use super::sampled::Sampled;

/// REINFORCE++ sets nothing elsewhere.
pub const PRESET: &str = "";

/// Added to the variance, as in the reference.
const EPSILON: f64 = 1e-8;

/// Settings of REINFORCE++.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforce {
    /// Discount from token to token.
    pub discount: f64,
}

impl Default for Reinforce {
    fn default() -> Self {
        Reinforce { discount: 1.0 }
    }
}

impl Method for Reinforce {
    fn title(&self) -> &'static str {
        "REINFORCE++"
    }

    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        let mut rewards = vec![0.0; sampled.old.len()];
        let scores = sampled.rewards().into_iter().zip(sampled.penalties()).map(|(r, p)| r - p);
        for (row, score) in sampled.rows.iter().zip(scores) {
            if let Some(last) = rewards[row.tokens.clone()].last_mut() {
                *last = score;
            }
        }
        let rows: Vec<&[f64]> = sampled.rows.iter().map(|row| &rewards[row.tokens.clone()]).collect();
        whiten(&returns(&rows, self.discount))
    }

    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let reason = "use 0 to 1";
        (!(0.0..=1.0).contains(&self.discount)).then_some(("algorithm.discount", reason))
    }
}

/// The return of every token of every row, one after the other.
pub fn returns(rewards: &[&[f64]], discount: f64) -> Vec<f64> {
    let mut all = Vec::new();
    for row in rewards {
        let start = all.len();
        all.extend_from_slice(row);
        let mut later = 0.0;
        for value in all[start..].iter_mut().rev() {
            *value += discount * later;
            later = *value;
        }
    }
    all
}

/// Values less their mean, divided by their sample deviation; all 0 where they do not differ.
pub fn whiten(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    if values.len() < 2 || values.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![0.0; values.len()];
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    values.iter().map(|v| (v - mean) / (variance + EPSILON).sqrt()).collect()
}
