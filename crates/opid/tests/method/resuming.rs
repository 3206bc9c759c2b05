//! A run that stops and goes on equals one that never stopped, bit for bit.

use std::fs;
use std::path::Path;

use opid::algo::Algorithm;
use opid::layout::Layout;
use opid::recipe::{AnalyzerName, Recipe, Teacher};
use opid::train::{Control, resume, train};
use opid_lm::checkpoint::StoredDtype;
use serde_json::Value;

use crate::micro::{LAYOUTS, saved};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let place = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &place);
        } else {
            fs::copy(&path, &place).expect("a file");
        }
    }
}

/// The metrics of a run without what a clock measured.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).expect("JSON");
        let fields = value.as_object_mut().expect("an object");
        fields.remove("seconds");
        fields.remove("tokens_per_second");
        fields.remove("memory");
        value
    };
    text.lines().map(line).collect()
}

/// Drops the last evaluation after a training step, if there is one, and all lines behind it: the run stopped after the
/// checkpoint, before the evaluation was over.
fn stop_in_evaluation(run: &Path, step: u64) {
    let file = run.join("metrics.jsonl");
    let text = fs::read_to_string(&file).expect("metrics");
    let evaluated = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        value["step"] == step && !value["evaluation"].is_null()
    };
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines.iter().rposition(|line| evaluated(line)).unwrap_or(lines.len());
    let text: String = lines[..kept].iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).expect("a file");
}

/// Trains for the recipe's four steps, then again from a copy that ends after `stop`.
fn check(recipe: &Recipe, stop: u64) {
    let place = tempfile::tempdir().expect("a folder");
    let (whole, parted) = (place.path().join("whole"), place.path().join("parted"));
    train(recipe, &whole, &Control::default(), &mut |_| ()).expect("a run");
    copy(&whole, &parted);
    stop_in_evaluation(&parted, stop);
    for step in stop + 1..=recipe.steps {
        fs::remove_dir_all(parted.join(format!("checkpoints/step_{step}"))).expect("a checkpoint");
        fs::remove_file(parted.join(format!("trajectories/step_{step:06}.jsonl.gz"))).expect("a file");
    }
    let outcome = resume(recipe, &parted, &Control::default(), &mut |_| ()).expect("a continued run");
    assert_eq!(outcome.checkpoint, parted.join("checkpoints/step_4"));
    let same = |file: &str| {
        let [a, b] = [&whole, &parted].map(|run| fs::read(run.join(file)).expect("a file"));
        assert!(a == b, "{file} differs after {stop} steps and a resume");
    };
    let exact = if recipe.policy.save_dtype == StoredDtype::F32 { "" } else { "exact/" };
    same(&format!("checkpoints/step_4/{exact}model.safetensors"));
    same("checkpoints/step_4/optimizer.safetensors");
    same("trajectories/step_000004.jsonl.gz");
    assert_eq!(metrics(&whole), metrics(&parted));
    let read =
        |step| fs::read(whole.join(format!("checkpoints/step_{step}/model.safetensors"))).expect("weights");
    assert_ne!(read(0), read(4), "training changed nothing");
}

#[test]
fn a_resumed_run_equals_one_that_never_stopped() {
    for layout in LAYOUTS {
        let start = tempfile::tempdir().expect("a folder");
        let mut recipe = saved(layout, start.path());
        recipe.reward.invalid_penalty = 0.5;
        check(&recipe, 2);
        recipe.skill.teacher = Teacher::Average;
        check(&recipe, 1);
        recipe.algorithm = Algorithm::Grpo(Default::default());
        check(&recipe, 1);
        // Rounded checkpoints: training goes on from, and the KL looks at, exact weights.
        recipe.policy.save_dtype = StoredDtype::Bf16;
        check(&recipe, 2);
        check(&recipe, 0);
        check(&recipe, 4);
    }
}

#[test]
fn a_resumed_run_asks_its_policy_the_same_and_is_told_the_same() {
    let start = tempfile::tempdir().expect("a folder");
    let mut recipe = saved(Layout::Transcript, start.path());
    recipe.skill.analyzer = AnalyzerName::Policy;
    recipe.skill.policy.temperature = 1.0;
    recipe.skill.policy.max_reply_tokens = 12;
    // So small a policy never says anything usable.
    (recipe.skill.max_failures, recipe.skill.min_coverage) = (1.0, 0.0);
    check(&recipe, 2);
}
