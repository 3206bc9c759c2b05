//! From a response to an action.

/// What a response asks the environment to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The command sent to the environment.
    pub command: String,
    /// Whether the response has the required form.
    pub valid: bool,
}

/// Characters sent to the environment when a response has no action.
const TAIL: usize = 30;

/// Reads the action of a response, as the reference does (`projection.py` of its ALFWorld
/// environment): the lower-cased text between the first `<action>` and the first `</action>`; without
/// both, the last 30 characters, invalid.
///
/// With `thinking`, a response without both `<think>` and `</think>` is invalid. A response with a
/// character of U+4E00 to U+9FFF is invalid, too.
pub fn parse(response: &str, thinking: bool) -> Action {
    let lower = response.to_lowercase();
    let (start, end) = match (lower.find("<action>"), lower.find("</action>")) {
        (Some(start), Some(end)) => (start + "<action>".len(), end),
        _ => {
            let skip = lower.chars().count().saturating_sub(TAIL);
            return Action { command: lower.chars().skip(skip).collect(), valid: false };
        }
    };
    let command = if start <= end { lower[start..end].trim() } else { "" };
    let thought = !thinking || (response.contains("<think>") && response.contains("</think>"));
    let foreign = response.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    Action { command: command.to_owned(), valid: thought && !foreign }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (response, thinking, command, valid) in [
            ("<action>go to Bed 1</action>", false, "go to bed 1", true),
            ("<action> look </action> more", true, "look", false),
            ("<think>a</think><action>look</action>", true, "look", true),
            ("go to bed 1", false, "go to bed 1", false),
            ("0123456789012345678901234567890123456789", false, "012345678901234567890123456789", false),
            ("</action><action>", false, "", true),
            ("<action>看</action>", false, "看", false),
        ] {
            let got = parse(response, thinking);
            assert_eq!((got.command.as_str(), got.valid), (command, valid), "{response}");
        }
    }
}
