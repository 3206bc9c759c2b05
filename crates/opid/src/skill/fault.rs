//! What the readings of all environments do with the faults they find in an episode.

use std::cmp::Reverse;

/// How often a fault was made.
fn count<F: PartialEq>(faults: &[F], fault: F) -> usize {
    faults.iter().filter(|other| **other == fault).count()
}

/// The faults that were made, each once, the gravest first.
fn kinds<F: Copy + Ord>(faults: &[F]) -> Vec<F> {
    let mut kinds = faults.to_vec();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The gravest fault, then the most frequent other one (of equals the gravest).
pub(super) fn worst<F: Copy + Ord>(faults: &[F]) -> Vec<F> {
    let kinds = kinds(faults);
    let frequent = kinds.iter().skip(1).max_by_key(|fault| (count(faults, **fault), Reverse(**fault)));
    kinds.first().into_iter().chain(frequent).copied().collect()
}

/// What happened, for people: the outcome, how long it took, and every fault with its number.
pub(super) fn summary<F: Copy + Ord>(
    won: bool,
    taken: &str,
    faults: &[F],
    name: fn(F) -> &'static str,
) -> String {
    let mut text = format!("{} after {taken}", if won { "won" } else { "lost" });
    for fault in kinds(faults) {
        text.push_str(&format!("; {}: {}", name(fault), count(faults, fault)));
    }
    text
}
