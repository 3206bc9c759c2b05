//! The built-in analyzer for questions about the made-up world: skills from the text of a finished episode.
//!
//! Such a question says which things have to be looked up, one after the other. Every advice for a step is drawn from
//! the passages shown before it: who has read enough is to answer, who has not is to look up the next thing.

use std::collections::BTreeMap;

use opid_env::search::answer::{blocks, exact_match, last};
use opid_env::search::quiz::Path;

use super::fault;
use super::hindsight::Analysis;
use super::phrases::{DO, PLAN, REMEMBER, THEN};
use crate::action::search::words;
use crate::trajectory::Trajectory;

const LOOK_UP: &str = "look up ";
const AND_THEN: &str = "look up who or what it leads to";
const ANSWER: &str = "answer with what the passage says";
const NO_GUESS: &str = "answer only what a passage says";
const ONE_THING: &str = "search for one name at a time";
const NOT_AGAIN: &str = "search for the next name and not again for the same";
const ENOUGH: &str = "answer at once when a passage says it";
const TAGS: &str = "write one search or one answer between its tags";

/// Every fixed part, for training a tokenizer.
pub const PHRASES: [&str; 12] =
    [DO, PLAN, REMEMBER, THEN, LOOK_UP, AND_THEN, ANSWER, NO_GUESS, ONE_THING, NOT_AGAIN, ENOUGH, TAGS];

/// What was wrong with a step, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It answered before it could know.
    Guess,
    /// It knew, and answered something else.
    WrongAnswer,
    /// It knew, and searched on.
    Late,
    /// It searched for something that does not lead on.
    Astray,
    /// It searched for the same again.
    Repeat,
    /// It neither searched nor answered.
    Form,
}

impl Fault {
    /// How the summary names it.
    fn name(self) -> &'static str {
        match self {
            Fault::Guess => "answer guessed",
            Fault::WrongAnswer => "wrong answer",
            Fault::Late => "searched on although all was known",
            Fault::Astray => "search that does not lead on",
            Fault::Repeat => "same search again",
            Fault::Form => "neither search nor answer",
        }
    }

    /// What to remember next time.
    fn reminder(self) -> &'static str {
        match self {
            Fault::Guess | Fault::WrongAnswer => NO_GUESS,
            Fault::Late => ENOUGH,
            Fault::Astray => ONE_THING,
            Fault::Repeat => NOT_AGAIN,
            Fault::Form => TAGS,
        }
    }
}

/// Draws skills from the record of an episode, at most `most` for steps; nothing where its question is none of the
/// made-up world.
pub fn read(t: &Trajectory, most: usize) -> Option<Analysis> {
    let path = Path::parse(&t.goal)?;
    let mut pages = String::new();
    let mut queries: Vec<&str> = Vec::new();
    let (mut faults, mut ranked) = (Vec::new(), Vec::new());
    for (number, turn) in t.turns.iter().enumerate() {
        let known = path.follow(&pages);
        let right = match &known {
            Ok(answer) => format!("<answer>{answer}</answer>"),
            Err(next) => format!("<search>{next}</search>"),
        };
        let before = pages.len();
        pages.push_str(&passages(t.answer(number)));
        let query = blocks(&turn.action, "search").next();
        let fault = match (last(&turn.action), query, &known) {
            (Some(said), _, Ok(answer)) => {
                (!exact_match(said, [answer.as_str()])).then_some(Fault::WrongAnswer)
            }
            (Some(_), _, Err(_)) => Some(Fault::Guess),
            (None, Some(_), Ok(_)) => Some(Fault::Late),
            (None, Some(query), Err(next)) if queries.contains(&query) && query != next => {
                Some(Fault::Repeat)
            }
            // A search that finds what is wanted is right, whatever its words.
            (None, Some(_), Err(next)) => {
                let further = pages.len() > before && path.follow(&pages).as_ref() != Err(next);
                (!further).then_some(Fault::Astray)
            }
            (None, None, _) => Some(Fault::Form),
        };
        queries.extend(query);
        match fault {
            Some(fault) => {
                faults.push(fault);
                if right != turn.action {
                    ranked.push((fault as usize, number, right));
                }
            }
            // Of the right steps the one is critical by which the answer became known.
            None if known.is_err() && path.follow(&pages).is_ok() => {
                ranked.push((10, number, turn.action.clone()));
            }
            None => {}
        }
    }
    ranked.sort();
    let step_skills: BTreeMap<usize, String> = ranked
        .into_iter()
        .take(most)
        .map(|(_, number, action)| (number, format!("{DO}{}", words(&action))))
        .collect();
    let episode_skill = if t.won { plan(&path) } else { reminders(&path, &faults) };
    let summary = fault::summary(t.won, &format!("{} turns", t.turns.len()), &faults, Fault::name);
    Some(Analysis { summary, episode_skill, step_skills })
}

/// What has to be looked up first, as a part of a skill.
fn first(path: &Path) -> String {
    match path {
        Path::Chain(start, _) => format!("{LOOK_UP}{start}"),
        Path::Earlier([one, other], _) => format!("{LOOK_UP}{one}{THEN}{LOOK_UP}{other}"),
    }
}

fn plan(path: &Path) -> String {
    let mut parts = vec![first(path)];
    if let Path::Chain(_, relations) = path {
        parts.extend(relations.iter().skip(1).map(|_| AND_THEN.to_owned()));
    }
    parts.push(ANSWER.to_owned());
    format!("{PLAN}{}", parts.join(THEN))
}

/// What to remember after a failure: the gravest mistake, then the most frequent other one, and where to begin.
fn reminders(path: &Path, faults: &[Fault]) -> String {
    let mut parts: Vec<String> =
        fault::worst(faults).into_iter().map(|fault| fault.reminder().to_owned()).collect();
    parts.dedup();
    parts.push(first(path));
    format!("{REMEMBER}{}", parts.join(THEN))
}

/// The passages of an observation as plain text, each on lines of its own.
fn passages(observation: &str) -> String {
    let Some(inside) = blocks(observation, "information").next() else { return String::new() };
    let object: Option<serde_json::Value> = serde_json::from_str(inside).ok();
    let text = object.as_ref().and_then(|object| object["result"].as_str()).unwrap_or(inside);
    format!("{text}\n")
}
