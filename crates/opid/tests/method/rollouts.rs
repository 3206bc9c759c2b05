//! Episodes depend on the seed alone, and their log-probabilities are the scorer's.

use opid::rollout::Settings;
use opid::trajectory::Trajectory;

use crate::micro::{alone, episodes, packed, policy, recipe};

const GROUPS: usize = 6;

fn settings(seed: u64, concurrency: usize) -> Settings {
    let mut settings = Settings::training(&recipe(), [seed, 1, 1]);
    settings.group_size = 4;
    settings.concurrency = concurrency;
    settings
}

/// Runs in a pool of its own.
fn threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(work)
}

/// Everything but the log-probabilities, and those.
fn apart(mut trajectories: Vec<Trajectory>) -> (Vec<Trajectory>, Vec<f32>) {
    let turns = trajectories.iter_mut().flat_map(|t| &mut t.turns);
    let logprobs = turns.flat_map(|t| std::mem::take(&mut t.logprobs)).collect();
    (trajectories, logprobs)
}

#[test]
fn episodes_depend_on_the_seed_alone() {
    let (first, logprobs) = apart(episodes(GROUPS, &settings(7, 8)));
    assert_eq!(first.len(), GROUPS * 4);
    let tokens = first.iter().map(Trajectory::response_tokens).sum::<usize>();
    assert_eq!(logprobs.len(), tokens);
    for (concurrency, count) in [(64, 1), (8, 2), (64, 2)] {
        let (again, others) = apart(threads(count, || episodes(GROUPS, &settings(7, concurrency))));
        assert_eq!(again, first, "{concurrency} at a time, {count} threads");
        for (a, b) in logprobs.iter().zip(others) {
            assert!((a - b).abs() < 1e-5, "{a} and {b} with {concurrency} at a time");
        }
    }
    let other = apart(episodes(GROUPS, &settings(8, 8))).0;
    assert_ne!(other, first);
    let spoken = |t: &Trajectory| t.turns.iter().map(|t| t.response.clone()).collect::<Vec<_>>();
    assert!(first.chunks(4).any(|group| spoken(&group[0]) != spoken(&group[1])), "members draw alike");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let [one, two] = [1, 2].map(|n| threads(n, || episodes(GROUPS, &settings(7, 16))));
    assert_eq!(one, two);
}

#[test]
fn sampled_log_probabilities_are_the_scorers() {
    let (recipe, model) = (recipe(), &policy().model);
    let trajectories = episodes(GROUPS, &settings(3, 16));
    let turns = || trajectories.iter().flat_map(|t| &t.turns);
    assert!(turns().any(|t| t.ended) && turns().any(|t| t.valid), "the policy speaks");
    let scored = packed(model, &trajectories, recipe.rollout.temperature);
    let sampled: Vec<f64> = turns().flat_map(|t| &t.logprobs).map(|&l| l as f64).collect();
    assert_eq!(scored.len(), sampled.len());
    for (a, b) in scored.iter().zip(&sampled) {
        assert!((a - b).abs() < 1e-5, "scored {a}, sampled {b}");
    }
    // The history of a turn is every token before it, as it was.
    let t = trajectories.iter().max_by_key(|t| t.turns.len()).expect("an episode");
    let mut history = Vec::new();
    for turn in &t.turns {
        history.extend(&turn.prompt);
        let logprobs = alone(model, &history, &turn.response, recipe.rollout.temperature);
        for (a, b) in logprobs.iter().zip(&turn.logprobs) {
            assert!((a - *b as f64).abs() < 1e-5, "alone {a}, sampled {b}");
        }
        history.extend(&turn.response);
    }
}
