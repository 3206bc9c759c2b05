//! The episodes of a training step in full: every turn with its tokens, what each weighed, and where skills were put.

use std::collections::HashMap;

use opid::dialogue::Dialogue;
use opid::layout::Layout;
use opid::prompt::Scene;
use opid::record::{SkillAdvantage, Stored, TurnAdvantages, stored};
use opid_lm::tokenizer::Tokenizer;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::run::{Run, ViewError};
use crate::summary::significant;

/// Characters of the history that are shown on either side of a skill.
const AROUND: usize = 240;

/// Makes the episodes of a run readable.
pub struct Reader {
    /// Absent where the starting policy, whose tokenizer and templates it takes, is gone.
    dialogue: Option<Dialogue>,
    /// Why it is absent.
    reason: Option<String>,
}

impl Reader {
    /// A reader for a run, with the tokenizer of its starting policy.
    pub fn new(run: &Run) -> Reader {
        let folder = run.path.join("checkpoints/step_0");
        let opened = match &run.recipe {
            None => Err("its config.toml is another version's".to_owned()),
            Some(_) if !folder.is_dir() => {
                Err("checkpoints/step_0, whose tokenizer is needed, is not there".to_owned())
            }
            Some(recipe) => Dialogue::open(&folder, recipe).map_err(|error| error.to_string()),
        };
        match opened {
            Ok(dialogue) => Reader { dialogue: Some(dialogue), reason: None },
            Err(reason) => Reader { dialogue: None, reason: Some(reason) },
        }
    }

    /// The episodes of a step, in the order of their file; `reason` says why there are no single tokens, if there are
    /// none.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn read(&self, run: &Run, step: u64) -> Result<Value, ViewError> {
        let episodes = stored(&run.path, step)?;
        let described: Vec<Value> = episodes.par_iter().map(|episode| self.episode(episode)).collect();
        Ok(json!({ "step": step, "reason": self.reason, "episodes": described }))
    }

    fn episode(&self, stored: &Stored) -> Value {
        let t = &stored.trajectory;
        let turns: Vec<Value> = (0..t.turns.len()).map(|turn| self.turn(stored, turn)).collect();
        let skill = stored.analysis.as_ref().map(|analysis| &analysis.episode_skill);
        json!({
            "group": t.group, "member": t.member, "task": t.task, "kind": t.kind, "goal": t.goal,
            "won": t.won, "score": t.score, "reward": t.reward, "ending": t.ending, "layout": t.layout,
            "last_observation": t.last_observation,
            "summary": stored.analysis.as_ref().map(|analysis| &analysis.summary),
            "episode_skill": skill,
            "turns": turns,
        })
    }

    fn turn(&self, stored: &Stored, number: usize) -> Value {
        let (t, turn) = (&stored.trajectory, &stored.trajectory.turns[number]);
        let advantages = stored.turn_advantages.get(number);
        let step_skill = stored.analysis.as_ref().and_then(|analysis| analysis.step_skills.get(&number));
        let pieces =
            self.dialogue.as_ref().map(|dialogue| pieces(dialogue.chat().tokenizer(), &turn.response));
        let mut described = json!({
            "observation": turn.observation,
            "text": turn.text,
            "action": turn.action,
            "valid": turn.valid,
            "ended": turn.ended,
            "prompt": turn.prompt.len(),
            "pieces": pieces,
            "old": turn.logprobs.iter().map(|&l| short(l)).collect::<Vec<_>>(),
        });
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                described[key] = value;
            }
        };
        set("admissible", turn.admissible.as_ref().map(|commands| json!(commands)));
        set("cut", (turn.cut > 0).then(|| json!(turn.cut)));
        set("step_skill", step_skill.map(|skill| json!(skill)));
        if let Some(TurnAdvantages { outcome, episode_skill, step_skill }) = advantages {
            set("outcome", Some(numbers(outcome)));
            set("episode", episode_skill.as_ref().map(part));
            set("step", step_skill.as_ref().map(part));
        }
        let routed = |of: fn(&TurnAdvantages) -> bool| advantages.is_some_and(of);
        let analysis = stored.analysis.as_ref();
        let scene = Scene::of(t, number);
        // A transcript shows the episode's skill in its first message only.
        let shows_episode = match t.layout {
            Layout::Transcript => {
                number == 0 && stored.turn_advantages.iter().any(|turn| turn.episode_skill.is_some())
            }
            Layout::Window => routed(|turn| turn.episode_skill.is_some()),
        };
        if let Some(analysis) = analysis.filter(|_| shows_episode) {
            let scene = Scene { episode_skill: Some(&analysis.episode_skill), ..scene };
            set("episode_injection", self.injection(scene, &turn.prompt));
        }
        if let Some(skill) = step_skill.filter(|_| routed(|turn| turn.step_skill.is_some())) {
            let scene = Scene { step_skill: Some(skill), ..scene };
            set("step_injection", self.injection(scene, &turn.prompt));
        }
        described
    }

    /// What a skill adds to the prompt of a turn, with some of what stands around it; nothing where the prompt cannot
    /// be made again.
    fn injection(&self, scene: Scene<'_>, plain: &[u32]) -> Option<Value> {
        let dialogue = self.dialogue.as_ref()?;
        let with = dialogue.prompt_with_skill(scene).ok()??;
        let (plain, with) = (dialogue.text(plain).ok()?, dialogue.text(&with.tokens).ok()?);
        let Difference { before, removed, inserted, after } = difference(&plain, &with);
        Some(json!({
            "before": ending(before, AROUND), "removed": removed, "inserted": inserted, "after": beginning(after, AROUND),
        }))
    }
}

fn part(part: &SkillAdvantage) -> Value {
    json!({
        "advantage": numbers(&part.advantage),
        "logprobs": part.logprobs.iter().map(|&l| short(l)).collect::<Vec<_>>(),
    })
}

/// A number for every token, or one where all are the same.
fn numbers(values: &[f32]) -> Value {
    match values {
        [first, rest @ ..] if rest.iter().all(|value| value == first) => json!(short(*first)),
        values => json!(values.iter().map(|&value| short(value)).collect::<Vec<_>>()),
    }
}

/// A number of a token, as it is shown.
fn short(value: f32) -> f64 {
    significant(f64::from(value), 4)
}

/// The text of every token, so that all together are the text of the response with its special tokens. Bytes of a
/// character that several tokens make up stand with the last of them.
fn pieces(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<String> {
    let mut known: HashMap<u32, String> = HashMap::new();
    let decode = |tokens: &[u32]| tokenizer.decode(tokens, false).unwrap_or_default();
    let mut pieces = Vec::with_capacity(tokens.len());
    let mut open = 0;
    for (i, &token) in tokens.iter().enumerate() {
        let text = match open == i {
            true => known.entry(token).or_insert_with(|| decode(&[token])).clone(),
            false => decode(&tokens[open..=i]),
        };
        // An unfinished character ends with U+FFFD; it has at most four bytes, hence tokens.
        if text.ends_with('\u{fffd}') && i - open < 4 && i + 1 < tokens.len() {
            pieces.push(String::new());
        } else {
            pieces.push(text);
            open = i + 1;
        }
    }
    pieces
}

/// Two texts that differ in one place.
#[derive(Debug, PartialEq)]
struct Difference<'a> {
    before: &'a str,
    removed: &'a str,
    inserted: &'a str,
    after: &'a str,
}

/// The place where two texts differ: after what they begin with alike, before what they end with alike.
fn difference<'a>(old: &'a str, new: &'a str) -> Difference<'a> {
    let alike = |mut pairs: Box<dyn Iterator<Item = (char, char)> + '_>| {
        let mut bytes = 0;
        while let Some((a, b)) = pairs.next()
            && a == b
        {
            bytes += a.len_utf8();
        }
        bytes
    };
    let start = alike(Box::new(old.chars().zip(new.chars())));
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = alike(Box::new(old_rest.chars().rev().zip(new_rest.chars().rev())));
    Difference {
        before: &old[..start],
        removed: &old_rest[..old_rest.len() - end],
        inserted: &new_rest[..new_rest.len() - end],
        after: &old_rest[old_rest.len() - end..],
    }
}

/// The last characters of a text, with a sign where some are left out.
fn ending(text: &str, most: usize) -> String {
    match text.char_indices().rev().nth(most) {
        Some((at, c)) => format!("\u{2026}{}", &text[at + c.len_utf8()..]),
        None => text.to_owned(),
    }
}

/// The first characters of a text, with a sign where some are left out.
fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}\u{2026}", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use opid_lm::tokenizer::Vocabulary;

    use super::*;

    #[test]
    fn a_difference_is_one_place() {
        for (old, new, before, removed, inserted, after) in [
            ("ab", "aXb", "a", "", "X", "b"),
            ("aab", "aaab", "aa", "", "a", "b"),
            ("", "new", "", "", "new", ""),
            ("same", "same", "same", "", "", ""),
            ("a old z", "a néw z", "a ", "old", "néw", " z"),
        ] {
            assert_eq!(difference(old, new), Difference { before, removed, inserted, after }, "{old} {new}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!((ending("äöü", 2), beginning("äöü", 2)), ("…öü".to_owned(), "äö…".to_owned()));
        assert_eq!((ending("äöü", 3), beginning("äöü", 3)), ("äöü".to_owned(), "äöü".to_owned()));
    }

    #[test]
    fn pieces_make_up_the_text() {
        let corpus = ["look around the room", "take mug 1"].map(str::to_owned);
        let text = "take \u{1f600} näh mug";
        let tokenizer =
            Tokenizer::train(corpus.into_iter(), &Vocabulary { size: 300, ..Vocabulary::default() })
                .expect("a tokenizer");
        let tokens = tokenizer.encode(text).expect("tokens");
        let pieces = pieces(&tokenizer, &tokens);
        assert_eq!(pieces.len(), tokens.len());
        assert_eq!(pieces.concat(), text);
    }
}
