//! `experiment`: cells and seeds side by side, gone on with, and reported.

use std::fs::{self, File};
use std::path::Path;

use crate::runs::{read, timeless_metrics, workplace};
use crate::{Result, opid};

const PAIR: &str = r#"
name = "pair"
recipe = "micro.toml"
seeds = [1, 2]
baseline = "grpo"

[[cell]]
name = "grpo"
set = ["algorithm.name=grpo"]

[[cell]]
name = "opid"
set = ["skill.min_coverage=0"]
"#;

/// A folder with the micro recipe and an experiment.
fn laboratory(experiment: &str) -> tempfile::TempDir {
    let place = workplace();
    fs::write(place.path().join("pair.toml"), experiment).expect("a file");
    place
}

fn experiment(place: &Path, options: &[&str]) -> Result {
    opid(place, &[&["experiment", "pair.toml"][..], options].concat())
}

fn policy(run: &Path, step: u64) -> Vec<u8> {
    fs::read(run.join(format!("checkpoints/step_{step}/model.safetensors"))).expect("weights")
}

fn rows(file: &Path) -> usize {
    read(file).lines().count() - 1
}

#[test]
fn cells_and_seeds_are_run_once_and_reported() {
    let place = laboratory(PAIR);
    let plan = experiment(place.path(), &["--dry-run"]);
    assert_eq!(plan.ok().matches("to be run").count(), 4, "{}", plan.out);
    assert!(!place.path().join("runs").exists(), "a dry run makes nothing");

    let whole = experiment(place.path(), &["--jobs", "2"]);
    assert!(whole.ok().contains("4 of 4 runs finished"), "{}\n{}", whole.out, whole.err);
    assert!(whole.err.contains("opid seed 2 is done"), "{}", whole.err);
    let folder = place.path().join("runs/pair");
    // Two evaluations and two training steps of every run.
    assert_eq!(rows(&folder.join("results.csv")), 8);
    assert_eq!(rows(&folder.join("curves.csv")), 8);
    assert_eq!(rows(&folder.join("comparisons.csv")), 1);
    let picture = read(&folder.join("curves.svg"));
    assert!(picture.contains("<svg") && picture.contains("Success in evaluation, T 1"), "{picture}");
    let report = read(&folder.join("report.txt"));
    assert!(whole.out.contains(&report) && report.contains("difference to grpo"), "{report}");

    // One starting policy for all; seeds and methods part from there.
    let run = |cell: &str, seed: u64| folder.join(format!("cells/{cell}/seed_{seed}"));
    let start = policy(&folder.join("start"), 0);
    for (cell, seed) in [("grpo", 1), ("grpo", 2), ("opid", 1), ("opid", 2)] {
        assert!(policy(&run(cell, seed), 0) == start, "{cell} {seed}");
        assert!(policy(&run(cell, seed), 2) != start, "{cell} {seed}");
    }
    // The warm start's 3 updates of 2 episodes have shown the first six games.
    assert!(read(&run("grpo", 1).join("config.toml")).contains("first_task = 6\n"));
    assert!(policy(&run("opid", 1), 2) != policy(&run("opid", 2), 2));
    assert!(policy(&run("opid", 1), 2) != policy(&run("grpo", 1), 2));

    let again = experiment(place.path(), &[]);
    assert!(
        again.ok().contains("4 runs are finished already") && !again.err.contains("begins"),
        "{}",
        again.out
    );
    assert_eq!(read(&folder.join("report.txt")), report);

    // A run that stopped at each of three places: what was kept, and what comes of it, are as before.
    let before =
        [("grpo", 1), ("grpo", 2), ("opid", 1)].map(|(cell, seed)| timeless_metrics(&run(cell, seed)));
    let last = policy(&run("opid", 1), 2);
    fs::remove_dir_all(run("grpo", 1).join("checkpoints")).expect("a folder");
    fs::create_dir(run("grpo", 1).join("checkpoints")).expect("a folder");
    fs::remove_dir_all(run("opid", 1).join("checkpoints/step_2")).expect("a folder");
    for (cell, seed) in [("grpo", 1), ("grpo", 2), ("opid", 1)] {
        let file = run(cell, seed).join("metrics.jsonl");
        let text = read(&file);
        let end = text.trim_end().rfind('\n').expect("two lines") + 1;
        fs::write(&file, &text[..end]).expect("a file");
    }
    let stopped = experiment(place.path(), &["--dry-run"]);
    for says in ["stopped before its first checkpoint", "2 steps done", "finished"] {
        assert!(stopped.ok().contains(says), "{}", stopped.out);
    }
    let some = experiment(place.path(), &["--report"]);
    assert!(some.ok().contains("1 of 4 runs finished"), "{}", some.out);
    assert_eq!(rows(&folder.join("comparisons.csv")), 0);
    let resumed = experiment(place.path(), &[]);
    assert!(resumed.ok().contains("4 of 4 runs finished"), "{}\n{}", resumed.out, resumed.err);
    let after =
        [("grpo", 1), ("grpo", 2), ("opid", 1)].map(|(cell, seed)| timeless_metrics(&run(cell, seed)));
    assert_eq!(before, after);
    assert!(policy(&run("opid", 1), 2) == last);

    // What is there is never mixed with runs of another recipe.
    let other = PAIR.replace("skill.min_coverage=0\"", "skill.min_coverage=0\", \"skill.step_weight=0.5\"");
    fs::write(place.path().join("pair.toml"), other).expect("a file");
    let changed = experiment(place.path(), &[]);
    assert!(changed.refused().contains("skill.step_weight: 0.1 then, 0.5 now"), "{}", changed.err);
    assert!(experiment(place.path(), &["--folder", "elsewhere", "--dry-run"]).success);

    // Nobody else works in the folder at the same time.
    fs::write(place.path().join("pair.toml"), PAIR).expect("a file");
    let lock = File::create(folder.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    assert!(experiment(place.path(), &[]).refused().contains("in use by another"));
}

#[test]
fn a_cell_that_fails_does_not_stop_the_others() {
    let place = laboratory(&PAIR.replace("skill.min_coverage=0", "skill.min_advantage_share=1"));
    let result = experiment(place.path(), &["--jobs", "1"]);
    assert!(!result.success && result.out.contains("2 of 4 runs finished"), "{}\n{}", result.out, result.err);
    for says in ["opid seed 1 failed", "skill.min_advantage_share = 1", "2 of 4 runs failed", "pair.toml"] {
        assert!(result.err.contains(says), "{says}: {}", result.err);
    }
    let log = read(&place.path().join("runs/pair/cells/opid/seed_1.log"));
    assert!(log.contains("OPID on household") && log.contains("error: "), "{log}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_all_runs_and_the_same_command_goes_on() {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let long = PAIR.replace("seeds = [1, 2]", "seeds = [1]\nset = [\"steps=120\", \"checkpoint.every=20\"]");
    let place = laboratory(&long);
    let child = Command::new(env!("CARGO_BIN_EXE_opid"))
        .args(["experiment", "pair.toml", "--jobs", "2"])
        .current_dir(place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let cells = ["grpo", "opid"].map(|cell| place.path().join(format!("runs/pair/cells/{cell}/seed_1")));
    let begun = || cells.iter().all(|run| run.join("trajectories/step_000001.jsonl.gz").exists());
    for _ in 0..1200 {
        if begun() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun(), "both runs train");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(interrupt.success());
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("interrupted; the same command goes on"), "{said}");
    // Runs have ended, too: their lock is free.
    assert!(cells.iter().any(|run| !run.join("trajectories/step_000120.jsonl.gz").exists()));
    let resumed = experiment(place.path(), &["--jobs", "2"]);
    assert!(resumed.ok().contains("2 of 2 runs finished"), "{}\n{}", resumed.out, resumed.err);
    for run in &cells {
        let steps = timeless_metrics(run).iter().filter(|line| !line["update"].is_null()).count();
        assert_eq!(steps, 120, "{}", run.display());
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    for (written, instead, says) in [
        ("baseline = \"grpo\"", "basline = \"grpo\"", vec!["did you mean `baseline`?", "pair.toml"]),
        ("baseline = \"grpo\"", "baseline = \"gpro\"", vec!["`gpro` is no cell", "did you mean `grpo`?"]),
        ("[1, 2]", "[1, 1]", vec!["has one twice"]),
        ("[1, 2]", "[]", vec!["give at least one"]),
        ("[1, 2]", "[-1]", vec!["seeds = [-1]"]),
        (
            "micro.toml",
            "none.toml",
            vec!["cell grpo: cannot read the recipe", "cell opid: cannot read the recipe"],
        ),
        ("name = \"opid\"", "name = \"a/b\"", vec!["\"a/b\" names a folder"]),
        ("name = \"opid\"", "name = \"grpo\"", vec!["two cells are named grpo"]),
        ("skill.min_coverage=0", "seed=4", vec!["a run's seed"]),
        (
            "algorithm.name=grpo\"]",
            "algorithm.name=gpro\"]\n[[cell]]\nname=\"third\"\nset = [\"rollout.group_size=1\"]",
            vec!["cell grpo: ", "did you mean `grpo`?", "cell third: recipe key rollout.group_size"],
        ),
        (
            "skill.min_coverage=0",
            "evaluation.games=2",
            vec!["cannot be compared: evaluation.games is 3 in one and 2"],
        ),
        ("skill.min_coverage=0", "environment.name=alfworld", vec!["cannot be compared: environment.name"]),
    ] {
        let place = laboratory(&PAIR.replace(written, instead));
        let result = experiment(place.path(), &[]);
        for says in says {
            assert!(result.refused().contains(says), "{instead}: {}", result.err);
        }
        assert!(!place.path().join("runs").exists(), "{instead}: nothing is left behind");
    }
    let place = laboratory(&PAIR.replace("[1, 2]", "[1, 2]\nset = [\"environment.name=alfworld\"]"));
    assert!(experiment(place.path(), &[]).refused().contains("ALFWORLD_DATA"));
    assert!(opid(place.path(), &["experiment", "none.toml"]).refused().contains("none.toml"));
    assert!(
        opid(place.path(), &["experiment", "pair.toml", "--report", "--dry-run"]).err.contains("--dry-run")
    );
}

#[test]
fn the_published_experiments_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = 0;
    for entry in fs::read_dir(root.join("experiments")).expect("a folder") {
        let path = entry.expect("an entry").path();
        // Without the data only the last check of those that need some fails, that of the data.
        let result = opid(&root, &["experiment", &path.display().to_string(), "--dry-run"]);
        let name = path.file_stem().expect("a name").to_string_lossy();
        let needs = [("alfworld", "ALFWORLD_DATA"), ("webshop-small", "WEBSHOP_DATA")];
        match needs.iter().find(|(start, _)| name.starts_with(start)) {
            Some((_, data)) => assert!(result.refused().contains(data), "{name}: {}", result.err),
            None => assert!(result.ok().contains("to be run"), "{name}"),
        }
        files += 1;
    }
    assert!(files >= 3);
}
