//! The skill loss and the reverse divergence to the skill-conditioned policy have the same gradient.
//!
//! With `t = log q(y | h) - log p(y | h)` as advantage and no clipping, the policy loss at `p = p_old` has the
//! gradient `-sum t grad log p`. Over responses drawn from `p` its expectation is
//! `E_h grad KL(p(. | h) || q(. | h))`: token by token, with the histories `h` as they were sampled. (The gradient
//! of the divergence of whole sequences also credits a token with the shifts of later ones; the method does not.)

use opid::algo::opid::{SignalShaping, token_signal};
use opid::loss::policy::{ClipRange, policy_loss};
use opid_env::random::Draw;

const VOCABULARY: usize = 4;
const LENGTH: usize = 3;
/// Histories: sequences of 0, 1 and 2 tokens.
const HISTORIES: usize = 1 + VOCABULARY + VOCABULARY * VOCABULARY;

/// Logits of the next token after every history.
type Table = [[f64; VOCABULARY]; HISTORIES];

fn table(seed: u64) -> Table {
    let mut draw = Draw::new(&[seed]);
    std::array::from_fn(|_| std::array::from_fn(|_| 4.0 * draw.unit() - 2.0))
}

fn log_softmax(logits: &[f64; VOCABULARY]) -> [f64; VOCABULARY] {
    let total: f64 = logits.iter().map(|l| l.exp()).sum();
    logits.map(|l| l - total.ln())
}

/// The number of the history of the first tokens of a sequence.
fn history(tokens: &[usize]) -> usize {
    tokens.iter().fold(0, |number, token| number * VOCABULARY + token + 1)
}

/// Log-probabilities of the tokens of a sequence.
fn log_probs(table: &Table, tokens: &[usize]) -> Vec<f64> {
    let at = |n: usize| log_softmax(&table[history(&tokens[..n])])[tokens[n]];
    (0..tokens.len()).map(at).collect()
}

/// All sequences of some length.
fn sequences(length: usize) -> Vec<Vec<usize>> {
    let number = VOCABULARY.pow(length as u32);
    let digit = |number: usize, place: usize| number / VOCABULARY.pow(place as u32) % VOCABULARY;
    (0..number).map(|number| (0..length).map(|place| digit(number, place)).collect()).collect()
}

/// Expectation over all sequences of the gradient of the summed policy loss with respect to the logits.
fn expected_gradient(policy: &Table, taught: &Table, shaping: &SignalShaping) -> Table {
    let mut gradient = [[0.0; VOCABULARY]; HISTORIES];
    for tokens in sequences(LENGTH) {
        let old = log_probs(policy, &tokens);
        let signal = token_signal(&log_probs(taught, &tokens), &old, &[true; LENGTH], shaping);
        let probability = old.iter().sum::<f64>().exp();
        for (n, &token) in tokens.iter().enumerate() {
            let slope = policy_loss(old[n], old[n], signal[n], &ClipRange::default()).gradient;
            let at = history(&tokens[..n]);
            let chances = log_softmax(&policy[at]).map(f64::exp);
            for (other, value) in gradient[at].iter_mut().enumerate() {
                *value += probability * slope * (f64::from(token == other) - chances[other]);
            }
        }
    }
    gradient
}

/// Sum over histories, weighed as `policy` reaches them, of the divergence of `now` from `taught`.
fn divergence(now: &Table, policy: &Table, taught: &Table) -> f64 {
    let at = |tokens: &Vec<usize>| {
        let reached = log_probs(policy, tokens).iter().sum::<f64>().exp();
        let (p, q) = (log_softmax(&now[history(tokens)]), log_softmax(&taught[history(tokens)]));
        reached * p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    };
    (0..LENGTH).flat_map(sequences).map(|tokens| at(&tokens)).sum()
}

/// Its gradient with respect to `now` at `policy`, by differences.
fn divergence_gradient(policy: &Table, taught: &Table) -> Table {
    let moved = |at: usize, token: usize, by: f64| {
        let mut now = *policy;
        now[at][token] += by;
        divergence(&now, policy, taught)
    };
    let slope = |at, token| (moved(at, token, 1e-5) - moved(at, token, -1e-5)) / 2e-5;
    std::array::from_fn(|at| std::array::from_fn(|token| slope(at, token)))
}

fn distance(a: &Table, b: &Table) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn the_unclipped_skill_loss_has_the_gradient_of_the_reverse_divergence() {
    for seed in 0..8 {
        let (policy, taught) = (table(seed), table(seed + 100));
        let loss = expected_gradient(&policy, &taught, &SignalShaping::default());
        let exact = divergence_gradient(&policy, &taught);
        assert!(distance(&loss, &exact) < 1e-8, "seed {seed}: {}", distance(&loss, &exact));
        assert!(distance(&loss, &[[0.0; VOCABULARY]; HISTORIES]) > 0.01, "seed {seed}: nothing to compare");
    }
}

#[test]
fn clipping_the_shifts_bounds_the_gradient_and_costs_the_equality() {
    let (policy, taught) = (table(1), table(101));
    let exact = divergence_gradient(&policy, &taught);
    let at =
        |clip| expected_gradient(&policy, &taught, &SignalShaping { normalize: false, clip: Some(clip) });
    // No shift of these tables is larger than 8 nats: their logits lie within 4 of one another.
    assert!(distance(&at(8.0), &exact) < 1e-8);
    assert!(distance(&at(0.5), &exact) > 0.01);
    assert!(at(0.5).iter().flatten().all(|slope| slope.abs() <= 0.5));
}
