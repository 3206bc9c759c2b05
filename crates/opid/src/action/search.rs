//! A query between `<search>` tags or an answer between `<answer>` tags: search QA.
//!
//! What follows the first `</search>` (where there is none, the first `</answer>`) is not read. A query goes
//! before an answer; the command keeps its tags. Two opening tags, of one kind or of both, make a response
//! invalid. Reasoning is not required.

use super::{Action, stripped};

/// Reads a response.
pub(super) fn parse(response: &str) -> Action {
    let lower = response.to_ascii_lowercase();
    let count = |tag: &str| lower.matches(tag).count();
    let valid = count("<search>") + count("<answer>") <= 1;
    let cut = ["</search>", "</answer>"].into_iter().find_map(|tag| Some(response.find(tag)? + tag.len()));
    let read = cut.unwrap_or(response.len());
    for kind in ["search", "answer"] {
        let (open, close) = (format!("<{kind}>"), format!("</{kind}>"));
        let block = lower[..read].find(&open).and_then(|at| {
            let start = at + open.len();
            Some(start..start + lower[start..read].find(&close)?)
        });
        if let Some(block) = block {
            return Action { command: format!("{open}{}{close}", stripped(&response[block])), valid };
        }
    }
    Action::invalid("")
}

#[cfg(test)]
mod tests {
    use super::*;

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
