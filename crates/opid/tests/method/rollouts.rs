//! Episodes depend on the seed alone, and their log-probabilities are the scorer's.

use opid::rollout::Settings;
use opid::trajectory::Trajectory;

use opid::layout::Layout;

use crate::micro::{LAYOUTS, alone, episodes, packed, policy, recipe};

const GROUPS: usize = 6;

fn settings(layout: Layout, seed: u64, concurrency: usize) -> Settings {
    let mut settings = Settings::training(&recipe(layout), [seed, 1, 1]);
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
    for layout in LAYOUTS {
        let played = |seed, concurrency| episodes(layout, GROUPS, &settings(layout, seed, concurrency));
        let (first, logprobs) = apart(played(7, 8));
        assert_eq!(first.len(), GROUPS * 4);
        let tokens = first.iter().map(Trajectory::response_tokens).sum::<usize>();
        assert_eq!(logprobs.len(), tokens);
        for (concurrency, count) in [(64, 1), (8, 2), (64, 2)] {
            let (again, others) = apart(threads(count, || played(7, concurrency)));
            assert_eq!(again, first, "{concurrency} at a time, {count} threads");
            for (a, b) in logprobs.iter().zip(others) {
                assert!((a - b).abs() < 1e-5, "{a} and {b} with {concurrency} at a time");
            }
        }
        let other = apart(played(8, 8)).0;
        assert_ne!(other, first);
        let spoken = |t: &Trajectory| t.turns.iter().map(|t| t.response.clone()).collect::<Vec<_>>();
        assert!(first.chunks(4).any(|group| spoken(&group[0]) != spoken(&group[1])), "members draw alike");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for layout in LAYOUTS {
        let [one, two] = [1, 2].map(|n| threads(n, || episodes(layout, GROUPS, &settings(layout, 7, 16))));
        assert_eq!(one, two);
    }
}

#[test]
fn sampled_log_probabilities_are_the_scorers() {
    for layout in LAYOUTS {
        let (recipe, model) = (recipe(layout), &policy(layout).model);
        let trajectories = episodes(layout, GROUPS, &settings(layout, 3, 16));
        let turns = || trajectories.iter().flat_map(|t| &t.turns);
        assert!(turns().any(|t| t.ended) && turns().any(|t| t.valid), "the policy speaks");
        let scored = packed(model, &trajectories, recipe.rollout.temperature);
        let sampled: Vec<f64> = turns().flat_map(|t| &t.logprobs).map(|&l| l as f64).collect();
        assert_eq!(scored.len(), sampled.len());
        for (a, b) in scored.iter().zip(&sampled) {
            assert!((a - b).abs() < 1e-5, "scored {a}, sampled {b}");
        }
        // In a transcript the history of a turn is every token before it, as it was; in a window its prompt.
        let t = trajectories.iter().max_by_key(|t| t.turns.len()).expect("an episode");
        let mut history = Vec::new();
        for (turn, length) in t.turns.iter().zip(t.contexts()) {
            if layout == Layout::Window {
                history.clear();
            }
            history.extend(&turn.prompt);
            let logprobs = alone(model, &history, &turn.response, recipe.rollout.temperature);
            for (a, b) in logprobs.iter().zip(&turn.logprobs) {
                assert!((a - *b as f64).abs() < 1e-5, "alone {a}, sampled {b}");
            }
            history.extend(&turn.response);
            assert_eq!(history.len(), length);
        }
        assert_eq!(turns().any(|t| t.cached > 0), layout == Layout::Window, "prompts begin alike");
    }
}

#[test]
fn windows_show_the_last_turns_and_share_their_beginning() {
    let layout = Layout::Window;
    let trajectories = episodes(layout, GROUPS, &settings(layout, 3, 16));
    let dialogue = &policy(layout).dialogue;
    let t = trajectories.iter().find(|t| t.turns.len() == 4).expect("an episode of four turns");
    let text = |turn: usize| dialogue.text(&t.turns[turn].prompt).expect("text");
    assert!(text(0).contains(&t.goal) && !text(0).contains("1. "), "{}", text(0));
    let last = text(3);
    for (turn, shown) in [(0, false), (1, true), (2, true), (3, true)] {
        assert_eq!(last.contains(&t.turns[turn].observation), shown, "turn {turn}: {last}");
        let command = format!("{}. {}\n{}", turn + 1, t.turns[turn].observation, t.turns[turn].action);
        assert_eq!(last.contains(&command), shown && turn < 3, "turn {turn}: {last}");
    }
    assert!(last.contains(&format!("Your task is to: {}", t.goal)), "{last}");
    // The tree holds what prompts have in common once.
    let rows = opid::packing::rows(&trajectories);
    let packs = opid::packing::pack_responses(&trajectories, &rows, usize::MAX);
    let held: usize = packs.iter().map(|p| p.batch.rows()).sum();
    let apart: usize = trajectories.iter().flat_map(Trajectory::contexts).sum();
    assert!(held * 3 < apart * 2, "{held} of {apart}");
}
