//! A finished episode as text of bounded length, for a language model to read.
//!
//! An episode that is too long is shortened by rule, and the text says what is missing: first the middle
//! of long observations and responses goes, ever more of it, then whole steps from the middle of the
//! episode. The beginning shows what the agent knew, the end what it came to.

use crate::trajectory::Trajectory;

/// Longest observation or response, tried in turn until the episode fits; in characters.
const CAPS: [usize; 5] = [usize::MAX, 2000, 1000, 500, 250];
/// Room for the line that says which steps are missing.
const GAP: usize = 100;

/// The text of an episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The text.
    pub text: String,
    /// Whether the text has step `i`.
    pub shown: Vec<bool>,
    /// Whether anything was left out.
    pub shortened: bool,
}

/// The text of an episode in at most `most` characters, or little more where `most` is below 1000.
pub fn excerpt(t: &Trajectory, most: usize) -> Excerpt {
    let steps = |cap: usize| -> Vec<String> { (0..t.turns.len()).map(|i| step(t, i, cap)).collect() };
    let length = |texts: &[String]| texts.iter().map(|text| text.chars().count()).sum::<usize>();
    for cap in CAPS {
        let (texts, ending) = (steps(cap), ending(t, cap));
        if length(&texts) + ending.chars().count() <= most {
            let shown = vec![true; texts.len()];
            return Excerpt { text: texts.concat() + &ending, shown, shortened: cap != usize::MAX };
        }
    }
    let (texts, ending) = (steps(CAPS[4]), ending(t, CAPS[4]));
    let mut room = most.saturating_sub(ending.chars().count() + GAP);
    // From both ends inwards, the last step first.
    let (mut head, mut tail) = (0, texts.len());
    for turn in 0..texts.len() {
        let at = if turn % 2 == 0 { tail - 1 } else { head };
        let length = texts[at].chars().count();
        if length > room {
            break;
        }
        room -= length;
        if turn % 2 == 0 {
            tail -= 1;
        } else {
            head += 1;
        }
    }
    let gap = match tail - head {
        0 => String::new(),
        n => {
            let characters = length(&texts[head..tail]);
            format!("[steps {head} to {} left out: {n} steps, {characters} characters]\n\n", tail - 1)
        }
    };
    let text = [&texts[..head].concat(), &gap, &texts[tail..].concat(), &ending].map(String::as_str).concat();
    Excerpt { text, shown: (0..texts.len()).map(|i| i < head || i >= tail).collect(), shortened: true }
}

/// A text without its middle, if it is longer than `most` characters.
pub fn cut(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let (head, tail) = (most * 3 / 5, most - most * 3 / 5);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start} [... {} characters left out ...] {end}", length - most)
}

/// What one step saw and said.
fn step(t: &Trajectory, i: usize, cap: usize) -> String {
    let turn = &t.turns[i];
    let note = match (turn.ended, turn.valid) {
        (false, _) => "(The response was cut off at its length limit.)\n",
        (true, false) => "(The response holds no valid command.)\n",
        (true, true) => "",
    };
    let (observation, response) = (cut(turn.observation.trim(), cap), cut(turn.text.trim(), cap));
    format!("Step {i}\nObservation: {observation}\nResponse: {response}\n{note}\n")
}

/// What the environment said last.
fn ending(t: &Trajectory, cap: usize) -> String {
    format!("After the last step: {}", cut(t.last_observation.trim(), cap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::trajectory::{Ending, Turn};

    fn episode(turns: usize, characters: usize) -> Trajectory {
        let turn = |i: usize| Turn {
            text: format!("<action>act {i}</action>"),
            action: format!("act {i}"),
            valid: i != 1,
            ended: true,
            ..Turn::open(format!("seen {i} {}", "\u{e9}".repeat(characters)), None, Vec::new())
        };
        Trajectory {
            group: 0,
            member: 0,
            task: "task".into(),
            kind: "kind".into(),
            goal: "goal".into(),
            layout: Layout::Transcript,
            turns: (0..turns).map(turn).collect(),
            last_observation: "the end".into(),
            won: false,
            score: 0.0,
            reward: 0.0,
            ending: Ending::TurnLimit,
        }
    }

    #[test]
    fn a_short_episode_is_whole() {
        let e = excerpt(&episode(3, 10), 10_000);
        assert!(!e.shortened && e.shown == [true; 3]);
        for part in ["Step 0", "act 2", "no valid command", "After the last step: the end"] {
            assert!(e.text.contains(part), "{}", e.text);
        }
    }

    #[test]
    fn long_texts_lose_their_middle_before_steps_are_left_out() {
        let e = excerpt(&episode(4, 3000), 10_000);
        assert!(e.shortened && e.shown == [true; 4], "{:?}", e.shown);
        assert!(e.text.contains("characters left out ...]"), "{}", e.text);
        assert!(e.text.chars().count() <= 10_000);
    }

    #[test]
    fn the_first_and_last_steps_are_kept() {
        let e = excerpt(&episode(40, 3000), 3000);
        assert!(e.text.chars().count() <= 3000, "{}", e.text.chars().count());
        let missing = e.shown.iter().filter(|shown| !**shown).count();
        assert!(e.shown[0] && e.shown[39] && missing > 0 && !e.shown[20], "{:?}", e.shown);
        let head = e.shown.iter().position(|shown| !shown).expect("a gap");
        let says = format!("[steps {head} to {} left out: {missing} steps,", head + missing - 1);
        assert!(e.text.contains(&says), "{says}\n{}", e.text);
    }
}
