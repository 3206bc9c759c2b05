//! Critical steps by statistics, and the numbers of steps.

use opid::algo::critical::{CriticalSteps, Visit};
use opid::layout::Layout;
use opid::packing::rows;
use opid::trajectory::{Ending, Trajectory, Turn};
use serde_json::Value;

use crate::recordings::{Comparison, Outcome, PLAIN, flags, number, numbers, texts};

/// The numbers that steps get by the order of their appearance.
pub fn check_step_numbers(case: &Value, comparison: &mut Comparison) -> Outcome {
    let found = step_numbers(&numbered(&case["input"]["traj_index"]));
    comparison.close("step numbers", &found, &numbers(&case["expected"]["ok"]), PLAIN);
    Outcome::Compared
}

/// A selection.
pub fn check_selection(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let trajectories = numbered(&input["traj_index"]);
    let rule = CriticalSteps {
        least_steps: number(&input["min_group_size"]) as usize,
        quantile: number(&input["var_quantile"]),
        most: number(&input["topk_per_traj"]) as usize,
        below_mean: input["below_group_mean_only"] == true,
    };
    let (groups, values) = (numbered(&input["index"]), numbers(&input["step_rewards"]));
    let observations = texts(&input["anchor_obs"]);
    let visits: Vec<Visit<'_>> = (0..values.len())
        .map(|n| Visit {
            group: groups[n],
            trajectory: trajectories[n],
            observation: &observations[n],
            value: values[n],
        })
        .collect();
    let found = rule.select(&visits);
    let expected = &case["expected"]["ok"];
    let selected = found.critical.iter().filter(|critical| **critical).count();
    comparison.same("selection", found.critical, flags(&expected["mask"]));
    for (name, found) in [
        ("num_groups", found.states as f64),
        ("eligible_groups", found.spread as f64),
        ("selected_steps", selected as f64),
        ("variance_cutoff", found.cutoff),
    ] {
        if let Some(recorded) = expected["metrics"].get(name) {
            comparison.close(name, &[found], &[number(recorded)], PLAIN);
        }
    }
    Outcome::Compared
}

/// Names as numbers, in the order of their appearance.
fn numbered(names: &Value) -> Vec<usize> {
    let names = texts(names);
    names.iter().map(|name| names.iter().position(|other| other == name).unwrap_or_default()).collect()
}

/// The number of every recorded step, by the rows of trajectories with as many turns.
fn step_numbers(trajectories: &[usize]) -> Vec<f64> {
    let turns = |name: usize| trajectories.iter().filter(|t| **t == name).count();
    let episodes: Vec<Trajectory> = (0..trajectories.len()).map(|name| episode(turns(name))).collect();
    let mut rows = rows(&episodes);
    let mut take =
        |name: usize| rows.remove(rows.iter().position(|row| row.trajectory == name).expect("a row"));
    trajectories.iter().map(|&name| take(name).turn as f64).collect()
}

/// An episode of some turns.
fn episode(turns: usize) -> Trajectory {
    Trajectory {
        group: 0,
        member: 0,
        task: String::new(),
        kind: String::new(),
        goal: String::new(),
        layout: Layout::Transcript,
        turns: vec![Turn::open(String::new(), None, Vec::new()); turns],
        last_observation: String::new(),
        won: false,
        score: 0.0,
        reward: 0.0,
        ending: Ending::Done,
    }
}
