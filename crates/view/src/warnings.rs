//! What a person should know about a run, in plain words, from its metrics.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::run::{Run, State};

/// Share of groups without variance from which most of a step's work teaches nothing.
const FLAT: f64 = 0.5;
/// Difference of log-probabilities between sampler and scorer, in nats, that rounding does not explain.
const GAP: f64 = 0.01;
/// Divergence from the starting policy, in nats a token, that is far.
const FAR: f64 = 0.5;
/// Share of tokens that are clipped from which steps are too long.
const CLIPPED: f64 = 0.3;

/// The warnings of a run: `{"level": "bad" | "note", "text": ...}`.
pub fn warnings(run: &Run) -> Vec<Value> {
    let steps: Vec<&Value> = run.steps().collect();
    let mut found = Found(Vec::new());
    if !run.damaged.is_empty() {
        found.bad(format!(
            "{} of metrics.jsonl cannot be read and {} left out here: {}",
            count(run.damaged.len(), "line"),
            if run.damaged.len() == 1 { "is" } else { "are" },
            list(run.damaged.iter().map(|&line| line as u64))
        ));
    }
    if let State::Silent(silent) = run.state {
        found.bad(format!(
            "The run has done {} of {} steps and has written nothing for {} min. If it stopped, `opid train --resume {}` \
             goes on after its last checkpoint.",
            run.done(),
            run.planned(),
            silent.as_secs() / 60,
            run.path.display()
        ));
    }
    collapse(&steps, &mut found);
    let flat: Vec<u64> = at(&steps, |s| number(s, "/zero_variance_groups") >= Some(FLAT));
    if !flat.is_empty() {
        let won = steps.iter().filter(|s| number(s, "/success") >= Some(0.9)).count();
        let why = match won * 2 > flat.len() {
            true => "most episodes succeed: the tasks have become too easy for these groups",
            false => "use easier tasks, larger groups (rollout.group_size), or algorithm.name = \"dapo\"",
        };
        found.note(format!(
            "In {} ({}) at least half of the groups had the same reward for all their episodes, so that outcomes taught \
             nothing there; {why}.",
            count(flat.len(), "step"),
            list(flat.iter().copied())
        ));
    }
    analyzer(&steps, &mut found);
    let sum = |place: &str| steps.iter().filter_map(|s| number(s, place)).sum::<f64>() as u64;
    let (cut, turns) = (sum("/truncated_responses"), turns(run, &steps));
    if cut > 0 {
        found.note(format!(
            "{cut} responses ({}) were cut off at rollout.max_response_tokens = {}.",
            share(cut, turns),
            setting(run, "rollout.max_response_tokens")
        ));
    }
    let limited = sum("/context_limited");
    if limited > 0 {
        found.note(format!(
            "{limited} episodes ended because their history reached policy.max_context = {}.",
            setting(run, "policy.max_context")
        ));
    }
    let prompts = sum("/truncated_prompts");
    if prompts > 0 {
        found.note(format!(
            "{prompts} prompts ({}) were longer than prompt.max_tokens = {} and lost some of it.",
            share(prompts, turns),
            setting(run, "prompt.max_tokens")
        ));
    }
    let skipped: Vec<u64> = at(&steps, |s| number(s, "/update/skipped") > Some(0.0));
    if !skipped.is_empty() {
        found.bad(format!(
            "Updates were left out because their gradient was not finite, at {}; lower optimizer.learning_rate.",
            named(&skipped)
        ));
    }
    for (place, bound, words) in [
        (
            "/update/sampler_gap",
            GAP,
            "the sampler and the scorer differed by more than rounding explains (update.sampler_gap)",
        ),
        (
            "/update/kl",
            FAR,
            "the policy was far from the one it started from (update.kl above 0.5 nats a token)",
        ),
        (
            "/update/clip_fraction",
            CLIPPED,
            "more than 30 % of the tokens were clipped; lower optimizer.learning_rate",
        ),
    ] {
        let steps = at(&steps, |s| number(s, place) > Some(bound));
        if !steps.is_empty() {
            found.note(format!("At {} {words}.", named(&steps)));
        }
    }
    found.0
}

/// Collects warnings.
struct Found(Vec<Value>);

impl Found {
    fn bad(&mut self, text: String) {
        self.0.push(json!({ "level": "bad", "text": text }));
    }

    fn note(&mut self, text: String) {
        self.0.push(json!({ "level": "note", "text": text }));
    }
}

/// Signs of a collapse, said once with the steps that have them and the words of the last.
fn collapse(steps: &[&Value], found: &mut Found) {
    let mut signs: Vec<(String, Vec<u64>, &str)> = Vec::new();
    for line in steps {
        let step = line["step"].as_u64().unwrap_or(0);
        for sign in line["collapse"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // Signs differ in their numbers.
            let kind: String = sign.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
            match signs.iter_mut().find(|(known, ..)| *known == kind) {
                Some((_, at, words)) => {
                    at.push(step);
                    *words = sign;
                }
                None => signs.push((kind, vec![step], sign)),
            }
        }
    }
    for (_, at, words) in signs {
        found.bad(format!("Sign of a collapse at {}: {words}.", named(&at)));
    }
}

/// Episodes without skills, by cause, and turns that could not be re-scored.
fn analyzer(steps: &[&Value], found: &mut Found) {
    let sum = |place: &str| steps.iter().filter_map(|s| number(s, place)).sum::<f64>() as u64;
    let (failed, analyzed) = (sum("/skills/failed"), sum("/skills/analyzed"));
    if failed > 0 {
        let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
        for line in steps {
            for (cause, n) in line["skills"]["failures"].as_object().into_iter().flatten() {
                *causes.entry(cause).or_default() += n.as_u64().unwrap_or(0);
            }
        }
        let causes: Vec<String> =
            causes.iter().map(|(cause, n)| format!("{n} {}", cause.replace('_', " "))).collect();
        found.bad(format!(
            "The analyzer failed on {failed} episodes ({}): {}. They had no skill advantage.",
            share(failed, failed + analyzed),
            causes.join(", ")
        ));
    }
    let (long, shortened) = (sum("/skills/too_long"), sum("/skills/shortened"));
    if long > 0 || shortened > 0 {
        found.note(format!(
            "With a skill in it the history of {shortened} turns had to be shortened, and {long} turns were too long to \
             be re-scored at all."
        ));
    }
    let scheduled = at(steps, |s| s["skills"]["scheduled"] == Value::Bool(true));
    let wrong = at(steps, |s| {
        s["skills"]["scheduled"] == Value::Bool(true)
            && number(s, "/skills/agreement").is_some_and(|a| a < 0.5)
    });
    if scheduled.len() >= 4 && wrong.len() * 2 > scheduled.len() {
        found.note(format!(
            "In {} of {} steps with skills most shifts had the wrong sign: skills made responses of won episodes less \
             likely, or of lost ones more (skills.agreement below 0.5).",
            wrong.len(),
            scheduled.len()
        ));
    }
}

fn number(line: &Value, place: &str) -> Option<f64> {
    line.pointer(place)?.as_f64()
}

/// The steps whose line fulfils a condition.
fn at(steps: &[&Value], condition: impl Fn(&Value) -> bool) -> Vec<u64> {
    steps.iter().filter(|line| condition(line)).filter_map(|line| line["step"].as_u64()).collect()
}

/// Turns of all steps: a step has their mean over its episodes.
fn turns(run: &Run, steps: &[&Value]) -> u64 {
    let size = |key| run.setting(key).and_then(toml::Value::as_integer).unwrap_or(0) as f64;
    let episodes = size("rollout.groups") * size("rollout.group_size");
    (steps.iter().filter_map(|line| number(line, "/turns")).sum::<f64>() * episodes).round() as u64
}

fn setting(run: &Run, key: &str) -> String {
    run.setting(key).map_or("?".to_owned(), ToString::to_string)
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A share in words; unknown where there is no whole.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "of an unknown number".to_owned(),
        whole => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}

fn named(steps: &[u64]) -> String {
    format!("{} {}", if steps.len() == 1 { "step" } else { "steps" }, list(steps.iter().copied()))
}

/// Numbers with ranges for those that follow one another, at most a few of them.
fn list(numbers: impl Iterator<Item = u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for n in numbers {
        match ranges.last_mut() {
            Some((_, last)) if n == *last + 1 => *last = n,
            _ => ranges.push((n, n)),
        }
    }
    const SHOWN: usize = 6;
    let rest = ranges.len().saturating_sub(SHOWN);
    let shown = ranges
        .iter()
        .take(SHOWN)
        .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}\u{2013}{b}") });
    let text = shown.collect::<Vec<_>>().join(", ");
    if rest > 0 { format!("{text} and more") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_listed_in_ranges() {
        for (numbers, text) in [
            (&[3][..], "3"),
            (&[1, 2, 3, 5], "1\u{2013}3, 5"),
            (&[1, 3, 5, 7, 9, 11, 13], "1, 3, 5, 7, 9, 11 and more"),
        ] {
            assert_eq!(list(numbers.iter().copied()), text);
        }
    }
}
