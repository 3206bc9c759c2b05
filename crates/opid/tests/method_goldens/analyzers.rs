//! Replies of language models, and the questions they answer, against the reference's analyzer.

use opid::layout::Layout;
use opid::skill::inquiry::{Inquiry, Question, Reply};
use opid::skill::reply::{ReplyError, parse};
use opid::trajectory::{Ending, Trajectory, Turn};
use serde_json::Value;

use crate::recordings::{Comparison, Outcome, number, numbers, texts};

/// Episode skill and step skills.
type Skills = (String, Vec<(usize, String)>);

/// Fields that we read on purpose where the reference reads others, or none.
struct Deviation {
    reason: &'static str,
    /// The recorded cases, by what we read: episode skill and step skills, or nothing usable.
    cases: &'static [(&'static [&'static str], Option<Known>)],
}

/// Episode skill and step skills, as constants.
type Known = (&'static str, &'static [(usize, &'static str)]);

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        reason: "a value that is not text is no skill and no summary (there: \"None\", \"7\", \"['a', 'b']\")",
        cases: &[
            (&["005_py_dict_none"], Some(("Do X", &[]))),
            (
                &[
                    "006_py_true",
                    "021_null_skill",
                    "023_skill_list",
                    "024_skill_dict",
                    "025_skill_int",
                    "026_skill_float",
                    "027_skill_bigfloat",
                    "028_skill_bool",
                    "029_skill_nan",
                    "086_py_tuple_val",
                    "null_skill_becomes_text",
                ],
                None,
            ),
            (&["043_steps_values"], Some(("x", &[]))),
        ],
    },
    Deviation {
        reason: "the last object counts, and none inside reasoning (there: the first, drafts too)",
        cases: &[
            (&["013_two_objects_both"], Some(("second", &[]))),
            (&["064_think_block"], Some(("Do X then Y", &[(0, "look first"), (2, "take mug")]))),
            (&["066_double_fence"], Some(("second fence", &[]))),
        ],
    },
    Deviation {
        reason: "a Python dictionary with an empty inner one, or with a key that is no number, is read \
                 (there: refused, or an error that nobody catches)",
        cases: &[
            (
                &[
                    "009_py_apostrophe",
                    "187_py_apostrophe+fenced",
                    "188_py_apostrophe+fenced_plain",
                    "189_py_apostrophe+fence_text",
                    "190_py_apostrophe+prose",
                    "191_py_apostrophe+bracket_prose",
                    "192_py_apostrophe+tripled",
                    "193_py_apostrophe+in_list",
                    "194_py_apostrophe+answer_tag",
                    "195_py_apostrophe+quoted_prose",
                ],
                Some(("Don't stop", &[])),
            ),
            (&["080_py_inf_key"], Some(("x", &[]))),
            (&["088_py_escapes"], Some(("it's \u{e9} A", &[]))),
        ],
    },
    Deviation {
        reason: "an error that nobody catches there is an unusable reply, and is asked for again",
        cases: &[
            (&["079_py_unhashable"], None),
            (&["uncaught"], Some(("Do X then Y", &[(0, "look first")]))),
        ],
    },
    Deviation {
        reason: "comments, keys without quotes, other white space, zeros before a number and escapes that JSON \
                 does not have are read (there: refused)",
        cases: &[
            (
                &["044_comments", "045_hash_comment_py", "115_leading_zero_number", "126_vertical_ws"],
                Some(("x", &[])),
            ),
            (&["089_js_unquoted"], Some(("x", &[(0, "a")]))),
            (&["111_latex"], Some(("use \\alpha", &[]))),
        ],
    },
    Deviation {
        reason: "step skills may be a list of objects with step and skill, as strict schemas need it \
                 (there: left out)",
        cases: &[(&["033_steps_listdict"], Some(("x", &[(0, "a")])))],
    },
    Deviation {
        reason: "step numbers are plain digits (there: also 1_0 and the digits of all scripts)",
        cases: &[
            (&["038_steps_badkeys"], Some(("x", &[(1, "b"), (4, "g"), (5, "h"), (7, "k")]))),
            (&["039_steps_fullwidth"], Some(("x", &[]))),
        ],
    },
    Deviation {
        reason: "step skills are not searched for an answer (there: one named episode_skill is)",
        cases: &[(&["108_nested_key_in_steps"], None)],
    },
    Deviation {
        reason: "a skill without a letter or digit is none",
        cases: &[(&["260_mut_28"], Some(("Do X", &[(0, "a")])))],
    },
];

/// What we read in a case of our own, and why.
fn deviation(id: &str) -> Option<(&'static str, Option<Skills>)> {
    DEVIATIONS.iter().find_map(|d| {
        let (_, ours) = d.cases.iter().find(|(ids, _)| ids.contains(&id))?;
        let owned = |steps: &[(usize, &str)]| steps.iter().map(|(n, s)| (*n, (*s).to_owned())).collect();
        Some((d.reason, ours.map(|(skill, steps)| (skill.to_owned(), owned(steps)))))
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Steps that can exist; the reference drops the others after parsing.
fn steps(value: &Value) -> Vec<(usize, String)> {
    let pairs = value.as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair[0].as_str()?.parse().ok()?, text(&pair[1])))).collect()
}

/// A raw reply to its fields.
pub fn check_reply(case: &Value, comparison: &mut Comparison) -> Outcome {
    let found = parse(case["input"].as_str().unwrap_or_default());
    let no_object = found == Err(ReplyError::NoObject);
    let (summary, skills) = match found {
        Ok(answer) => (answer.summary, Some((answer.episode_skill, answer.step_skills))),
        Err(_) => (String::new(), None),
    };
    if let Some((reason, ours)) = deviation(case["id"].as_str().unwrap_or_default()) {
        comparison.same("our own reading", skills, ours);
        return Outcome::Deviates(reason);
    }
    let expected = &case["expected"];
    if expected["usable"] == true {
        let ok = &expected["ok"];
        comparison.same("summary", summary, text(&ok["episode_summary"]));
        // Blanks around a skill are dropped here.
        let skill = text(&ok["episode_skill"]).trim().to_owned();
        comparison.same("skills", skills, Some((skill, steps(&ok["step_skills"]))));
    } else {
        comparison.same("skills", skills, None);
        comparison.same("no object", no_object, expected["class"] == "no_object");
    }
    Outcome::Compared
}

/// An episode with so many steps.
fn episode(steps: usize, won: bool) -> Trajectory {
    let turn = |i: usize| Turn {
        text: format!("response {i}"),
        action: format!("action {i}"),
        valid: true,
        ended: true,
        ..Turn::open(format!("observation {i}"), None, Vec::new())
    };
    Trajectory {
        group: 0,
        member: 0,
        task: "task".into(),
        kind: "kind".into(),
        goal: "put a mug on desk.".into(),
        layout: Layout::Transcript,
        turns: (0..steps).map(turn).collect(),
        last_observation: "the end".into(),
        won,
        score: 0.0,
        reward: 0.0,
        ending: Ending::TurnLimit,
    }
}

/// Scripted replies: how often is asked, with what, and what comes of it.
pub fn check_flow(case: &Value, comparison: &mut Comparison) -> Outcome {
    let (input, expected) = (&case["input"], &case["expected"]);
    let replies: Vec<String> = texts(&input["replies"]);
    // The reference takes 2 attempts where the setting is no number, and 1 where it is below 1.
    let attempts: usize = input["parse_attempts_env"].as_str().and_then(|n| n.parse().ok()).unwrap_or(2);
    let limit = number(&input["max_step_skills"]).max(0.0) as usize;
    // Here all steps that the model was shown can get a skill; the reference is given a list.
    let shown = match &input["candidates"] {
        Value::Null => vec![true; 3],
        list => (0..12).map(|i| numbers(list).contains(&(i as f64))).collect(),
    };
    let inquiry = Inquiry::new(limit, 10_000);
    let question = Question { shown, ..inquiry.question(&episode(3, false)) };
    let mut asked: Vec<String> = Vec::new();
    let result = inquiry.ask(&question, attempts.max(1) - 1, |message| {
        asked.push(message.to_owned());
        let text = replies.get(asked.len() - 1).cloned().unwrap_or_default();
        Ok::<_, ReplyError>(Reply { text, cut_off: false })
    });
    let skills = result.ok().map(|a| (a.episode_skill, a.step_skills.into_iter().collect::<Vec<_>>()));
    for (i, message) in asked.iter().enumerate() {
        comparison.same("the question is in it", message.contains(&question.text), true);
        let previous = i.checked_sub(1).and_then(|before| replies.get(before));
        comparison.same("the last reply is in it", previous.is_none_or(|p| message.contains(p)), true);
    }
    if let Some((reason, ours)) = deviation(case["id"].as_str().unwrap_or_default()) {
        comparison.same("our own reading", (asked.len(), skills), (2, ours));
        return Outcome::Deviates(reason);
    }
    comparison.same("attempts", asked.len() as f64, number(&expected["calls"]));
    let mut steps = steps(&expected["step_skills"]);
    steps.sort();
    let theirs = (expected["failed"] == false).then(|| (text(&expected["episode_skill"]), steps));
    comparison.same("skills", skills, theirs);
    Outcome::Compared
}

/// What the question says of the outcome and of the number of skills.
pub fn check_question(case: &Value, comparison: &mut Comparison) -> Outcome {
    let (input, expected) = (&case["input"], &case["expected"]);
    let label = text(&expected["label"]);
    let inquiry = Inquiry::new(number(&input["max_step_skills"]) as usize, 10_000);
    let message = inquiry.question(&episode(number(&input["n_steps"]) as usize, label == "success")).text;
    let budget = format!("at most {} of the steps", number(&expected["max_skills"]));
    comparison.same("number of skills", message.contains(&budget), true);
    if label == "unknown" {
        return Outcome::Deviates("the outcome of an episode is always known here");
    }
    comparison.same("outcome", message.contains(&format!("Outcome: {label}\n")), true);
    Outcome::Compared
}
