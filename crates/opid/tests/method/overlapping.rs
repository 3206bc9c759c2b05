//! Runs with an analyzer behind a network: it works while episodes are played and scored, and what comes out does
//! not depend on when it answers.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use opid::layout::Layout;
use opid::recipe::{AnalyzerName, Recipe, Teacher};
use opid::skill::critical::Selector;
use opid::train::{Control, Event, TrainError, train};
use serde_json::{Value, json};

use crate::micro::saved;
use crate::server::{Answer, Request, Server, completion};

/// Seconds that every reply of a slow server takes at least.
const PAUSE: f64 = 0.1;

/// A reply whose skills, and lateness, depend on the question.
pub fn reply(request: &Request, slow: bool) -> Answer {
    let message = request.message();
    let number = message.bytes().map(usize::from).sum::<usize>();
    let skills = json!({
        "episode_summary": "",
        "episode_skill": format!("plan: look in {} places", number % 7),
        "step_skills": [{ "step": number % 2, "skill": "do: look" }, { "step": 3, "skill": "do: inventory" }],
    });
    let wait = if slow { PAUSE * (1.0 + (number % 3) as f64 / 2.0) } else { 0.0 };
    Answer::Late(Duration::from_secs_f64(wait), completion(&skills.to_string()))
}

/// Lets a recipe ask a server, one question after the other, and keep no replies.
pub fn ask(recipe: &mut Recipe, server: &Server) {
    recipe.skill.analyzer = AnalyzerName::OpenAi;
    recipe.skill.openai.base_url = server.base_url.clone();
    recipe.skill.openai.model = "m".into();
    recipe.skill.openai.cache = String::new();
    recipe.skill.openai.concurrency = 1;
}

/// A recipe of two steps that asks a server.
fn asking(server: &Server, start: &Path) -> Recipe {
    let mut recipe = saved(Layout::Transcript, start);
    recipe.steps = 2;
    ask(&mut recipe, server);
    recipe
}

/// Waits until a server has been asked so many times, which must not take long.
fn until_asked(server: &Server, times: usize) {
    let start = Instant::now();
    while server.requests().len() < times {
        assert!(start.elapsed() < Duration::from_secs(30), "nobody asks while episodes are played");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a run learnt, without what a clock measured and what the analysis took.
fn learnt(run: &Path) -> (Vec<Value>, Vec<Vec<u8>>) {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).expect("JSON");
        for timed in ["seconds", "tokens_per_second", "memory"] {
            value.as_object_mut().expect("an object").remove(timed);
        }
        if let Some(skills) = value.get_mut("skills").and_then(Value::as_object_mut) {
            skills.remove("analyzer");
        }
        value
    };
    let files = ["checkpoints/step_2/model.safetensors", "trajectories/step_000002.jsonl.gz"];
    let files = files.map(|file| fs::read(run.join(file)).expect("a file"));
    (text.lines().map(line).collect(), files.into())
}

/// Trains while episodes wait for skills: of the six of a step the fourth is not over before the server has been asked
/// twice. Four episodes are of two tasks at least, so that there are two questions, and the only thread that asks has
/// the reply to the first when it asks the second. Returns the seconds of each step from its first question to its last
/// answer.
fn slowly(recipe: &Recipe, run: &Path, server: &Server) -> Vec<f64> {
    let (mut spans, mut before) = (Vec::new(), 0);
    let mut observe = |event: Event<'_>| match event {
        Event::Sampling { purpose: "rollout", done: 4, total: 6 } => until_asked(server, before + 2),
        Event::Step(metrics, _) => {
            let skills = metrics.skills.as_ref().expect("skills");
            assert_eq!(skills.failed, 0);
            spans.push(skills.analyzer.span);
            before = server.requests().len();
        }
        _ => {}
    };
    train(recipe, run, &Control::default(), &mut observe).expect("a run");
    assert_eq!(spans.len() as u64, recipe.steps);
    spans
}

#[test]
fn skills_come_in_while_episodes_are_played_and_change_nothing() {
    for (teacher, selector) in
        [(Teacher::Reference, Selector::Analyzer), (Teacher::Policy, Selector::Statistics)]
    {
        let place = tempfile::tempdir().expect("a folder");
        let path = |name: &str| place.path().join(name);
        let [fast, slow] = [false, true].map(|slow| Server::start(move |_, request| reply(request, slow)));
        let mut recipe = asking(&slow, &path("start"));
        recipe.skill.teacher = teacher;
        recipe.skill.critical_steps = selector;
        for span in slowly(&recipe, &path("slow"), &slow) {
            // There are three tasks, so three questions at least, one after the other.
            assert!(span >= 3.0 * PAUSE, "the replies take {span} s");
        }
        // Answers at once, in any order, by many threads; and all together, from a recording.
        recipe.skill.openai.base_url = fast.base_url.clone();
        recipe.skill.openai.concurrency = 8;
        train(&recipe, &path("fast"), &Control::default(), &mut |_| ()).expect("a run");
        recipe.skill.analyzer = AnalyzerName::Replay;
        recipe.skill.replay = path("slow").display().to_string();
        train(&recipe, &path("replayed"), &Control::default(), &mut |_| ()).expect("a run");
        let [slow, fast, replayed] = ["slow", "fast", "replayed"].map(|name| learnt(&path(name)));
        assert!(slow == fast, "{:?}\n{:?}", slow.0, fast.0);
        assert!(slow.1 == replayed.1, "the recording taught something else");
    }
}

#[test]
fn a_reason_to_stop_ends_the_sampling() {
    let place = tempfile::tempdir().expect("a folder");
    let server = Server::start(|_, _| Answer::Status(401, "", "{}".into()));
    let mut recipe = asking(&server, &place.path().join("start"));
    recipe.rollout.concurrency = 2;
    let mut played = 0;
    let mut observe = |event: Event<'_>| {
        if let Event::Sampling { purpose: "rollout", done, .. } = event {
            played = done;
            until_asked(&server, 1);
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    let error = train(&recipe, &place.path().join("run"), &Control::default(), &mut observe)
        .expect_err("a reason to stop");
    assert!(matches!(error, TrainError::Stopped { step: 1, .. }), "{error}");
    assert!(played < 6, "{played} episodes were played to the end");
}
