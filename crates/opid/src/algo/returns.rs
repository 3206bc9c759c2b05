//! Discounted returns of the steps of an episode (used by GiGPO, arXiv 2505.10978, and by critical steps from statistics).

use std::collections::HashMap;

/// `R_t = r_t + gamma R_(t+1)` within each trajectory, for every row.
///
/// The rows of a trajectory must come in the order of its steps; other rows may lie between them.
///
/// # Panics
/// If the lengths differ.
pub fn step_returns(trajectories: &[usize], rewards: &[f64], gamma: f64) -> Vec<f64> {
    assert_eq!(trajectories.len(), rewards.len(), "one trajectory for each reward");
    let mut later = HashMap::<usize, f64>::new();
    let mut returns = vec![0.0; rewards.len()];
    for row in (0..rewards.len()).rev() {
        let carried = later.entry(trajectories[row]).or_insert(0.0);
        *carried = rewards[row] + gamma * *carried;
        returns[row] = *carried;
    }
    returns
}
