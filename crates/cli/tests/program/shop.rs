//! The shop: played over pipes and by hand, from files, and trained on.

use std::sync::Arc;

use opid_env::environment::{Episode, Slips, Task};
use opid_env::webshop::{Shop, ShopConfig};
use serde_json::{Value, json};

use crate::runs::{read, workplace};
use crate::{fed, json_lines, opid, program, run};

/// The settings that make `micro.toml` a shopping run.
const SHOPPING: [&str; 18] = [
    "--set",
    "environment={ name = \"webshop\", max_turns = 4, shop = { products = 30 } }",
    "--set",
    "evaluation.split=test",
    "--set",
    "rollout.max_response_tokens=16",
    "--set",
    "environment.max_turns=5",
    "--set",
    "skill.min_coverage=0.0",
    "--set",
    "policy.thinking=true",
    "--set",
    "warm_start.spaces=trailing",
    "--set",
    "warm_start.whole_names=true",
    "--set",
    "warm_start.stages=[{ updates = 3, episodes = 2, copying = 16 }, { updates = 3, episodes = 2, warmup = 1 }]",
];

/// What the expert does in a goal of a shop that is made up.
fn plan(products: usize, split: &str, index: usize) -> (String, Vec<String>) {
    let shop = Shop::open(ShopConfig { products, ..ShopConfig::default() }, 0).expect("a shop");
    let task = shop.task(split, index).expect("a goal");
    let mut episode = Arc::clone(&task).episode();
    let mut expert = Episode::expert(&episode, 0, Slips::default());
    let mut actions = Vec::new();
    while episode.receipt().is_none() {
        actions.push(expert.act(&episode));
        episode.advance(&actions[actions.len() - 1]);
    }
    (task.goal().to_owned(), actions)
}

fn lines(actions: &[String]) -> String {
    actions.iter().map(|action| format!("{}\n", json!({ "action": action }))).collect()
}

#[test]
fn a_program_buys_what_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (goal, actions) = plan(50, "test", 2);
    let args = ["play", "--env", "webshop", "--json", "--split", "test", "--index", "2", "--products", "50"];
    let answers = json_lines(fed(folder.path(), &args, &lines(&actions)).ok());
    assert_eq!(answers[0]["goal"], goal.as_str());
    assert_eq!(answers[0]["observation"], "Search");
    assert_eq!(answers[0]["admissible"], json!(["search[<your query>]"]));
    assert!(
        answers[1]["observation"]
            .as_str()
            .is_some_and(|page| page.contains(" [SEP] Page 1 (Total results: "))
    );
    let last = answers.last().expect("an answer");
    assert_eq!((&last["won"], &last["score"], &last["done"]), (&json!(true), &json!(1.0), &json!(true)));
    let hasty =
        fed(folder.path(), &args, &lines(&[actions[0].clone(), actions[1].clone(), "click[buy now]".into()]));
    let last = json_lines(hasty.ok()).pop().expect("an answer");
    assert!(last["score"].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{last}");
}

#[test]
fn a_person_shops_in_words_and_by_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, actions) = plan(50, "train", 0);
    let words =
        |action: &String| action.split_once('[').map(|(_, rest)| rest.trim_end_matches(']').to_owned());
    let said: Vec<String> = actions.iter().filter_map(words).collect();
    let args = ["play", "--env", "webshop", "--products", "50"];
    let result = fed(folder.path(), &args, &format!("1\n{}\n", said.join("\n")));
    for says in ["type the words", "[button] Back to Search [button_]", "You won in"] {
        assert!(result.ok().contains(says), "{says} in {}", result.out);
    }
    let result = fed(folder.path(), &args, "shampoo\n3\nbuy now\n");
    assert!(result.ok().contains("with a score of 0."), "{}", result.out);
}

#[test]
fn made_products_are_shopped_from_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = opid(folder.path(), &["generate", "--env", "webshop", "--out", "data", "--products", "40"]);
    assert!(made.ok().contains("WEBSHOP_DATA=data"), "{}", made.out);
    let play = |data: &str| {
        let mut command = program(folder.path());
        command.env("WEBSHOP_DATA", data).args(["play", "--env", "webshop", "--json"]).write_stdin("");
        run(&mut command)
    };
    let from_files = json_lines(play("data").ok());
    let args = ["play", "--env", "webshop", "--json", "--products", "40"];
    assert_eq!(from_files, json_lines(fed(folder.path(), &args, "").ok()));
    assert!(play("none").refused().contains("items_shuffle_1000.json"));
    std::fs::write(folder.path().join("data/items_ins_v2.json"), "[]").expect("written");
    assert!(play("data").refused().contains("items_ins_v2.json"));
    for (args, says) in [
        (vec!["play", "--env", "webshop", "--split", "valid_seen"], "train, test"),
        (vec!["play", "--env", "webshop", "--products", "3"], "use 10 to"),
        (vec!["play", "--env", "webshop", "--products", "0"], "set WEBSHOP_DATA"),
        (vec!["generate", "--env", "webshop", "--out", "data", "--products", "0"], "give 1 to"),
    ] {
        let result = opid(folder.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
}

#[test]
fn a_policy_is_trained_on_shopping() {
    let place = workplace();
    let trained = opid(place.path(), &[&["train", "micro.toml", "--run", "run"], &SHOPPING[..]].concat());
    assert!(trained.ok().contains("OPID on webshop"), "{}", trained.out);
    assert!(
        trained.out.contains("copying is not learnt: it is still practised with 64 of"),
        "{}",
        trained.out
    );
    let metrics = json_lines(&read(&place.path().join("run/metrics.jsonl")));
    let step = metrics.iter().find(|line| line.get("update").is_some()).expect("a step");
    assert!(step["score"].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{step}");
    assert_eq!(step["skills"]["failed"], 0, "{step}");
    let evaluated = opid(place.path(), &["eval", "run", "--json"]);
    let answer: Value = serde_json::from_str(evaluated.ok()).expect("JSON");
    assert!(answer["evaluations"][0]["score"].is_number(), "{answer}");

    let window =
        ["--set", "prompt={ layout = \"window\", templates = \"full\", admissible = true, history = 2 }"];
    let changes =
        [&["train", "micro.toml", "--run", "window", "--set", "steps=1"], &SHOPPING[..], &window].concat();
    opid(place.path(), &changes).ok();
    let endless =
        [&["config", "micro.toml"], &SHOPPING[..], &["--set", "environment.shop.protocol=reference"]];
    let result = opid(place.path(), &[&endless.concat()[..], &["--set", "evaluation.games=0"]].concat());
    assert!(result.refused().contains("without end"), "{}", result.err);
}

#[test]
fn recipes_for_shopping_and_searching_resolve() {
    let recipes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    for (name, says) in [
        ("webshop-tiny", "products = 1000"),
        ("webshop-small", "products = 0"),
        ("webshop-qwen2.5-3b", "max_turns = 15"),
        ("search-tiny", "retriever = \"bm25\""),
        ("search-worlds", "worlds = 256"),
        ("search-qwen2.5-3b", "retriever = \"http\""),
    ] {
        let result = opid(&recipes, &["config", &format!("{name}.toml")]);
        let environment = format!("name = \"{}\"", name.split('-').next().expect("a word"));
        assert!(result.ok().contains(says) && result.ok().contains(&environment), "{}", result.out);
    }
}
