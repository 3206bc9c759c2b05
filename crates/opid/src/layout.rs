//! How the history of an episode is laid out for the policy: as one growing conversation, or as a fresh
//! prompt for every turn that shows the last few of them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The two layouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// One conversation that only grows: each turn adds its message and its response.
    #[default]
    Transcript,
    /// A prompt made afresh for every turn, from the task, the last turns and the present observation, as
    /// the reference does.
    Window,
}

impl Layout {
    /// Whether this is the transcript, which records leave unsaid.
    pub fn is_transcript(&self) -> bool {
        *self == Layout::Transcript
    }
}

/// The earlier turns that a window of `most` turns shows before turn `turn` (from 0).
pub fn window(turn: usize, most: usize) -> Range<usize> {
    turn.saturating_sub(most)..turn
}

/// The number of tokens that two prompts begin with alike.
pub fn in_common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What is left out of a prompt that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// Its beginning, as in the scripts of the reference.
    #[default]
    Left,
    /// Its end.
    Right,
    /// Its middle.
    Middle,
    /// Nothing: the run stops.
    Error,
}

impl Truncation {
    /// Shortens `tokens` to `most`; `None` if they are too many and nothing may be left out.
    pub fn apply(self, tokens: Vec<u32>, most: usize) -> Option<Vec<u32>> {
        let length = tokens.len();
        if length <= most {
            return Some(tokens);
        }
        let (head, tail) = match self {
            Truncation::Left => (0, most),
            Truncation::Right => (most, 0),
            Truncation::Middle => (most / 2, most - most / 2),
            Truncation::Error => return None,
        };
        Some([&tokens[..head], &tokens[length - tail..]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_the_last_turns() {
        assert_eq!([window(0, 2), window(1, 2), window(5, 2), window(5, 0)], [0..0, 0..1, 3..5, 5..5]);
    }

    #[test]
    fn prompts_that_are_too_long_are_shortened() {
        let cut = |truncation: Truncation, most| truncation.apply((1..=7).collect(), most);
        assert_eq!(cut(Truncation::Left, 3), Some(vec![5, 6, 7]));
        assert_eq!(cut(Truncation::Right, 3), Some(vec![1, 2, 3]));
        assert_eq!(cut(Truncation::Middle, 3), Some(vec![1, 6, 7]));
        assert_eq!(cut(Truncation::Error, 3), None);
        assert_eq!(cut(Truncation::Error, 7), Some((1..=7).collect()));
    }
}
