//! `play` and `generate`: games played over pipes and from files.

use opid_env::alfworld::{GameFile, GameTask};
use opid_env::environment::Task;
use opid_env::household::{HouseholdConfig, World};
use serde_json::{Value, json};

use crate::{fed, json_lines, opid, program, run};

/// The lines that send these commands.
fn actions(commands: &[String]) -> String {
    commands.iter().map(|command| format!("{}\n", json!({ "action": command }))).collect()
}

#[test]
fn a_program_wins_a_household_game() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = HouseholdConfig { size: (6, 9), ..HouseholdConfig::default() };
    let world = World::new(config, 5).expect("good settings");
    let task = world.task("valid_unseen", 3).expect("a game");
    let plan = task.walkthrough().expect("a made game has one");
    let args = ["play", "--json", "--split", "valid_unseen", "--index", "3", "--seed", "5"];
    let lines = json_lines(fed(folder.path(), &args, &actions(plan)).ok());
    assert_eq!(lines.len(), plan.len() + 1);
    let first = &lines[0];
    assert_eq!(first["task_id"], task.id());
    assert_eq!(first["kind"], task.kind());
    assert_eq!(first["goal"], task.goal());
    assert!(first["observation"].as_str().is_some_and(|o| o.contains(task.goal())), "{first}");
    for (line, command) in lines.iter().zip(plan) {
        let admissible = line["admissible"].as_array().expect("a list");
        assert!(admissible.contains(&json!(command)), "{command} in {line}");
        assert_eq!((&line["won"], &line["score"]), (&json!(false), &json!(0.0)));
    }
    let last = lines.last().expect("a line");
    assert_eq!((&last["won"], &last["done"], &last["score"]), (&json!(true), &json!(true), &json!(1.0)));
    assert_eq!(last["step"], plan.len());
}

#[test]
fn malformed_lines_are_answered_and_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = "{\"action\": \"look\"}\nlook\n{\"action\": 5}\n[]\n{\"reset\": true, \"action\": \"look\"}\n{}\n\
                 {\"acton\": \"look\"}\n\n{\"action\": \"dance\"}\n{\"action\": \"inventory\"}\n{\"reset\": true}\n\
                 {\"action\": \"look\"}";
    let result = fed(folder.path(), &["play", "--json", "--max-turns", "2"], input);
    let lines = json_lines(result.ok());
    let kinds: Vec<&str> = lines.iter().map(kind).collect();
    let error = "error";
    assert_eq!(
        kinds,
        ["reset", "step", error, error, error, error, error, error, "step", error, "reset", "step"]
    );
    assert_eq!(lines[8]["observation"], "Nothing happens.");
    assert_eq!((&lines[8]["done"], &lines[8]["won"]), (&json!(true), &json!(false)), "out of turns");
    assert!(lines[9]["error"].as_str().is_some_and(|e| e.contains("reset")), "{}", lines[9]);
    assert_eq!(lines[0], lines[10]);
    let mut bytes = program(folder.path());
    let result =
        run(bytes.args(["play", "--json"]).write_stdin(b"\xff\xfe\n{\"action\": \"look\"}\n".to_vec()));
    assert_eq!(json_lines(result.ok()).iter().map(kind).collect::<Vec<_>>(), ["reset", error, "step"]);
}

fn kind(line: &Value) -> &'static str {
    match (line.get("error"), line.get("task_id")) {
        (Some(_), _) => "error",
        (_, Some(_)) => "reset",
        _ => "step",
    }
}

#[test]
fn a_person_plays_by_number_and_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let result = fed(folder.path(), &["play"], "?\n1\n999\nlook\n\nreset\nquit\n");
    let out = result.ok();
    for says in ["Your task is to:", "Goal: ", "   1  go to ", "You arrive at", "there is no command 999"] {
        assert!(out.contains(says), "{says} in {out}");
    }
    let result = fed(folder.path(), &["play", "--max-turns", "1"], "look\nlook\n");
    assert!(result.ok().contains("Not won"), "{}", result.out);
}

#[test]
fn generated_games_play_from_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = "pick_clean_then_place_in_recep,look_at_obj_in_light";
    let args = ["generate", "--out", "data", "--games", "6", "--split", "valid_seen", "--seed", "2"];
    let result = opid(folder.path(), &[&args[..], &["--kinds", kinds, "--receptacles", "5,8"]].concat());
    assert!(result.ok().contains("6 games"), "{}", result.out);
    let split = folder.path().join("data/json_2.1.1/valid_seen");
    let mut games = 0;
    for task in std::fs::read_dir(split).expect("a split") {
        for trial in std::fs::read_dir(task.expect("a task").path()).expect("trials") {
            let trial = trial.expect("a trial").path();
            let path = trial.join("game.tw-pddl");
            let file = GameFile::load(&path).expect("a game");
            let plan = file.walkthrough.clone().expect("a walkthrough");
            let kind = GameTask::new(String::new(), file.game, None).kind().to_owned();
            let about: Value =
                serde_json::from_str(&std::fs::read_to_string(trial.join("traj_data.json")).expect("a file"))
                    .expect("JSON");
            assert_eq!(about["task_type"], json!(kind));
            let path = path.to_str().expect("a plain name");
            let lines = fed(folder.path(), &["play", "--json", "--game", path], &actions(&plan));
            assert_eq!(json_lines(lines.ok()).last().expect("a line")["won"], true);
            games += 1;
        }
    }
    assert_eq!(games, 6);
    let mut alfworld = program(folder.path());
    alfworld.env("ALFWORLD_DATA", "data").args([
        "play",
        "--json",
        "--env",
        "alfworld",
        "--split",
        "valid_seen",
    ]);
    assert_eq!(json_lines(run(alfworld.write_stdin("")).ok()).len(), 1);
}

#[test]
fn games_that_cannot_be_had_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    for (args, says) in [
        (vec!["play", "--env", "alfworld"], "ALFWORLD_DATA"),
        (vec!["play", "--env", "alfworld"], "`household` needs no data"),
        (vec!["play", "--env", "chess"], "there are household, alfworld, webshop"),
        (vec!["play", "--split", "test"], "valid_unseen"),
        (vec!["play", "--receptacles", "9,2"], "9 to 2"),
        (vec!["play", "--game", "none.tw-pddl"], "none.tw-pddl"),
        (vec!["play", "--max-turns", "0"], "1 or more"),
        (vec!["generate", "--out", "data", "--kinds", "dance"], "no kind of task `dance`"),
        (vec!["generate", "--out", "data", "--split", "test"], "no split `test`"),
        (vec!["generate", "--out", "data", "--games", "0"], "give a number of games"),
    ] {
        let result = opid(folder.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
    let result = opid(folder.path(), &["play", "--receptacles", "9"]);
    assert!(!result.success && result.err.contains("for example 6,9"), "{}", result.err);
}

#[test]
fn environments_are_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let result = opid(folder.path(), &["bench", "env", "--quick", "--json"]);
    let answer: Value = serde_json::from_str(result.ok()).expect("one object");
    let measured = answer["environments"].as_array().expect("a list");
    assert_eq!(measured.len(), 3, "no games of ALFWorld here");
    assert!(measured.iter().all(|m| m["steps"]["per_cpu_second"].as_f64() > Some(1000.0)), "{answer}");
    let figures = answer["figures"].as_array().expect("a list");
    for what in ["load", "clicks", "searches"] {
        let name = format!("webshop/1000/{what}");
        let figure = figures.iter().find(|figure| figure["name"] == name.as_str()).expect(what);
        assert!(figure["value"].as_f64() > Some(0.0), "{figure}");
    }
    let mut real = program(folder.path());
    let result = run(real.env("ALFWORLD_DATA", "none").args(["bench", "env", "--quick"]));
    assert!(result.refused().contains("alfworld-download"), "{}", result.err);
}
