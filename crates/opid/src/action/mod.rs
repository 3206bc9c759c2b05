//! From a response to an action: how each environment's responses are read, as the reference reads them
//! (its `projection.py` files).

mod cards;
mod code;
mod command;
pub(crate) mod search;
mod sokoban;

pub use cards::Cards;
pub use command::Commands;

/// What a response asks the environment to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The command sent to the environment.
    pub command: String,
    /// Whether the response has the required form.
    pub valid: bool,
}

impl Action {
    /// A response without the required form, and what is sent all the same.
    fn invalid(command: impl Into<String>) -> Action {
        Action { command: command.into(), valid: false }
    }
}

/// How the responses of an environment are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A command in words: ALFWorld, household games, SciWorld, WebShop.
    Commands(Commands),
    /// A query or an answer: search QA.
    Search,
    /// A move by its name: Sokoban.
    Sokoban,
    /// One of a few moves in a JSON object: card games.
    Cards(Cards),
    /// A piece of a program: AppWorld.
    Code,
}

/// The grammar of every environment that the reference knows, and of our own.
const GRAMMARS: [(&str, Grammar); 11] = [
    ("household", Grammar::Commands(Commands::Household)),
    ("alfworld", Grammar::Commands(Commands::Household)),
    ("sciworld", Grammar::Commands(Commands::Household)),
    ("webshop", Grammar::Commands(Commands::Shop)),
    ("search", Grammar::Search),
    ("sokoban", Grammar::Sokoban),
    ("gym_cards/NumberLine-v0", Grammar::Cards(Cards::NumberLine)),
    ("gym_cards/Blackjack-v0", Grammar::Cards(Cards::Blackjack)),
    ("gym_cards/EZPoints-v0", Grammar::Cards(Cards::EzPoints)),
    ("gym_cards/Points24-v0", Grammar::Cards(Cards::Points24)),
    ("appworld", Grammar::Code),
];

impl Grammar {
    /// The grammar of an environment.
    pub fn of(environment: &str) -> Option<Grammar> {
        GRAMMARS.iter().find(|(name, _)| *name == environment).map(|(_, grammar)| *grammar)
    }

    /// What a command stands between in a response.
    pub fn tags(self) -> &'static [&'static str] {
        match self {
            Grammar::Search => &["<search>", "</search>", "<answer>", "</answer>"],
            _ => &["<action>", "</action>"],
        }
    }

    /// A response that gives a command, after a `thought` if there is one (which may be empty), in pieces: their text,
    /// and whether they are tags.
    pub fn response<'a>(self, thought: Option<&'a str>, command: &'a str) -> Vec<(&'a str, bool)> {
        let thought = thought.map(|thought| [("<think>", true), (thought, false), ("</think>", true)]);
        let mut pieces: Vec<(&str, bool)> = thought.into_iter().flatten().collect();
        pieces.extend(self.command(command));
        pieces
    }

    fn command(self, command: &str) -> Vec<(&str, bool)> {
        match self {
            // The command brings its tags along.
            Grammar::Search => match search::parts(command) {
                Some((open, inside, close)) => vec![(open, true), (inside, false), (close, true)],
                None => vec![(command, false)],
            },
            _ => vec![("<action>", true), (command, false), ("</action>", true)],
        }
    }

    /// A command as a skill words it: without tags.
    pub fn words(self, command: &str) -> String {
        match self {
            Grammar::Search => search::words(command),
            _ => command.to_owned(),
        }
    }

    /// Reads the action of a response. With `thinking`, where an environment asks for reasoning, a response
    /// without both `<think>` and `</think>` is invalid.
    pub fn parse(self, response: &str, thinking: bool) -> Action {
        let thought = !thinking || (response.contains("<think>") && response.contains("</think>"));
        match self {
            Grammar::Commands(kind) => kind.parse(response, thought),
            Grammar::Search => search::parse(response),
            Grammar::Sokoban => sokoban::parse(response, thought),
            Grammar::Cards(game) => game.parse(response),
            Grammar::Code => code::parse(response, thought),
        }
    }

    /// Whether the environment admits a command, given those it lists. Programs, queries and answers are
    /// free; so is what a shop is searched for, where it lists a search.
    pub fn admits(self, command: &str, admissible: &[String]) -> bool {
        match self {
            Grammar::Search | Grammar::Code => true,
            Grammar::Commands(Commands::Shop) if command.starts_with("search[") && command.ends_with(']') => {
                admissible.iter().any(|listed| listed.starts_with("search["))
            }
            _ => admissible.iter().any(|listed| listed == command),
        }
    }
}

/// The last `count` characters of a text.
fn tail(text: &str, count: usize) -> String {
    let skip = text.chars().count().saturating_sub(count);
    text.chars().skip(skip).collect()
}

/// The text between the first `open` and the first `close`; empty if the latter comes first, nothing where
/// one is missing.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (start, end) = (text.find(open)? + open.len(), text.find(close)?);
    Some(text.get(start..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use opid_env::catalog;

    use super::*;

    #[test]
    fn every_environment_has_a_grammar() {
        for name in catalog::NAMES {
            assert!(Grammar::of(name).is_some(), "{name}");
        }
        assert_eq!(Grammar::of("chess"), None);
    }

    #[test]
    fn responses_are_read_as_they_are_written() {
        for (environment, command) in
            [("alfworld", "take mug 1"), ("webshop", "click[buy now]"), ("search", "<answer>Ann</answer>")]
        {
            let grammar = Grammar::of(environment).unwrap();
            for thought in [None, Some(""), Some("Ann was here.")] {
                let pieces = grammar.response(thought, command);
                let text: String = pieces.iter().map(|(text, _)| *text).collect();
                let action = Action { command: command.to_owned(), valid: true };
                assert_eq!(grammar.parse(&text, thought.is_some()), action, "{text}");
                // What is thought is text, whatever it says.
                assert!(pieces.iter().all(|(text, is_tag)| *is_tag == text.starts_with('<')), "{pieces:?}");
            }
        }
    }

    #[test]
    fn strict_environments_admit_what_they_list() {
        let listed = ["look".to_owned(), "search[<your query>]".to_owned()];
        for (environment, command, admitted) in [
            ("alfworld", "look", true),
            ("alfworld", "fly", false),
            ("alfworld", "search[red mug]", false),
            ("webshop", "search[red mug]", true),
            ("webshop", "click[buy now]", false),
            ("search", "<search>anything</search>", true),
        ] {
            let grammar = Grammar::of(environment).unwrap();
            assert_eq!(grammar.admits(command, &listed), admitted, "{environment}: {command}");
        }
        assert!(!Grammar::of("webshop").unwrap().admits("search[red mug]", &listed[..1]));
    }
}
