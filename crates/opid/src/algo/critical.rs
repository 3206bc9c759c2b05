//! Critical steps from statistics alone, without a reading of the episode.
//!
//! Steps of a task's episodes that look alike (the same observation) are a *state*. Where the returns of a
//! state's steps spread most, what was done there made the difference. The rule is that of the reference's
//! `select_critical_steps_by_stats`, which its trainer never calls: of the states with enough steps, those
//! whose variance reaches a quantile of their variances; of their steps those with a return below the state's
//! mean; of each trajectory those with the highest `variance * (mean - return + 1e-6)`.

use std::collections::HashMap;

/// Added to the distance from the mean, so that the variance alone decides where there is none.
const EPSILON: f64 = 1e-6;

/// The rule's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CriticalSteps {
    /// Fewest steps of a state; a single step has no variance, so that fewer than 2 count as 2.
    pub least_steps: usize,
    /// Quantile of the states' variances that a variance must reach, 0 to 1 (what lies outside is taken as the
    /// nearer of the two).
    pub quantile: f64,
    /// Most steps of one trajectory.
    pub most: usize,
    /// Whether only steps count whose return is below the state's mean.
    pub below_mean: bool,
}

impl Default for CriticalSteps {
    /// The reference's numbers, but for `most`, which is 1 here.
    fn default() -> Self {
        CriticalSteps { least_steps: 2, quantile: 0.75, most: 1, below_mean: true }
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit<'a> {
    /// Number of the task.
    pub group: usize,
    /// Number of the trajectory, distinct over all groups.
    pub trajectory: usize,
    /// What the policy saw, without its history.
    pub observation: &'a str,
    /// Discounted return.
    pub value: f64,
}

/// The steps that were selected, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// For every step, whether it is critical.
    pub critical: Vec<bool>,
    /// States.
    pub states: usize,
    /// States with enough steps whose returns spread enough.
    pub spread: usize,
    /// The variance that a state must reach; 0 without eligible states.
    pub cutoff: f64,
}

impl CriticalSteps {
    /// Selects among steps; those of a trajectory must come in their order.
    pub fn select(&self, visits: &[Visit<'_>]) -> Selection {
        let mut selection = Selection { critical: vec![false; visits.len()], ..Selection::default() };
        if self.most == 0 {
            return selection;
        }
        let mut states = HashMap::<(usize, &str), Vec<usize>>::new();
        for (n, visit) in visits.iter().enumerate() {
            states.entry((visit.group, visit.observation)).or_default().push(n);
        }
        selection.states = states.len();
        states.retain(|_, steps| steps.len() >= self.least_steps.max(2));
        let spread = |steps: &[usize]| {
            let count = steps.len() as f64;
            let mean = steps.iter().map(|&n| visits[n].value).sum::<f64>() / count;
            let variance = steps.iter().map(|&n| (visits[n].value - mean).powi(2)).sum::<f64>() / count;
            (mean, variance)
        };
        let mut variances: Vec<f64> = states.values().map(|steps| spread(steps).1).collect();
        variances.sort_unstable_by(f64::total_cmp);
        selection.cutoff = quantile(&variances, self.quantile);
        let mut candidates = HashMap::<usize, Vec<(f64, usize)>>::new();
        for steps in states.values() {
            let (mean, variance) = spread(steps);
            if variance < selection.cutoff || variance <= 0.0 {
                continue;
            }
            selection.spread += 1;
            for &n in steps {
                let deviation = mean - visits[n].value;
                if !self.below_mean || deviation > 0.0 {
                    let score = variance * (deviation.abs() + EPSILON);
                    candidates.entry(visits[n].trajectory).or_default().push((score, n));
                }
            }
        }
        for steps in candidates.values_mut() {
            // Of equal scores the later step.
            steps.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            for &(_, n) in steps.iter().take(self.most) {
                selection.critical[n] = true;
            }
        }
        selection
    }
}

/// The quantile of sorted values, on the line between the two nearest; 0 of none.
pub fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = at.clamp(0.0, 1.0) * last as f64;
    let below = place.floor();
    let (low, high) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    low + (high - low) * (place - below)
}
