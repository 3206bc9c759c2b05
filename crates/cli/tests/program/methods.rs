//! Every method trains, and does what it is for.

use serde_json::Value;

use crate::runs::{read, workplace};
use crate::{Result, json_lines, opid};

/// A run of the small recipe with an algorithm and further changes; its metrics by step.
fn trained(folder: &std::path::Path, name: &str, changes: &[&str]) -> (Result, Vec<Value>) {
    let algorithm = format!("algorithm.name={name}");
    let mut args = vec!["train", "micro.toml", "--run", name, "--set", algorithm.as_str()];
    changes.iter().for_each(|change| args.extend(["--set", change]));
    let result = opid(folder, &args);
    result.ok();
    let lines = json_lines(&read(&folder.join(name).join("metrics.jsonl")));
    (result, lines.into_iter().filter(|line| line.get("update").is_some()).collect())
}

#[test]
fn every_method_trains() {
    let place = workplace();
    let listed = opid(place.path(), &["train", "micro.toml", "--set", "algorithm.name=nothing"]);
    let known: Vec<&str> = listed.refused().split('`').skip(3).step_by(2).collect();
    assert!(known.len() >= 15 && known.contains(&"gigpo"), "{known:?}");
    for name in known {
        let (result, steps) = trained(place.path(), name, &["skill.min_coverage=0"]);
        assert_eq!(steps.len(), 2, "{name}");
        for step in &steps {
            assert_eq!(step["update"]["skipped"], 0, "{name}");
            let taught = !step["skills"].is_null();
            let teaches = ["opid", "opsd", "grpo_opsd", "skill_sd", "rlsd", "sdar"].contains(&name);
            assert_eq!(taught, teaches, "{name}");
            // Untrained policies fail everything alike: only a teacher, or the penalty, has something to say.
            let moved = step["update"]["grad_norm"].as_f64().is_some_and(|norm| norm > 0.0);
            assert!(moved || !teaches, "{name}: {step}");
            let distilled = step["update"]["distillation"].as_f64().is_some_and(|loss| loss != 0.0);
            assert_eq!(distilled, teaches && !["opid", "rlsd"].contains(&name), "{name}: {step}");
        }
        let config = read(&place.path().join(name).join("config.toml"));
        match name {
            "dapo" => assert!(config.contains("clip_high = 0.28"), "{config}"),
            "gspo" => assert!(config.contains("ratio = \"sequence\""), "{config}"),
            "opsd" => assert!(config.contains("policy = 0.0"), "{config}"),
            "skill_grpo" => {
                assert!(result.out.contains("with skills of the bank: success"), "{}", result.out)
            }
            _ => {}
        }
    }
}

#[test]
fn groups_without_a_difference_are_replaced_up_to_a_limit() {
    let place = workplace();
    // An untrained policy solves nothing: every group but those of the last batch is replaced.
    let algorithm = "algorithm={ name = \"dapo\", max_batches = 3 }";
    let args = ["train", "micro.toml", "--run", "run", "--set", algorithm, "--set", "rollout.group_size=3"];
    opid(place.path(), &args).ok();
    let lines = json_lines(&read(&place.path().join("run/metrics.jsonl")));
    let steps: Vec<&Value> = lines.iter().filter(|line| line.get("update").is_some()).collect();
    assert_eq!(steps.len(), 2);
    for step in steps {
        assert_eq!(
            (&step["replaced_groups"], &step["zero_variance_groups"]),
            (&4.into(), &1.0.into()),
            "{step}"
        );
        assert_eq!(step["skills"], Value::Null);
    }
}

#[test]
fn what_a_recipe_says_goes_before_what_a_method_brings() {
    let place = workplace();
    let config = |changes: &[&str]| {
        let mut args = vec!["config"];
        changes.iter().for_each(|change| args.extend(["--set", change]));
        opid(place.path(), &args).ok().to_owned()
    };
    assert!(config(&["algorithm.name=dapo", "loss.clip_high=0.3"]).contains("clip_high = 0.3\n"));
    assert!(config(&["algorithm={ name = \"gigpo\", similarity = 0.9 }"]).contains("similarity = 0.9"));
    for (change, says) in [
        ("algorithm={ name = \"gigpo\", similarity = 0.0 }", "algorithm.similarity"),
        ("algorithm={ name = \"gigpo\", simlarity = 0.9 }", "did you mean `similarity`?"),
        ("algorithm={ name = \"dapo\", max_batches = 0 }", "at least one batch"),
        ("algorithm={ name = \"rlsd\", mixture = 2.0 }", "share of the advantage"),
        ("algorithm={ name = \"grpo_opsd\", form = \"relased\" }", "did you mean `released`?"),
        ("skill.bank.file=nowhere.toml", ""),
    ] {
        let shown = opid(place.path(), &["config", "--set", change]);
        if says.is_empty() {
            shown.ok();
            let run = ["train", "micro.toml", "--set", "algorithm.name=sdar", "--set", change];
            assert!(opid(place.path(), &run).refused().contains("cannot read the skill bank nowhere.toml"));
        } else {
            assert!(shown.refused().contains(says), "{change}: {}", shown.err);
        }
    }
    let additive = ["config", "--set", "algorithm.name=sdar", "--set", "skill.routing=additive"];
    assert!(opid(place.path(), &additive).refused().contains("only OPID adds the signals"));
}
