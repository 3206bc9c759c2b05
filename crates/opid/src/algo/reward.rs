//! Reward shaping: the penalty for invalid actions, and KL divergence inside the reward.

use serde::{Deserialize, Serialize};

/// Takes `coefficient` off the last response token of every row whose action is invalid, and off its
/// step return where there are such.
///
/// `rewards` holds the token rewards of each row. A row without tokens keeps nothing to penalise.
/// Returns the share of valid rows (`episode/valid_action_ratio`), 1 without rows.
///
/// # Panics
/// If the numbers of rows differ.
pub fn penalize_invalid_actions(
    rewards: &mut [Vec<f64>],
    step_returns: Option<&mut [f64]>,
    valid: &[bool],
    coefficient: f64,
) -> f64 {
    assert_eq!(rewards.len(), valid.len(), "one verdict for each row");
    for (row, _) in rewards.iter_mut().zip(valid).filter(|(_, valid)| !**valid) {
        if let Some(last) = row.last_mut() {
            *last -= coefficient;
        }
    }
    if let Some(returns) = step_returns {
        assert_eq!(returns.len(), valid.len(), "one verdict for each return");
        for (value, _) in returns.iter_mut().zip(valid).filter(|(_, valid)| !**valid) {
            *value -= coefficient;
        }
    }
    match valid.len() {
        0 => 1.0,
        rows => valid.iter().filter(|valid| **valid).count() as f64 / rows as f64,
    }
}

/// Takes `beta` times the divergence off every token reward.
///
/// `divergences` holds an estimate for every response token (see [`crate::loss::kl`]). Returns the mean
/// over rows of the rows' token means (`actor/reward_kl_penalty`); a row without tokens counts as 0.
///
/// # Panics
/// If the shapes differ.
pub fn subtract_divergence(rewards: &mut [Vec<f64>], divergences: &[Vec<f64>], beta: f64) -> f64 {
    assert_eq!(rewards.len(), divergences.len(), "one divergence for each row");
    let mut total = 0.0;
    for (row, divergence) in rewards.iter_mut().zip(divergences) {
        assert_eq!(row.len(), divergence.len(), "one divergence for each token");
        for (reward, kl) in row.iter_mut().zip(divergence) {
            *reward -= beta * kl;
        }
        total += divergence.iter().sum::<f64>() / divergence.len().max(1) as f64;
    }
    total / rewards.len().max(1) as f64
}

/// A coefficient that follows a target divergence (Ziegler et al., arXiv 1909.08593, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveBeta {
    /// The coefficient now.
    pub beta: f64,
    /// The divergence aimed at, in nats per token.
    pub target: f64,
    /// Number of rows over which an error of 1 would change the coefficient by a factor.
    pub horizon: f64,
}

impl AdaptiveBeta {
    /// Follows one measured divergence over `rows` rows: the relative error is clipped to plus or
    /// minus 0.2, and the coefficient multiplied by `1 + error * rows / horizon`.
    pub fn update(&mut self, divergence: f64, rows: usize) {
        let error = (divergence / self.target - 1.0).clamp(-0.2, 0.2);
        self.beta *= 1.0 + error * rows as f64 / self.horizon;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_tokens_is_left_alone() {
        let mut rewards = vec![vec![], vec![0.0, 1.0]];
        let ratio = penalize_invalid_actions(&mut rewards, None, &[false, false], 0.1);
        assert_eq!(ratio, 0.0);
        assert_eq!(rewards, [vec![], vec![0.0, 0.9]]);
    }
}
