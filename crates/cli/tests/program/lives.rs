//! Runs that are killed, interrupted, looked into and exported.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use opid_env::random::Draw;
use serde_json::Value;

use crate::runs::{read, timeless_metrics, workplace};
use crate::{opid, program};

/// Runs in which the program is killed at a random moment, unless `OPID_KILLS` says otherwise.
const KILLS: u64 = 4;

/// The program as a process that can be ended.
fn begin(folder: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opid"));
    command.current_dir(folder).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("ALFWORLD_DATA", folder.join("games")).env_remove("WEBSHOP_DATA");
    command.spawn().expect("the program starts")
}

/// Waits until a checkpoint of a run of a process is there.
fn await_checkpoint(child: &mut Child, place: &Path) {
    let waited = Instant::now();
    while !place.is_dir() {
        assert!(waited.elapsed() < Duration::from_secs(120), "{} does not come", place.display());
        assert!(child.try_wait().expect("a process").is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A short run of the micro recipe from a policy that is there.
const SHORT: [&str; 12] = [
    "micro.toml",
    "--set",
    "warm_start.stages=[{ updates = 1, episodes = 1 }]",
    "--set",
    "warm_start.probe_games=1",
    "--set",
    "steps=3",
    "--set",
    "evaluation={ every = 1, games = 1, temperatures = [1.0, 0.4] }",
    "--set",
    "checkpoint={ every = 1, keep = 1, keep_best = 1 }",
    "--set=evaluation.split=valid_seen",
];

fn trained(place: &Path, run: &str, changes: &[&str]) {
    let output = begin(place, &[&["train", "--run", run][..], &SHORT, changes].concat()).wait_with_output();
    let output = output.expect("an end");
    assert!(output.status.success(), "{changes:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Compares two runs: metrics, last weights and trajectories.
fn same(place: &Path, whole: &str, run: &str) {
    let [whole, run] = [whole, run].map(|run| place.join(run));
    assert_eq!(timeless_metrics(&whole), timeless_metrics(&run), "{}", run.display());
    for file in [
        "checkpoints/step_3/model.safetensors",
        "checkpoints/step_3/optimizer.safetensors",
        "trajectories/step_000001.jsonl.gz",
        "trajectories/step_000002.jsonl.gz",
        "trajectories/step_000003.jsonl.gz",
    ] {
        let [a, b] = [&whole, &run].map(|run| std::fs::read(run.join(file)).expect(file));
        assert!(a == b, "{file} of {} differs", run.display());
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_comes_to_the_same() {
    let kills = std::env::var("OPID_KILLS").map_or(KILLS, |n| n.parse().expect("a whole number"));
    let place = workplace();
    let place = place.path();
    let methods = [("opid", "--set=algorithm.name=opid"), ("grpo", "--set=algorithm.name=grpo")];
    let took = methods.map(|(whole, method)| {
        let start = Instant::now();
        trained(place, whole, &[method]);
        start.elapsed()
    });
    for number in 0..kills {
        let turn = number as usize % methods.len();
        let ((whole, method), took) = (methods[turn], took[turn]);
        let run = format!("run_{number}");
        let mut draw = Draw::new(&[number, kills]);
        let mut lives = 0;
        loop {
            let begun = place.join(&run).join("config.toml").is_file();
            let resume = ["train", "--resume", &run];
            let fresh = [&["train", "--run", &run][..], &SHORT, &[method]].concat();
            let mut child = begin(place, if begun { &resume } else { &fresh });
            // The first lives are short, the last as long as it takes.
            if lives < 3 {
                std::thread::sleep(took.mul_f64(draw.unit()));
                child.kill().expect("it can be killed");
            }
            let output = child.wait_with_output().expect("an end");
            lives += 1;
            if output.status.success() {
                break;
            }
            assert!(lives < 5, "{}", String::from_utf8_lossy(&output.stderr));
        }
        same(place, whole, &run);
        opid(place, &["inspect", &run]).ok();
    }
}

#[test]
fn a_run_in_any_environment_is_gone_on_with() {
    let place = workplace();
    let place = place.path();
    for split in ["train", "valid_seen"] {
        opid(place, &["generate", "--out", "games", "--games", "8", "--split", split]).ok();
    }
    let methods = [
        &["--set=algorithm.name=grpo"][..],
        &["--set=skill.min_coverage=0", "--set=skill.max_failures=1", "--set=prompt.layout=window"],
    ];
    let environments = [
        ("household", &["--set=environment.name=household"][..]),
        ("alfworld", &["--set=environment.name=alfworld"]),
        ("webshop", &["--set=environment.name=webshop", "--set=evaluation.split=test"]),
        ("search", &["--set=environment.name=search", "--set=environment.search.size=0.2"]),
    ];
    for (name, environment) in environments {
        for (number, method) in methods.iter().enumerate() {
            let changes = [environment, method].concat();
            let [whole, run] = ["whole", "run"].map(|run| format!("{name}_{number}_{run}"));
            trained(place, &whole, &changes);
            let mut child = begin(place, &[&["train", "--run", &run][..], &SHORT, &changes].concat());
            await_checkpoint(&mut child, &place.join(&run).join("checkpoints/step_1"));
            child.kill().expect("it can be killed");
            child.wait().expect("an end");
            let output = begin(place, &["train", "--resume", &run]).wait_with_output().expect("an end");
            assert!(output.status.success(), "{run}: {}", String::from_utf8_lossy(&output.stderr));
            same(place, &whole, &run);
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_says_how_to_go_on() {
    let place = workplace();
    let place = place.path();
    trained(place, "whole", &[]);
    let mut child = begin(place, &[&["train", "--run", "run"][..], &SHORT].concat());
    // As soon as there is something to go on from.
    await_checkpoint(&mut child, &place.join("run/checkpoints/step_0"));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill").success());
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("again to stop at once"), "{said}");
    assert!(said.contains("to go on: opid train --resume run"), "{said}");
    opid(place, &["train", "--resume", "run"]).ok();
    same(place, "whole", "run");
}

#[test]
fn a_folder_is_looked_into_and_exported() {
    let place = workplace();
    let place = place.path();
    trained(place, "run", &[]);
    let shown = opid(place, &["inspect", "run"]);
    for part in
        ["run micro: OPID on household", "3 of 3 steps", "step 3: qwen3", "with optimizer, whole", "success"]
    {
        assert!(shown.ok().contains(part), "{part}: {}", shown.out);
    }
    let facts = |args: &[&str]| -> Value { serde_json::from_str(&opid(place, args).out).expect("JSON") };
    assert_eq!(facts(&["inspect", "run", "--json"])["run"]["saved"], 3);

    // The last checkpoint stays, the best (of equals the later), and the start.
    let evaluated = timeless_metrics(&place.join("run")).into_iter().filter_map(|line| {
        let evaluation = line.get("evaluation").filter(|e| e["temperature"] == 1.0 && e["step"] != 0)?;
        Some((evaluation["report"]["overall"]["won"].as_u64()?, evaluation["step"].as_u64()?))
    });
    let best = evaluated.max().expect("an evaluation").1;
    let stay: BTreeSet<String> = [0, 3, best].map(|step| format!("step_{step}")).into();
    let there = std::fs::read_dir(place.join("run/checkpoints")).expect("a folder");
    let there: BTreeSet<String> =
        there.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(there, stay);

    // What is exported is what others load: no more, and the same weights.
    let exported = opid(place, &["export", "run", "--out", "policy", "--dtype", "bf16"]);
    assert!(exported.ok().contains("bfloat16 in policy"), "{}", exported.out);
    let mut files: Vec<String> = std::fs::read_dir(place.join("policy"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let expected = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(files, expected);
    assert_eq!(facts(&["inspect", "policy", "--json"])["models"][0]["dtypes"], serde_json::json!(["bf16"]));
    opid(place, &["export", "run/checkpoints/step_3", "--out", "exact"]).ok();
    let weights =
        |folder: &str| std::fs::read(place.join(folder).join("model.safetensors")).expect("weights");
    assert_eq!(weights("exact"), weights("run/checkpoints/step_3"));
    let tokens = |folder: &str| read(&place.join(folder).join("tokenizer.json"));
    assert_eq!(tokens("exact"), tokens("run/checkpoints/step_0"));
    opid(place, &["eval", "policy", "--recipe", "micro.toml", "--games", "1"]).ok();
    let taken = opid(place, &["export", "run", "--out", "policy"]);
    assert!(taken.refused().contains("name another folder"), "{}", taken.err);

    // Damage is found, said, and passed over.
    let broken = place.join("run/checkpoints/step_3/model.safetensors");
    let mut bytes = std::fs::read(&broken).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&broken, bytes).expect("weights");
    let shown = opid(place, &["inspect", "run"]);
    assert!(shown.refused().contains("step_3: model.safetensors does not have the content"), "{}", shown.err);
    let refused = opid(place, &["export", "run/checkpoints/step_3", "--out", "more"]);
    assert!(refused.refused().contains("not whole"), "{}", refused.err);
    let resumed = opid(place, &["train", "--resume", "run"]);
    assert!(resumed.ok().contains("the checkpoint of step 3 is passed over"), "{}", resumed.out);
    opid(place, &["inspect", "run"]).ok();
    for wrong in [&["inspect", "nothing"], &["inspect", "run/trajectories"]] {
        assert!(opid(place, wrong).refused().contains("is no model"), "{wrong:?}");
    }
}

#[test]
fn a_model_that_no_machine_holds_is_refused_before_it_is_read() {
    let place = workplace();
    let folder = place.path().join("huge");
    std::fs::create_dir(&folder).expect("a folder");
    let config = r#"{"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2","vocab_size":152064,"hidden_size":16384,
        "intermediate_size":59136,"num_hidden_layers":160,"num_attention_heads":128,"num_key_value_heads":16,
        "max_position_embeddings":4096,"tie_word_embeddings":false,"eos_token_id":1}"#;
    std::fs::write(folder.join("config.json"), config).expect("a file");
    std::fs::write(place.path().join("hf.toml"), "name = \"hf\"\n[policy]\nmodel = \"huge\"\n")
        .expect("a file");
    let refused = opid(place.path(), &["train", "hf.toml", "--run", "run"]);
    for part in ["this run needs at least", "weights ", "moments ", "are there", "use a smaller model"] {
        assert!(refused.refused().contains(part), "{part}: {}", refused.err);
    }
    assert!(!place.path().join("run").exists(), "nothing is left behind");
}

#[test]
fn a_run_that_was_never_begun_is_not_resumed() {
    let place = workplace();
    let result = crate::run(program(place.path()).args(["train", "--resume", "."]));
    assert!(result.refused().contains("is not a run"), "{}", result.err);
}
