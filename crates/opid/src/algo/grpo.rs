//! Group-relative advantage (GRPO, arXiv 2402.03300).
//!
//! `A_i = (S_i - mean) / (std + 1e-6)` over the group of row `i`, or `A_i = S_i - mean` without the
//! division (as in Dr. GRPO, arXiv 2503.20783); every token of the row gets `A_i`. The paper of OPID
//! divides and counts trajectories; most scripts of its code do not divide, and count rows.

use crate::algo::group::{GroupStatistics, moments};

/// The advantage of every row. Arguments as in [`moments`].
///
/// # Panics
/// If the lengths differ.
pub fn advantages(
    groups: &[usize],
    trajectories: &[usize],
    scores: &[f64],
    statistics: GroupStatistics,
    divide_by_std: bool,
) -> Vec<f64> {
    moments(groups, trajectories, scores, statistics)
        .iter()
        .zip(scores)
        .map(|(moments, score)| moments.advantage(*score, divide_by_std))
        .collect()
}
