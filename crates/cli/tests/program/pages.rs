//! `report`, `view`, `runs` and `track` on a very small run.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::runs::{read, workplace};
use crate::serving::Serving;
use crate::{json_lines, opid};

/// What a page holds under a name.
fn unpacked(page: &str, name: &str) -> Option<Value> {
    let start = page.split(&format!("id=\"{name}\">")).nth(1)?;
    let bytes = STANDARD.decode(start.split('<').next()?).expect("base64");
    let mut text = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// The episodes of a step are whole: pieces make up responses, and skills stand in the history.
fn check_body(body: &Value, run: &Path) {
    assert_eq!(body["reason"], Value::Null);
    let episodes = body["episodes"].as_array().expect("episodes");
    assert_eq!(episodes.len(), 4);
    let mut injections = [0, 0];
    for episode in episodes {
        let skill = episode["episode_skill"].as_str().expect("a skill").trim();
        let first = &episode["turns"][0]["episode_injection"];
        if let Some(inserted) = first["inserted"].as_str() {
            injections[0] += 1;
            assert!(inserted.contains(skill) && first["removed"] == "", "{first}");
        }
        for turn in episode["turns"].as_array().expect("turns") {
            let pieces: Vec<&str> =
                turn["pieces"].as_array().expect("pieces").iter().filter_map(Value::as_str).collect();
            let old = turn["old"].as_array().expect("log-probabilities");
            assert_eq!(pieces.len(), old.len());
            let text = pieces.concat().replace("<|end|>", "");
            // A response that is cut off may end within a character.
            assert!(text.contains('\u{fffd}') || text == turn["text"].as_str().expect("a text"), "{turn}");
            for part in ["episode", "step"].iter().filter_map(|part| turn.get(*part)) {
                assert_eq!(part["logprobs"].as_array().map(Vec::len), Some(old.len()));
            }
            let scored = |part: &str| turn.get(part).is_some();
            assert!(!(scored("episode") && scored("step")), "routing is critical-first: {turn}");
            if scored("step") {
                injections[1] += 1;
                let injection = turn["step_injection"]["inserted"].as_str().expect("an injection");
                assert!(injection.contains(turn["step_skill"].as_str().expect("a skill").trim()), "{turn}");
            }
        }
    }
    assert!(injections.iter().all(|count| *count > 0), "{}: {injections:?}", run.display());
}

#[test]
fn a_run_is_shown_as_a_page_and_served() {
    let place = workplace();
    // With one step skill an episode, both kinds of skills are used.
    opid(place.path(), &["train", "micro.toml", "--run", "runs/a", "--set", "skill.max_step_skills=1"]).ok();
    let run = place.path().join("runs/a");
    let said = opid(place.path(), &["report", "runs/a", "--out", "a.html"]);
    assert!(said.ok().contains("a.html: 1 run, episodes of 2 steps"), "{}", said.out);
    let page = read(&place.path().join("a.html"));
    assert!(
        !page.contains("http://127") && !page.contains("https://") && !page.contains("{{"),
        "nothing is loaded"
    );
    let summary = unpacked(&page, "summary").expect("a summary");
    let shown = &summary["runs"][0];
    assert_eq!(
        (&shown["state"], &shown["done"], &shown["planned"]),
        (&json!("finished"), &json!(2), &json!(2))
    );
    let lines = json_lines(&read(&run.join("metrics.jsonl")));
    let step = lines.iter().find(|line| line.get("update").is_some()).expect("a step");
    assert_eq!(shown["columns"]["success"][0], step["success"]);
    assert_eq!(shown["episodes"]["step"], json!([1, 1, 1, 1, 2, 2, 2, 2]));
    assert_eq!(shown["config"]["rollout.groups"], "2");
    check_body(&unpacked(&page, "steps-0-2").expect("episodes"), &run);

    // Without room, episodes are left out, and it is said.
    let bare = opid(place.path(), &["report", "runs", "--out", "bare.html", "--max-mb", "0"]);
    assert!(bare.ok().contains("episodes of 2 more steps have no room"), "{}", bare.out);
    assert!(unpacked(&read(&place.path().join("bare.html")), "steps-0-1").is_none());

    // Served, the page says the same, and follows the run.
    let server = Serving::start(place.path(), &["view", "runs"], &[]);
    let (status, page) = server.get("/", &[]);
    assert!(status == 200 && unpacked(&page, "summary").is_none(), "{page}");
    let summary = |path: &str| serde_json::from_str::<Value>(&server.get(path, &[]).1).expect("JSON");
    let first = summary("/summary");
    assert_eq!(first["runs"][0]["columns"], shown["columns"]);
    let version = first["version"].as_str().expect("a version");
    assert_eq!(summary(&format!("/summary?version={version}")), json!({ "unchanged": true }));
    check_body(&summary("/steps/0/1"), &run);
    let metrics = run.join("metrics.jsonl");
    // Half a line is being written; the next is no JSON.
    std::fs::write(&metrics, read(&metrics) + "{\"step\": 3, \"upd").expect("a file");
    assert_eq!(summary(&format!("/summary?version={version}"))["runs"][0]["done"], 2);
    std::fs::write(&metrics, read(&metrics) + "\n").expect("a file");
    let warned = summary(&format!("/summary?version={version}"));
    let warning = warned["runs"][0]["warnings"][0]["text"].as_str().expect("a warning");
    assert!(warning.contains("1 line of metrics.jsonl cannot be read"), "{warning}");
    for (path, headers, expected) in [
        ("/", &[("host", "foreign.example")][..], 403),
        ("/", &[("host", "localhost:1")], 200),
        ("/steps/7/1", &[], 404),
        ("/steps/0/9", &[], 500),
        ("/../config.toml", &[], 404),
    ] {
        assert_eq!(server.get(path, headers).0, expected, "{path}");
    }

    // Where the starting policy is gone, texts are shown without single tokens.
    std::fs::rename(run.join("checkpoints/step_0"), run.join("checkpoints/gone")).expect("a folder");
    opid(place.path(), &["report", "runs/a", "--out", "b.html"]).ok();
    let body = unpacked(&read(&place.path().join("b.html")), "steps-0-1").expect("episodes");
    assert!(body["reason"].as_str().is_some_and(|reason| reason.contains("step_0")), "{}", body["reason"]);
    assert_eq!(body["episodes"][0]["turns"][0]["pieces"], Value::Null);
}

#[test]
fn runs_are_listed_and_told_to_other_tools() {
    let place = workplace();
    // A server that is away stops nothing; what it was not told is counted.
    let away = ["--set", "log.mlflow=http://127.0.0.1:1", "--set", "log.tensorboard=true"];
    let trained = opid(place.path(), &[&["train", "micro.toml", "--run", "runs/a"][..], &away].concat());
    trained.ok();
    assert!(trained.err.contains("numbers did not reach MLflow: http://127.0.0.1:1: "), "{}", trained.err);
    let board = place.path().join("runs/a/tensorboard");
    let files: Vec<_> = std::fs::read_dir(&board).expect("a folder").collect();
    assert_eq!(files.len(), 1);
    let written = std::fs::read(files[0].as_ref().expect("a file").path()).expect("bytes");
    for name in [
        "brain.Event:2",
        "train/success",
        "update/kl",
        "evaluation-valid_seen-T1/overall/success",
        "probe/plain/success",
    ] {
        assert!(written.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    let tracked = opid(place.path(), &["track", "runs/a", "--tensorboard", "board"]);
    assert!(tracked.ok().contains("numbers written into board"), "{}", tracked.out);

    std::fs::create_dir(place.path().join("runs/broken")).expect("a folder");
    std::fs::write(place.path().join("runs/broken/config.toml"), "steps = [").expect("a file");
    let table = opid(place.path(), &["runs"]);
    let line = table.ok().lines().find(|line| line.starts_with("runs/a ")).expect(&table.out);
    assert!(line.contains("finished") && line.contains("2/2") && line.contains("OPID"), "{line}");
    assert!(table.out.contains("runs/broken"), "{}", table.out);
    let listed = json_lines(opid(place.path(), &["runs", "--json"]).ok());
    assert_eq!((&listed[0]["state"], &listed[0]["done"]), (&json!("finished"), &json!(2)));
    assert!(listed[1]["error"].as_str().is_some_and(|error| error.contains("config.toml")), "{}", listed[1]);

    for (args, says) in [
        (vec!["report", "nowhere"], "nowhere is no run"),
        (vec!["view", "nowhere"], "nowhere is no run"),
        (vec!["runs", "nowhere"], "nowhere is no run"),
        (vec!["report", "runs/a", "--out", "no/such/folder.html"], "cannot write no/such/folder.html"),
        (vec!["report", "runs/broken"], "config.toml"),
        (vec!["track", "runs/a"], "--tensorboard DIR"),
        (vec!["track", "runs/a", "--mlflow", "http://127.0.0.1:1"], "did not reach MLflow"),
        (vec!["track", "nowhere", "--tensorboard", "x"], "nowhere/config.toml"),
        (vec!["train", "micro.toml", "--set", "log.mlflow=localhost:5000"], "URL of a tracking server"),
        (vec!["train", "micro.toml", "--set", "log.mlflow=http://me:secret@host"], "MLFLOW_TRACKING_TOKEN"),
    ] {
        let result = opid(place.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
}
