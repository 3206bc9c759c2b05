//! A query between `<search>` tags or an answer between `<answer>` tags: search QA.
//!
//! What follows the first `</search>` (where there is none, the first `</answer>`) is not read. A query goes
//! before an answer; the command keeps its tags. Two opening tags, of one kind or of both, make a response
//! invalid. Reasoning is not required. Case does not matter in tags, but for the first closing one, as in the reference.

use std::sync::LazyLock;

use opid_env::python::strip;
use regex::Regex;

use super::Action;

/// Opening tags, which are counted.
static OPENING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("(?i)<(?:search|answer)>").expect("a valid pattern"));
/// A whole block of each kind, in the order in which they count.
static BLOCKS: LazyLock<[(&str, Regex); 2]> = LazyLock::new(|| {
    ["search", "answer"]
        .map(|kind| (kind, Regex::new(&format!("(?is)<{kind}>(.*?)</{kind}>")).expect("a valid pattern")))
});

/// Reads a response.
pub(super) fn parse(response: &str) -> Action {
    let valid = OPENING.find_iter(response).count() <= 1;
    let cut = ["</search>", "</answer>"].into_iter().find_map(|tag| Some(response.find(tag)? + tag.len()));
    let read = &response[..cut.unwrap_or(response.len())];
    let block = BLOCKS.iter().find_map(|(kind, block)| Some((kind, block.captures(read)?.get(1)?.as_str())));
    match block {
        Some((kind, inside)) => Action { command: format!("<{kind}>{}</{kind}>", strip(inside)), valid },
        None => Action::invalid(""),
    }
}

/// Opening tag, inside and closing tag of a command.
pub(super) fn parts(command: &str) -> Option<(&'static str, &str, &'static str)> {
    [("<search>", "</search>"), ("<answer>", "</answer>")]
        .into_iter()
        .find_map(|(open, close)| Some((open, command.strip_prefix(open)?.strip_suffix(close)?, close)))
}

/// A command without its tags, as a skill words it: `search X` or `answer X`.
pub(crate) fn words(command: &str) -> String {
    match parts(command) {
        Some((open, inside, _)) => format!("{} {inside}", open.trim_matches(['<', '>'])),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_as_they_are_read() {
        for command in ["<search>who</search>", "<answer>Ann Bel</answer>"] {
            let (open, inside, close) = parts(command).expect("parts");
            let response = format!("{open}{inside}{close}");
            assert_eq!(parse(&response), Action { command: command.to_owned(), valid: true });
        }
        assert_eq!(words("<search>who</search>"), "search who");
        assert_eq!((parts("who"), words("who")), (None, "who".to_owned()));
    }

    #[test]
    fn forms() {
        for (response, command, valid) in [
            ("<think>t</think><search> who </search>", "<search>who</search>", true),
            ("<ANSWER>Paris</ANSWER>", "<answer>Paris</answer>", true),
            ("<answer>b</answer><search>a</search>", "<search>a</search>", false),
            ("<search>unclosed", "", false),
        ] {
            let got = parse(response);
            assert_eq!((got.command.as_str(), got.valid), (command, valid), "{response}");
        }
    }
}
