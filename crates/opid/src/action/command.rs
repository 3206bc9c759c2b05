//! Commands in words between `<action>` and `</action>`: ALFWorld, household games, SciWorld, WebShop.
//!
//! The response is lower-cased; the command is what stands between the first of each tag, stripped. Without
//! both tags the end of the response is sent, and it is invalid. So is a response with a character of
//! U+4E00 to U+9FFF. Whether the command exists is not looked at.

use opid_env::python::strip;

use super::{Action, between, tail};

/// Whose commands are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commands {
    /// ALFWorld, household games and SciWorld.
    Household,
    /// WebShop.
    Shop,
}

impl Commands {
    /// Characters sent when a response has no command.
    fn tail(self) -> usize {
        match self {
            Commands::Household => 30,
            Commands::Shop => 20,
        }
    }

    /// Reads a response; `thought` says that it holds the reasoning that is asked for.
    pub(super) fn parse(self, response: &str, thought: bool) -> Action {
        let lower = response.to_lowercase();
        match between(&lower, "<action>", "</action>") {
            None => Action::invalid(tail(&lower, self.tail())),
            Some(command) => {
                let foreign = response.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
                Action { command: strip(command).to_owned(), valid: thought && !foreign }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (response, thought, command, valid) in [
            ("<action>go to Bed 1</action>", true, "go to bed 1", true),
            ("<action> look </action> more", false, "look", false),
            ("<think>a</think><action>look</action>", true, "look", true),
            ("go to bed 1", true, "go to bed 1", false),
            ("0123456789012345678901234567890123456789", true, "012345678901234567890123456789", false),
            ("</action><action>", true, "", true),
            ("<action>看</action>", true, "看", false),
        ] {
            let got = Commands::Household.parse(response, thought);
            assert_eq!((got.command.as_str(), got.valid), (command, valid), "{response}");
        }
    }
}
