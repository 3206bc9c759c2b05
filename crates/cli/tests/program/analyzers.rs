//! Runs whose skills come from a server or a recording, and `analyze`.

use std::path::Path;

use serde_json::{Value, json};

use crate::runs::{read, timeless_metrics, workplace};
use crate::server::{Request, Server, says};
use crate::{Result, json_lines, opid, program, run};

const KEY: &str = "sk-program-0123456789abcdef";

/// Answers like a model that thinks first and then writes JSON.
fn model(_: usize, request: &Request) -> crate::server::Answer {
    let message = request.message();
    let at = message.rfind("Observation: ").expect("an episode") + "Observation: ".len();
    let seen: String = message[at..].chars().take(40).collect();
    let analysis = json!({
        "episode_summary": "The agent looked around.",
        "episode_skill": format!("search every place once; {seen}"),
        "step_skills": [{ "step": 0, "skill": "go to a new place" }, { "step": 99, "skill": "nothing" }],
    });
    says(&format!("<think>Maybe {{\"episode_skill\": \"wait\"}}?</think>\n```json\n{analysis}\n```"))
}

/// The program with a key and an endpoint in its environment.
fn asking(folder: &Path, server: &Server, args: &[&str]) -> Result {
    let mut command = program(folder);
    command.env("OPENAI_API_KEY", KEY).env("OPENAI_BASE_URL", &server.base_url).env("OPENAI_MODEL", "m");
    let result = run(command.args(args));
    assert!(!result.out.contains(KEY) && !result.err.contains(KEY), "{}{}", result.out, result.err);
    result
}

const OPENAI: [&str; 6] = [
    "--set",
    "skill.analyzer=openai",
    "--set",
    "skill.openai.cache=cache",
    "--set",
    "skill.openai.retries=0",
];

fn train<'a>(run: &'a str, changes: &[&'a str]) -> Vec<&'a str> {
    [&["train", "micro.toml", "--run", run][..], changes].concat()
}

/// The metrics of training steps, without what a clock or the analyzer's costs say.
fn metrics(run: &Path) -> Vec<Value> {
    let mut lines = timeless_metrics(run);
    for line in &mut lines {
        if let Some(skills) = line.get_mut("skills").and_then(Value::as_object_mut) {
            skills.remove("analyzer");
        }
    }
    lines
}

/// What the analysis of each step took.
fn usage(run: &Path) -> Vec<Value> {
    let lines = json_lines(&read(&run.join("metrics.jsonl")));
    lines.iter().filter_map(|line| line.get("skills").map(|skills| skills["analyzer"].clone())).collect()
}

/// Two runs learnt the same from the same.
fn assert_same(a: &Path, b: &Path) {
    assert_eq!(metrics(a), metrics(b));
    for file in ["checkpoints/step_2/model.safetensors", "trajectories/step_000002.jsonl.gz"] {
        let [a, b] = [a, b].map(|run| std::fs::read(run.join(file)).expect("a file"));
        assert!(a == b, "{file} differs");
    }
}

/// The content of every file below a folder holds no key.
fn assert_no_key(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_no_key(&path);
        } else {
            let content = std::fs::read(&path).expect("a file");
            let held = content.windows(KEY.len()).any(|part| part == KEY.as_bytes());
            assert!(!held, "{} holds the key", path.display());
        }
    }
}

#[test]
fn a_run_repeats_from_the_cache_without_its_server() {
    let place = workplace();
    let server = Server::start(model);
    let first = asking(place.path(), &server, &train("first", &OPENAI));
    assert!(first.ok().contains("analyzer: ") && first.out.contains("requests"), "{}", first.out);
    assert!(server.requests().iter().all(|r| r.authorization == Some(format!("Bearer {KEY}"))));
    let asked = server.requests().len();
    server.close();
    let second = asking(place.path(), &server, &train("second", &OPENAI));
    assert!(second.ok().contains("replies from the cache"), "{}", second.out);
    let [first, second] = ["first", "second"].map(|run| place.path().join(run));
    assert_same(&first, &second);
    let count =
        |run: &Path, key: &str| usage(run).iter().map(|u| u[key].as_u64().expect("a count")).sum::<u64>();
    assert_eq!(count(&first, "requests"), asked as u64);
    assert_eq!((count(&second, "requests"), count(&second, "cache_hits")), (0, asked as u64));
    assert_eq!(count(&first, "input_tokens"), 1000 * asked as u64);
    let steps = metrics(&first);
    let skills = &steps.iter().find(|line| line.get("skills").is_some()).expect("a step")["skills"];
    assert!(skills["failures"] == json!({}) && skills["step_rows"].as_u64() > Some(0), "{skills}");
    let config = read(&first.join("config.toml"));
    assert!(config.contains(&server.base_url) && config.contains("model = \"m\""), "{config}");
    assert_no_key(place.path());
}

#[test]
fn a_used_up_budget_stops_a_run_that_can_go_on() {
    let place = workplace();
    let server = Server::start(model);
    asking(place.path(), &server, &train("whole", &OPENAI)).ok();
    let whole = place.path().join("whole");
    let enough = usage(&whole)[0]["requests"].to_string();
    let limit = format!("skill.openai.max_requests={enough}");
    let changes = ["--set", &limit, "--set", "skill.openai.cache=other", "--set", "checkpoint.every=0"];
    let stopped = asking(place.path(), &server, &train("parted", &[&OPENAI[..], &changes].concat()));
    for part in ["step 2: ", "budget is used up", "skill.openai.max_requests", "--resume"] {
        assert!(stopped.refused().contains(part), "{part}: {}", stopped.err);
    }
    let parted = place.path().join("parted");
    assert!(parted.join("checkpoints/step_1/manifest.json").is_file(), "the step before is saved");
    // The budget goes on where the run goes on.
    let sent = server.requests().len();
    let again = asking(place.path(), &server, &["train", "--resume", "parted"]);
    assert!(again.refused().contains(&format!("{enough} of {enough} requests")), "{}", again.err);
    assert_eq!(server.requests().len(), sent, "nothing is asked beyond it");
    let total: u64 = usage(&whole).iter().map(|u| u["requests"].as_u64().expect("a count")).sum();
    let raised = format!("max_requests = {total}");
    let config = read(&parted.join("config.toml")).replace(&format!("max_requests = {enough}"), &raised);
    std::fs::write(parted.join("config.toml"), config).expect("a file");
    asking(place.path(), &server, &["train", "--resume", "parted"]).ok();
    // A line when it is sent, and one when it is over.
    assert_eq!(json_lines(&read(&parted.join("spending.jsonl"))).len() as u64, 2 * total);
    assert_same(&whole, &parted);
}

#[test]
fn an_endpoint_that_fails_stops_the_run() {
    let place = workplace();
    let server = Server::start(|_, _| says("I would rather not."));
    let failed = asking(place.path(), &server, &train("run", &OPENAI));
    for part in ["4 of 4 episodes", "no_object 4", "skill.max_failures"] {
        assert!(failed.refused().contains(part), "{part}: {}", failed.err);
    }
    let no_model = opid(place.path(), &train("other", &OPENAI));
    assert!(no_model.refused().contains("OPENAI_MODEL"), "{}", no_model.err);
    let no_key =
        opid(place.path(), &train("other", &[&OPENAI[..], &["--set", "skill.openai.model=m"]].concat()));
    assert!(no_key.refused().contains("set OPENAI_API_KEY"), "{}", no_key.err);
    assert!(!place.path().join("other").exists(), "nothing is left behind");
}

#[test]
fn stored_episodes_are_analyzed_again_and_replayed() {
    let place = workplace();
    opid(place.path(), &train("run", &[])).ok();
    let run = place.path().join("run");

    let text = opid(place.path(), &["analyze", "run", "--step", "2", "--record", "skills.jsonl"]);
    for part in ["step 2, group 1, episode 1: ", "episode skill: ", "0  > ", "4 episodes analyzed, 0 failed"]
    {
        assert!(text.ok().contains(part), "{part}: {}", text.out);
    }
    assert_eq!(json_lines(&read(&place.path().join("skills.jsonl"))).len(), 4);

    let answer = opid(place.path(), &["analyze", "run", "--json", "--record", "skills.jsonl"]);
    let steps = json_lines(answer.ok());
    assert_eq!(steps.iter().map(|s| s["step"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let episode = &steps[0]["episodes"][0];
    assert!(episode["episode_skill"].is_string() && episode["turns"][0]["action"].is_string(), "{episode}");

    // A run with the recorded skills, from either recording, is the run that they come from.
    for (name, source) in [("from_file", "skill.replay=skills.jsonl"), ("from_run", "skill.replay=run")] {
        let changes = ["--set", "skill.analyzer=replay", "--set", source];
        opid(place.path(), &train(name, &changes)).ok();
        assert_same(&run, &place.path().join(name));
    }
    let changes = ["--set", "skill.analyzer=replay", "--set", "skill.replay=skills.jsonl", "--set", "seed=5"];
    let strange = opid(place.path(), &train("strange", &changes));
    assert!(strange.refused().contains("other_episode 4"), "{}", strange.err);

    let skills = |changes: &[&str]| {
        let answer = opid(place.path(), &[&["analyze", "run", "--step", "1", "--json"], changes].concat());
        let answer: Value = serde_json::from_str(answer.ok()).expect("one object");
        let episodes = answer["episodes"].as_array().expect("episodes").clone();
        let turns = episodes.iter().flat_map(|episode| episode["turns"].as_array().expect("turns"));
        let held = turns.filter(|turn| turn["skill"].is_string()).count() as u64;
        (held, answer["not_critical"].as_u64().expect("a count"))
    };
    let (all, none) = skills(&[]);
    let (kept, taken) = skills(&["--set", "skill.critical_steps=statistics"]);
    assert!(none == 0 && taken > 0 && kept + taken == all, "{all} skills, {kept} kept, {taken} taken");

    let noisy = opid(place.path(), &["analyze", "run", "--set", "skill.noise.drop=1.0", "--step", "1"]);
    assert!(noisy.ok().contains("skills dropped") && !noisy.out.contains("episode skill"), "{}", noisy.out);

    let server = Server::start(model);
    let args = ["analyze", "run", "--analyzer", "openai", "--set", "skill.openai.cache=cache", "--step", "1"];
    let asked = asking(place.path(), &server, &args);
    assert!(asked.ok().contains("search every place once"), "{}", asked.out);
    assert!(asked.out.contains("skill: go to a new place"), "{}", asked.out);

    for (args, says) in [
        (vec!["analyze", "none"], "none is not a run"),
        (vec!["analyze", "run", "--step", "9"], "only of 1, 2"),
        (vec!["analyze", "run", "--analyzer", "hindsigt"], "did you mean `hindsight`?"),
        (vec!["analyze", "run", "--analyzer", "replay"], "skill.replay"),
        (
            vec!["analyze", "run", "--analyzer", "policy", "--set", "skill.policy.model=none"],
            "there is no model folder none",
        ),
    ] {
        let result = opid(place.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
}

#[test]
fn a_policy_that_cannot_write_skills_is_counted_and_stops_the_run() {
    let place = workplace();
    let short = ["--set", "skill.analyzer=policy", "--set", "skill.policy.max_reply_tokens=16"];
    let stopped = opid(place.path(), &train("stopped", &short));
    for part in ["step 1: 4 of 4 episodes got no skill advantage (", "skill.max_failures"] {
        assert!(stopped.refused().contains(part), "{part}: {}", stopped.err);
    }
    let lenient = ["--set", "skill.max_failures=1.0", "--set", "skill.min_coverage=0"];
    let trained = opid(place.path(), &train("run", &[&short[..], &lenient].concat()));
    for part in ["4 analyses failed (", "analyzer: 8 requests", "4 replies corrected", "of them shared), "] {
        assert!(trained.ok().contains(part), "{part}: {}", trained.out);
    }
    let run = place.path().join("run");
    for line in metrics(&run).iter().filter(|line| line.get("skills").is_some()) {
        let skills = &line["skills"];
        assert_eq!((&skills["failed"], &skills["covered"]), (&json!(4), &json!(0)), "{skills}");
    }
    for usage in usage(&run) {
        assert!(
            usage["output_tokens"].as_u64() > Some(0) && usage["cached_tokens"].as_u64() > Some(0),
            "{usage}"
        );
    }

    // The last checkpoint, or a folder, is asked about the stored episodes.
    let args = ["analyze", "run", "--step", "2", "--json"];
    let by_run = opid(place.path(), &args);
    let step = &json_lines(by_run.ok())[0];
    assert_eq!(
        step["failures"].as_object().expect("causes").values().filter_map(Value::as_u64).sum::<u64>(),
        4
    );
    let folder = ["--set", "skill.policy.model=run/checkpoints/step_2"];
    let by_folder = opid(place.path(), &[&args[..], &folder].concat());
    assert_eq!(by_folder.ok(), by_run.out);
    let first = ["--set", "skill.policy.model=run/checkpoints/step_0", "--set", "skill.policy.corrections=0"];
    let first = opid(place.path(), &[&args[..], &first].concat());
    assert_eq!(json_lines(first.ok())[0]["analyzer"]["requests"], 4);
}
