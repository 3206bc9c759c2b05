//! What an analyzing language model answers, read into skills.
//!
//! Of several objects the last one with a skill counts, because earlier ones are drafts; reasoning
//! (`<think>` ... `</think>`) is passed over. A skill is a text: `null`, numbers and lists are none.

use super::literal::{Literal, Members, objects};

/// A reply without a usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// There is no object at all.
    #[error("the reply holds no JSON object")]
    NoObject,
    /// There is one, and it cannot be read.
    #[error("the reply's JSON object cannot be read: it is not complete, or a comma or a quote is missing")]
    Unreadable,
    /// The reply ends in the middle, at its limit of tokens.
    #[error("the reply was cut off at its limit of tokens (max_reply_tokens) before its answer was complete")]
    CutOff,
    /// No object has a skill for the episode.
    #[error("the reply's JSON object has no text in \"episode_skill\"")]
    NoSkill,
}

impl ReplyError {
    /// The name it is counted under.
    pub fn cause(&self) -> &'static str {
        match self {
            ReplyError::NoObject => "no_object",
            ReplyError::Unreadable => "unreadable",
            ReplyError::CutOff => "cut_off",
            ReplyError::NoSkill => "no_skill",
        }
    }
}

/// The fields of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What happened.
    pub summary: String,
    /// The skill of the episode, never blank.
    pub episode_skill: String,
    /// Skills by step, in the order of the reply: models name the most important first.
    pub step_skills: Vec<(usize, String)>,
}

/// Finds and reads the answer in a reply.
///
/// # Errors
/// There is none.
pub fn parse(reply: &str) -> Result<Answer, ReplyError> {
    let objects = objects(reply);
    let outside = |at: usize| {
        let before = objects.found.partition_point(|(place, _)| place.end <= at);
        objects.found.get(before).is_none_or(|(place, _)| at < place.start)
    };
    // Tags inside an object are words of a skill.
    let thought = last_tag(reply, "</think", outside).unwrap_or(0);
    let thinking = first_tag(reply, "<think", |at| at >= thought && outside(at)).unwrap_or(reply.len());
    let mut named = Vec::new();
    let mut any = false;
    for (_, members) in objects.found.iter().filter(|(at, _)| (thought..thinking).contains(&at.start)) {
        any = true;
        collect(members, &mut named);
    }
    if let Some(answer) = named.iter().rev().find_map(|members| answer(members)) {
        return Ok(answer);
    }
    match (named.is_empty(), objects.broken, any) {
        (false, ..) | (true, false, true) => Err(ReplyError::NoSkill),
        (true, true, _) => Err(ReplyError::Unreadable),
        (true, false, false) => Err(ReplyError::NoObject),
    }
}

fn last_tag(text: &str, tag: &str, counts: impl Fn(usize) -> bool) -> Option<usize> {
    text.rmatch_indices(tag).map(|(at, _)| at).find(|&at| counts(at))
}

fn first_tag(text: &str, tag: &str, counts: impl Fn(usize) -> bool) -> Option<usize> {
    text.match_indices(tag).map(|(at, _)| at).find(|&at| counts(at))
}

/// The objects that name an episode skill: this one, or else those inside it. Skills of steps are not
/// looked into.
fn collect<'a>(members: &'a Members, named: &mut Vec<&'a Members>) {
    if get(members, "episode_skill").is_some() {
        return named.push(members);
    }
    let inner = members.iter().filter(|(key, _)| key != "step_skills");
    inner.for_each(|(_, value)| collect_in(value, named));
}

fn collect_in<'a>(value: &'a Literal, named: &mut Vec<&'a Members>) {
    match value {
        Literal::Object(members) => collect(members, named),
        Literal::List(items) => items.iter().for_each(|item| collect_in(item, named)),
        Literal::Text(_) | Literal::Bare(_) => {}
    }
}

/// The value of a key; of duplicates the last, as JSON readers do.
fn get<'a>(members: &'a Members, key: &str) -> Option<&'a Literal> {
    members.iter().rfind(|(k, _)| k == key).map(|(_, value)| value)
}

fn answer(members: &Members) -> Option<Answer> {
    let summary = match get(members, "episode_summary") {
        Some(Literal::Text(text)) => text.trim().to_owned(),
        _ => String::new(),
    };
    let episode_skill = skill(get(members, "episode_skill")?)?;
    let mut step_skills: Vec<(usize, String)> = Vec::new();
    let mut add = |step: Option<usize>, text: Option<String>| {
        let (Some(step), Some(text)) = (step, text) else { return };
        match step_skills.iter_mut().find(|(known, _)| *known == step) {
            Some((_, old)) => *old = text,
            None => step_skills.push((step, text)),
        }
    };
    match get(members, "step_skills") {
        Some(Literal::Object(steps)) => {
            steps.iter().for_each(|(key, value)| add(key.trim().parse().ok(), skill(value)));
        }
        Some(Literal::List(items)) => {
            for item in items {
                let Literal::Object(item) = item else { continue };
                let step = match get(item, "step") {
                    Some(Literal::Bare(number) | Literal::Text(number)) => number.trim().parse().ok(),
                    _ => None,
                };
                add(step, get(item, "skill").and_then(skill));
            }
        }
        _ => {}
    }
    Some(Answer { summary, episode_skill, step_skills })
}

/// A value as a skill: a text that says something.
fn skill(value: &Literal) -> Option<String> {
    let Literal::Text(text) = value else { return None };
    let text = text.trim();
    let nothing = ["none", "null", "n/a"].iter().any(|word| text.eq_ignore_ascii_case(word));
    (text.contains(char::is_alphanumeric) && !nothing).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_and_reasoning_are_passed_over() {
        let skill = |reply: &str| parse(reply).map(|a| a.episode_skill);
        for (reply, expected) in [
            ("<think>{\"episode_skill\": \"draft\"}</think>{\"episode_skill\": \"final\"}", Ok("final")),
            ("{\"episode_skill\": \"draft\"}\n</think>\n{\"episode_skill\": \"final\"}", Ok("final")),
            ("<think>{\"episode_skill\": \"draft\"}</think>", Err(ReplyError::NoObject)),
            ("<think>so {\"episode_skill\": \"draft\"}", Err(ReplyError::NoObject)),
            ("<think>x</think>{\"episode_skill\": \"fin", Err(ReplyError::Unreadable)),
            ("{\"episode_skill\": \"close </think> before you act\"}", Ok("close </think> before you act")),
            ("{\"episode_skill\": \"a\"} or better {\"episode_skill\": \"b\"}", Ok("b")),
            ("{\"episode_skill\": \"a\"} {\"episode_skill\": null}", Ok("a")),
            ("{\"episode_skill\": \"None\"}", Err(ReplyError::NoSkill)),
            ("{\"episode_skill\": \"...\"}", Err(ReplyError::NoSkill)),
        ] {
            assert_eq!(skill(reply), expected.map(str::to_owned), "{reply}");
        }
    }

    #[test]
    fn hostile_replies_end_soon() {
        for part in ["<think>{}", "</think>{", "{\"episode_skill\": 1}</think>"] {
            assert!(parse(&part.repeat(100_000)).is_err());
        }
    }

    #[test]
    fn step_skills_are_read_from_maps_and_lists() {
        let steps = |value: &str| {
            let reply = format!("{{\"episode_skill\": \"x\", \"step_skills\": {value}}}");
            parse(&reply).expect("an answer").step_skills
        };
        let expected = vec![(2, "b".to_owned()), (0, "a".to_owned())];
        assert_eq!(steps(r#"{"2": "b", "0": "a", "-1": "c", "x": "d", "3": null}"#), expected);
        assert_eq!(
            steps(r#"[{"step": 2, "skill": "b"}, {"step": "0", "skill": "a"}, {"skill": "c"}, "d"]"#),
            expected
        );
        assert_eq!(steps(r#"{"2": "old", "0": "a", "2": "b"}"#), expected);
    }
}
