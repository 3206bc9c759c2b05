//! A move by its name between `<action>` and `</action>`: Sokoban. The command is the move's number.

use super::{Action, between};

/// The moves, in the order they are looked for, and their numbers.
const MOVES: [(&str, &str); 5] =
    [("up", "1"), ("down", "2"), ("left", "3"), ("right", "4"), ("still", STILL)];
/// What is sent when a response names no move.
const STILL: &str = "0";

/// Reads a response; `thought` says that it holds the reasoning that is asked for.
pub(super) fn parse(response: &str, thought: bool) -> Action {
    let lower = response.to_lowercase();
    let words = between(&lower, "<action>", "</action>").unwrap_or_default();
    match MOVES.into_iter().find(|(name, _)| words.contains(name)) {
        Some((_, number)) => Action { command: number.to_owned(), valid: thought },
        None => Action::invalid(STILL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (response, thought, command, valid) in [
            ("<action>UP then down</action>", true, "1", true),
            ("<action>right</action>", false, "4", false),
            ("<action>jump</action>", true, "0", false),
            ("left", true, "0", false),
        ] {
            let got = parse(response, thought);
            assert_eq!((got.command.as_str(), got.valid), (command, valid), "{response}");
        }
    }
}
