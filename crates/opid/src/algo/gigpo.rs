//! GiGPO: group-in-group policy optimisation (arXiv 2505.10978, equations 4 to 8).
//!
//! `A = A_E + step_weight * A_S`. `A_E` is GRPO's advantage of the episode. For `A_S`, the steps of a task's
//! episodes whose observations are alike form a group of their own; the score of a step is its return
//! `R_t = r_t + discount * R_(t+1)`, and `A_S` its difference from the mean of its group, divided by the
//! deviation if `advantage.normalize_std` says so. A step that is alone in its group has `A_S = 0`.
//!
//! Code: `gigpo/core_gigpo.py` of the reference. Observations are alike if they are equal or, with a
//! `similarity` below 1, if Ratcliff and Obershelp's ratio to the first of the group reaches it. An invalid
//! action takes its penalty off the return of its own step, undiscounted, besides off `A_E`.

use std::collections::HashMap;

use opid_env::difflib::ratio;
use serde::{Deserialize, Serialize};

use super::Method;
use super::group::Moments;
use super::grpo;
use super::returns::step_returns;
use super::sampled::Sampled;

/// GiGPO sets nothing elsewhere.
pub const PRESET: &str = "";

/// Settings of GiGPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gigpo {
    /// Weight of the step advantage.
    pub step_weight: f64,
    /// Discount from step to step.
    pub discount: f64,
    /// Least similarity of observations that count as the same state; 1 means equal.
    pub similarity: f64,
}

impl Default for Gigpo {
    /// The reference's numbers.
    fn default() -> Self {
        Gigpo { step_weight: 1.0, discount: 0.95, similarity: 1.0 }
    }
}

impl Method for Gigpo {
    fn title(&self) -> &'static str {
        "GiGPO"
    }

    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        let reward = |row: &crate::packing::Row| {
            let t = &sampled.trajectories[row.trajectory];
            if row.turn + 1 == t.turns.len() { t.reward } else { 0.0 }
        };
        let rewards: Vec<f64> = sampled.rows.iter().map(reward).collect();
        let mut returns = step_returns(&sampled.episodes(), &rewards, self.discount);
        returns.iter_mut().zip(sampled.penalties()).for_each(|(value, penalty)| *value -= penalty);
        let observation =
            |r: &crate::packing::Row| sampled.trajectories[r.trajectory].turns[r.turn].observation.as_str();
        let anchors: Vec<&str> = sampled.rows.iter().map(observation).collect();
        let states = states(&sampled.groups(), &anchors, self.similarity);
        let by_step = step_advantages(&states, &returns, sampled.comparison.normalize_std);
        let episodes = grpo::outcome(sampled);
        let steps = sampled.spread(&by_step);
        episodes.iter().zip(steps).map(|(e, s)| e + self.step_weight * s).collect()
    }

    fn fault(&self) -> Option<(&'static str, &'static str)> {
        if !(0.0..=1.0).contains(&self.discount) {
            return Some(("algorithm.discount", "use 0 to 1"));
        }
        let reason = "use a share of equal characters above 0, or 1 for equal observations";
        (!(self.similarity > 0.0 && self.similarity <= 1.0)).then_some(("algorithm.similarity", reason))
    }
}

/// The number of each step's state: steps of one group whose observations are equal or, with a `similarity`
/// below 1, alike to the first step of the state (the earliest state that fits).
pub fn states(groups: &[usize], observations: &[&str], similarity: f64) -> Vec<usize> {
    let mut numbers = Vec::with_capacity(groups.len());
    if similarity >= 1.0 {
        let mut known = HashMap::new();
        for key in groups.iter().zip(observations) {
            let next = known.len();
            numbers.push(*known.entry(key).or_insert(next));
        }
        return numbers;
    }
    let mut firsts = HashMap::<usize, Vec<(usize, &str)>>::new();
    let mut count = 0;
    for (group, observation) in groups.iter().zip(observations) {
        let states = firsts.entry(*group).or_default();
        let found = states.iter().find(|(_, first)| ratio(first, observation) >= similarity);
        numbers.push(found.map_or(count, |(number, _)| *number));
        if found.is_none() {
            states.push((count, observation));
            count += 1;
        }
    }
    numbers
}

/// `A_S` of every step.
///
/// # Panics
/// If the lengths differ.
pub fn step_advantages(states: &[usize], returns: &[f64], divide_by_std: bool) -> Vec<f64> {
    assert_eq!(states.len(), returns.len(), "one return for each step");
    let mut pools = HashMap::<usize, Vec<f64>>::new();
    states.iter().zip(returns).for_each(|(state, value)| pools.entry(*state).or_default().push(*value));
    let advantage = |(state, value): (&usize, &f64)| match pools[state].as_slice() {
        [_] => 0.0,
        pool => Moments::of(pool).advantage(*value, divide_by_std),
    };
    states.iter().zip(returns).map(advantage).collect()
}
