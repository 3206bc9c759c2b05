//! Analyzers: a language model behind a real HTTP server, recordings, noise, when they are asked, and which
//! of their step skills stay.

mod completing;
mod critical;
mod noise;
mod openai;
mod policy;
mod replaying;
mod respondent;
mod scheduling;
mod server;

use opid::layout::Layout;
use opid::trajectory::{Ending, Trajectory, Turn};

/// A lost episode of a few turns; `name` tells it from others.
pub fn episode(group: usize, member: usize, name: &str) -> Trajectory {
    let turn = |i: usize| Turn {
        response: vec![2],
        logprobs: vec![-0.5],
        text: format!("<action>go to {name} {i}</action>"),
        action: format!("go to {name} {i}"),
        valid: true,
        ended: true,
        ..Turn::open(format!("You see a {name} {i}."), None, vec![1])
    };
    Trajectory {
        group,
        member,
        task: format!("task-{group}"),
        kind: "kind".into(),
        goal: "put a mug in shelf.".into(),
        layout: Layout::Transcript,
        turns: (0..3).map(turn).collect(),
        last_observation: "Nothing happens.".into(),
        won: false,
        score: 0.0,
        reward: 0.0,
        ending: Ending::TurnLimit,
    }
}

/// Episodes that differ.
pub fn episodes(n: usize) -> Vec<Trajectory> {
    (0..n).map(|i| episode(i / 2, i % 2, &format!("desk{i}"))).collect()
}

/// Every episode of a list.
pub fn all(episodes: &[Trajectory]) -> Vec<&Trajectory> {
    episodes.iter().collect()
}
