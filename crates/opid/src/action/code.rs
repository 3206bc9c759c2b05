//! A piece of a program between `<code>` and `</code>`: AppWorld. Case and blanks are kept.

use super::{Action, between, tail};

/// Characters sent when a response has no program.
const TAIL: usize = 100;

/// Reads a response; `thought` says that it holds the reasoning that is asked for.
pub(super) fn parse(response: &str, thought: bool) -> Action {
    match between(response, "<code>", "</code>") {
        Some(code) => Action { command: code.to_owned(), valid: thought },
        None => Action::invalid(tail(response, TAIL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (response, thought, command, valid) in [
            ("<code>\nx = 1\n</code>", true, "\nx = 1\n", true),
            ("<code>x</code>", false, "x", false),
            ("<CODE>x</CODE>", true, "<CODE>x</CODE>", false),
        ] {
            let got = parse(response, thought);
            assert_eq!((got.command.as_str(), got.valid), (command, valid), "{response}");
        }
    }
}
