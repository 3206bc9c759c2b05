//! Outcome advantages of whole episodes, under both statistics.

use opid::algo::group::GroupStatistics;
use opid::algo::sampled::Sampled;
use opid::layout::Layout;
use opid::packing::rows;
use opid::recipe::Recipe;
use opid::trajectory::{Ending, Trajectory, Turn};

/// An episode whose turns are valid or not.
fn episode(group: usize, member: usize, reward: f64, valid: &[bool]) -> Trajectory {
    let turn = |&valid: &bool| Turn {
        response: vec![2, 3],
        logprobs: vec![-1.0; 2],
        valid,
        ended: true,
        ..Turn::open(String::new(), None, vec![1])
    };
    Trajectory {
        group,
        member,
        task: format!("task {group}"),
        kind: String::new(),
        goal: String::new(),
        layout: Layout::Transcript,
        turns: valid.iter().map(turn).collect(),
        last_observation: String::new(),
        won: reward > 0.0,
        score: f64::from(u8::from(reward > 0.0)),
        reward,
        ending: Ending::Done,
    }
}

fn recipe(statistics: GroupStatistics) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.advantage.statistics = statistics;
    recipe.reward.invalid_penalty = 0.25;
    recipe
}

fn advantages(trajectories: &[Trajectory], recipe: &Recipe) -> Vec<f64> {
    let rows = rows(trajectories);
    let old = vec![0.0; rows.last().map_or(0, |row| row.tokens.end)];
    let by_token = recipe.algorithm.method().outcome(&Sampled::new(trajectories, &rows, &old, 1, recipe));
    rows.iter().map(|row| by_token[row.tokens.start]).collect()
}

fn assert_close(got: &[f64], want: &[f64]) {
    let close = |(g, w): (&f64, &f64)| (g - w).abs() < 1e-5;
    assert!(got.len() == want.len() && got.iter().zip(want).all(close), "{got:?}, want {want:?}");
}

/// A win of one turn and a loss of three, of which one is invalid.
fn unequal() -> Vec<Trajectory> {
    vec![episode(0, 0, 10.0, &[true]), episode(0, 1, 0.0, &[true, false, true])]
}

#[test]
fn trajectories_count_once_and_penalties_stay_outside() {
    // Rewards 10 and 0: mean 5, sample deviation 7.0711.
    let a = 0.5f64.sqrt();
    let mut recipe = recipe(GroupStatistics::Trajectory);
    assert_close(&advantages(&unequal(), &recipe), &[a, -a, -a - 0.25, -a]);
    recipe.advantage.normalize_std = false;
    assert_close(&advantages(&unequal(), &recipe), &[5.0, -5.0, -5.25, -5.0]);
}

#[test]
fn rows_count_each_with_their_penalties() {
    // Scores 10, 0, -0.25, 0: mean 2.4375, sample deviation 5.0430.
    let mut recipe = recipe(GroupStatistics::Row);
    recipe.advantage.normalize_std = false;
    let centred = [7.5625, -2.4375, -2.6875, -2.4375];
    assert_close(&advantages(&unequal(), &recipe), &centred);
    recipe.advantage.normalize_std = true;
    let squares: f64 = centred.iter().map(|c| c * c).sum();
    let std = (squares / 3.0).sqrt();
    assert_close(&advantages(&unequal(), &recipe), &centred.map(|c| c / (std + 1e-6)));
}

#[test]
fn a_group_without_variance_gives_exactly_zero() {
    for reward in [0.0, 10.0, 0.1] {
        for by_std in [true, false] {
            let valid = [episode(0, 0, reward, &[true, true]), episode(0, 1, reward, &[true])];
            let erring = [episode(0, 0, reward, &[true, true]), episode(0, 1, reward, &[false])];
            let [by_trajectory, by_row] = [GroupStatistics::Trajectory, GroupStatistics::Row].map(|s| {
                let mut recipe = recipe(s);
                recipe.advantage.normalize_std = by_std;
                recipe
            });
            assert_eq!(advantages(&valid, &by_trajectory), [0.0; 3]);
            assert_eq!(advantages(&valid, &by_row), [0.0; 3]);
            // The penalty alone remains; within the comparison it makes variance.
            assert_eq!(advantages(&erring, &by_trajectory), [0.0, 0.0, -0.25]);
            let by_row = advantages(&erring, &by_row);
            assert!(by_row[0] > 0.0 && by_row[2] < 0.0, "{by_row:?}");
        }
    }
}

#[test]
fn the_penalty_holds_a_group_that_fails_in_every_turn() {
    let group = [episode(0, 0, 0.0, &[false, false]), episode(0, 1, 0.0, &[false])];
    let recipe = recipe(GroupStatistics::Trajectory);
    assert_eq!(advantages(&group, &recipe), [-0.25; 3]);
}

#[test]
fn groups_are_compared_apart_in_any_order() {
    let groups: [Vec<Trajectory>; 3] = [
        vec![episode(0, 0, 10.0, &[true, true]), episode(0, 1, 0.0, &[false])],
        vec![episode(1, 0, 0.0, &[true]), episode(1, 1, 0.0, &[true])],
        vec![episode(2, 0, 10.0, &[true]), episode(2, 1, 10.0, &[true, true]), episode(2, 2, 0.0, &[true])],
    ];
    for statistics in [GroupStatistics::Trajectory, GroupStatistics::Row] {
        let recipe = recipe(statistics);
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let together: Vec<Trajectory> = order.iter().flat_map(|&g| groups[g].clone()).collect();
            let apart: Vec<f64> = order.iter().flat_map(|&g| advantages(&groups[g], &recipe)).collect();
            assert_eq!(advantages(&together, &recipe), apart, "{statistics:?} {order:?}");
        }
    }
}
