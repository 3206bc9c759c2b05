//! `train`, `sft`, `eval` and `bench` on a run so small that it takes seconds.

use std::path::Path;

use serde_json::{Value, json};

use crate::{json_lines, opid, program, run};

const MICRO: &str = r#"
name = "micro"
steps = 2

[environment]
receptacles = [5, 6]
max_turns = 4

[rollout]
groups = 2
group_size = 2
max_response_tokens = 8

[optimizer]
mini_batches = 1

[evaluation]
split = "valid_seen"
games = 3
temperatures = [1.0]

[checkpoint]
every = 1

[warm_start]
vocab_size = 512
hidden_size = 32
intermediate_size = 64
layers = 1
heads = 2
kv_heads = 1
head_dim = 16
probe_games = 2
min_skill_gain = 0.0
stages = [{ updates = 3, episodes = 2, warmup = 1 }]
"#;

/// A folder with the micro recipe.
pub fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("micro.toml"), MICRO).expect("a file");
    folder
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `metrics.jsonl` without what a clock measured.
pub fn timeless_metrics(run: &Path) -> Vec<Value> {
    let mut lines = json_lines(&read(&run.join("metrics.jsonl")));
    for line in &mut lines {
        let fields = line.as_object_mut().expect("an object");
        fields.remove("seconds");
        fields.remove("tokens_per_second");
        fields.remove("memory");
    }
    lines
}

/// Training steps in `metrics.jsonl`.
fn steps(run: &Path) -> Vec<u64> {
    let lines = json_lines(&read(&run.join("metrics.jsonl")));
    lines.iter().filter(|l| l.get("update").is_some()).map(|l| l["step"].as_u64().expect("a step")).collect()
}

#[test]
fn a_run_is_kept_continued_and_evaluated() {
    let place = workplace();
    let trained = opid(place.path(), &["train", "micro.toml", "--run", "run"]);
    assert!(trained.ok().contains("policy saved in run/checkpoints/step_2"), "{}", trained.out);
    let run = place.path().join("run");
    assert_eq!(steps(&run), [1, 2]);
    for step in 0..3 {
        let folder = run.join(format!("checkpoints/step_{step}"));
        let manifest: Value = serde_json::from_str(&read(&folder.join("manifest.json"))).expect("JSON");
        assert_eq!(manifest["step"], step);
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            assert!(folder.join(file).is_file(), "{file} of step {step}");
        }
    }
    assert!(run.join("trajectories/step_000002.jsonl.gz").is_file());

    // The folder is taken, and says how to go on.
    let again = opid(place.path(), &["train", "micro.toml", "--run", "run"]);
    assert!(again.refused().contains("--resume run"), "{}", again.err);

    // A longer run continues where this one stopped.
    let config = read(&run.join("config.toml")).replace("steps = 2", "steps = 3");
    std::fs::write(run.join("config.toml"), config).expect("a file");
    opid(place.path(), &["train", "--resume", "run"]).ok();
    assert_eq!(steps(&run), [1, 2, 3]);
    assert!(run.join("checkpoints/step_3/manifest.json").is_file());

    // A run stands for its last checkpoint, and repeats the run's own evaluation.
    let args = ["--json", "--trajectories", "played.jsonl"];
    let by_run = opid(place.path(), &[&["eval", "run"][..], &args].concat());
    let answer: Value = serde_json::from_str(by_run.ok()).expect("one object");
    let logged = json_lines(&read(&run.join("metrics.jsonl")));
    let logged = logged.iter().rfind(|l| l.get("evaluation").is_some()).expect("the last evaluation");
    let result = &answer["evaluations"][0];
    for key in ["overall", "kinds", "turns", "invalid"] {
        assert_eq!(result[key], logged["evaluation"]["report"][key], "{key}");
    }
    assert_eq!(result["overall"]["tasks"], 3);
    let played = json_lines(&read(&place.path().join("played.jsonl")));
    assert_eq!(played.len(), 3);
    assert!(played.iter().all(|t| t["turns"].is_array() && t["temperature"] == json!(1.0)));

    // A checkpoint inside a run finds the run's recipe; options change it.
    let inside = ["eval", "run/checkpoints/step_2", "--games", "2", "--temperature", "0", "--seed", "7"];
    let table = opid(place.path(), &inside);
    assert!(table.ok().contains("temperature 0") && table.out.contains("all"), "{}", table.out);
    assert!(table.out.contains("valid_seen"), "{}", table.out);
}

#[test]
fn a_run_with_windows_is_kept_continued_evaluated_and_analyzed() {
    let place = workplace();
    let window = ["--set", "prompt.layout=window", "--set", "prompt.history=2"];
    let trained = opid(place.path(), &[&["train", "micro.toml", "--run", "run"][..], &window].concat());
    assert!(trained.ok().contains("policy saved in run/checkpoints/step_2"), "{}", trained.out);
    let run = place.path().join("run");
    let config = read(&run.join("config.toml")).replace("steps = 2", "steps = 3");
    std::fs::write(run.join("config.toml"), config).expect("a file");
    opid(place.path(), &["train", "--resume", "run"]).ok();
    assert_eq!(steps(&run), [1, 2, 3]);
    let logged = json_lines(&read(&run.join("metrics.jsonl")));
    for step in logged.iter().filter(|l| l.get("update").is_some()) {
        let count = |value: &Value| value.as_u64().expect("a count");
        assert!(count(&step["update"]["computed"]) < count(&step["context_tokens"]), "{step}");
        assert_eq!(step["context_tokens"], step["episode_tokens"]);
        assert!(count(&step["skills"]["step_rows"]) > 0 && step["skills"]["too_long"] == 0, "{step}");
    }
    let evaluated = opid(place.path(), &["eval", "run", "--json", "--trajectories", "played.jsonl"]);
    let answer: Value = serde_json::from_str(evaluated.ok()).expect("one object");
    let last = logged.iter().rfind(|l| l.get("evaluation").is_some()).expect("the last evaluation");
    assert_eq!(answer["evaluations"][0]["turns"], last["evaluation"]["report"]["turns"]);
    let played = json_lines(&read(&place.path().join("played.jsonl")));
    assert!(played.iter().all(|t| t["layout"] == "window"), "{played:?}");
    let analyzed = opid(place.path(), &["analyze", "run", "--step", "1", "--json"]);
    let analyzed: Value = serde_json::from_str(analyzed.ok()).expect("one object");
    assert_eq!(analyzed["episodes"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_starting_policy_is_made_and_trained_on() {
    let place = workplace();
    let made = opid(place.path(), &["sft", "micro.toml", "--run", "start"]);
    assert!(
        made.ok().contains("start/checkpoints/step_0") && made.out.contains("starting policy"),
        "{}",
        made.out
    );
    let log = json_lines(&read(&place.path().join("start/metrics.jsonl")));
    assert!(log.iter().any(|l| l["warm_start"]["loss"].as_f64().is_some_and(f64::is_finite)), "{log:?}");
    assert!(log.iter().any(|l| l["probe"]["plain"]["tasks"] == 2), "{log:?}");

    let model = "start/checkpoints/step_0";
    let tuned = opid(place.path(), &["sft", "micro.toml", "--run", "tuned", "--model", model]);
    assert!(place.path().join("tuned/checkpoints/step_0/tokenizer.json").is_file(), "{}", tuned.err);
    let weights =
        |run: &str| std::fs::read(place.path().join(run).join("checkpoints/step_0/model.safetensors"));
    assert_ne!(weights("start").expect("weights"), weights("tuned").expect("weights"));

    let taken = opid(place.path(), &["sft", "micro.toml", "--run", "start"]);
    assert!(taken.refused().contains("holds a run already"), "{}", taken.err);

    let args = ["bench", "step", "--quick", "--json", "--recipe", "micro.toml", "--model", "start"];
    let bench = opid(place.path(), &args);
    let bench: Value = serde_json::from_str(bench.ok()).expect("one object");
    let [opid, grpo] = [0, 1].map(|i| &bench["algorithms"][i]);
    assert_eq!((&opid["algorithm"], &grpo["algorithm"]), (&json!("OPID"), &json!("GRPO")));
    assert!(opid["seconds"]["rescore"].as_f64() > Some(0.0) && grpo["seconds"]["rescore"] == json!(0.0));
    for tokens in [&opid["tokens"], &grpo["tokens"]] {
        let count = |key: &str| tokens[key].as_u64().expect("a count");
        assert!(count("computed") < count("rows_computed"), "{tokens}");
        assert!(count("rows_computed") <= count("padded_computed"), "{tokens}");
    }
}

#[test]
fn missing_models_and_data_are_explained() {
    let place = workplace();
    let empty = place.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    std::fs::write(place.path().join("hf.toml"), "name = \"hf\"\n[policy]\nmodel = \"none\"\n")
        .expect("a file");
    for (args, says) in [
        (vec!["train", "hf.toml"], "there is no model folder none"),
        (vec!["train", "--resume", "empty"], "empty is not a run"),
        (vec!["train", "micro.toml", "--set", "environment.name=alfworld"], "ALFWORLD_DATA"),
        (vec!["train", "micro.toml", "--set", "environment.name=alfworld"], "`household` needs no data"),
        (vec!["sft", "micro.toml", "--model", "none"], "there is no model folder none"),
        (vec!["sft", "hf.toml"], "[[warm_start.stages]]"),
        (vec!["sft", "micro.toml", "--set", "warm_start.whole_names=true"], "household has no names"),
        (vec!["eval", "none"], "none is no model"),
        (vec!["eval", "empty"], "Hugging Face folder"),
        (vec!["train", "micro.toml", "--set", "evaluation.games=0"], "games without end"),
        (vec!["bench", "step", "--model", "none"], "none is no model"),
        (vec!["bench", "step", "--recipe", "missing.toml"], "missing.toml"),
    ] {
        let result = opid(place.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
    assert!(!place.path().join("runs").exists(), "nothing is left behind");
    let result = opid(place.path(), &["eval", "empty", "--temperature", "-1"]);
    assert!(!result.success, "{}", result.out);
}

#[test]
fn unknown_kernels_are_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let result = run(program(place.path()).env("OPID_KERNELS", "abacus").arg("config"));
    assert!(
        result.refused().contains("OPID_KERNELS is \"abacus\"; this processor has portable"),
        "{}",
        result.err
    );
}
