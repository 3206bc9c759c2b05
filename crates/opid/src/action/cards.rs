//! One of a few moves after `"action":`, as in a JSON object: card games. The command is the move's number.

use super::Action;

/// The games.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cards {
    /// A number is moved up or down.
    NumberLine,
    /// Hit or stand.
    Blackjack,
    /// A sum to 12 from two cards.
    EzPoints,
    /// A sum to 24 from four cards.
    Points24,
}

/// What is sent when a response does not name exactly one move.
const NONE: &str = "-1";

impl Cards {
    /// The moves by number.
    fn moves(self) -> &'static [&'static str] {
        match self {
            Cards::NumberLine => &["-", "+"],
            Cards::Blackjack => &["stand", "hit"],
            Cards::EzPoints => &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "+", "*", "="],
            Cards::Points24 => {
                &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "+", "-", "*", "/", "(", ")", "="]
            }
        }
    }

    /// Reads a response. A ten is looked for first, and is no one.
    pub(super) fn parse(self, response: &str) -> Action {
        let lower = response.to_lowercase();
        let Some((_, said)) = lower.split_once("\"action\":") else { return Action::invalid(NONE) };
        let rest = said.replace("10", "");
        let named = |name: &str| if name == "10" { said.contains(name) } else { rest.contains(name) };
        let mut found =
            (0..).zip(self.moves()).filter(|(_, name)| named(name)).map(|(number, _): (u32, _)| number);
        match (found.next(), found.next()) {
            (Some(number), None) => Action { command: number.to_string(), valid: true },
            _ => Action::invalid(NONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (game, response, command, valid) in [
            (Cards::Blackjack, "{\"action\": \"HIT\"}", "1", true),
            (Cards::Blackjack, "{\"action\": \"hit or stand\"}", "-1", false),
            (Cards::Points24, "\"action\": \"10\"", "9", true),
            (Cards::Points24, "\"action\": \"10\" 1", "-1", false),
            (Cards::NumberLine, "+", "-1", false),
        ] {
            let got = game.parse(response);
            assert_eq!((got.command.as_str(), got.valid), (command, valid), "{response}");
        }
    }
}
