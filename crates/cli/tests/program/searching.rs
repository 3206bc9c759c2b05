//! Search QA through the program: a made-up world, and questions from files.

use crate::runs::{read, timeless_metrics, workplace};
use crate::serving::Serving;
use crate::{fed, json_lines, opid};

/// Changes that make the small recipe one of search QA.
const CHANGES: [&str; 10] = [
    "--set",
    "environment={ name = \"search\", max_turns = 4, search = { size = 0.1, passages = 1 } }",
    "--set",
    "evaluation.games=4",
    "--set",
    "skill.max_failures=0",
    "--set",
    "rollout.max_response_tokens=12",
    "--set",
    "policy.max_context=512",
];

#[test]
fn a_policy_learns_to_search_in_a_made_up_world() {
    let place = workplace();
    let trained = opid(place.path(), &[&["train", "micro.toml", "--run", "run"][..], &CHANGES].concat());
    assert!(trained.ok().contains("policy saved in run/checkpoints/step_2"), "{}", trained.out);
    let lines = json_lines(&read(&place.path().join("run/metrics.jsonl")));
    let steps: Vec<_> = lines.iter().filter(|line| line.get("update").is_some()).collect();
    assert_eq!(steps.len(), 2);
    for step in steps {
        assert_eq!(step["skills"]["failed"], 0, "{step}");
        assert!(step["skills"]["covered"].as_u64() > Some(0), "{step}");
    }
    let evaluated = opid(place.path(), &["eval", "run", "--split", "valid_unseen", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(evaluated.ok()).expect("one object");
    let kinds = answer["evaluations"][0]["kinds"].as_object().expect("kinds");
    assert!(kinds.keys().all(|kind| kind.starts_with("synth_")), "{kinds:?}");
}

/// The settings of a run on a world in files, its passages from a retriever.
fn on_files(retriever: &str) -> String {
    format!(
        "environment={{ name = \"search\", max_turns = 4, search = {{ questions = \"world/questions\", passages = 1, \
         {retriever} }} }}"
    )
}

#[test]
fn a_server_and_the_process_find_the_same_passages() {
    let place = workplace();
    let path = place.path();
    let written = opid(path, &["generate", "--env", "search", "--size", "0.1", "--out", "world"]);
    assert!(written.ok().contains("passages in world/corpus.jsonl"), "{}", written.out);
    let train = |recipe: &str, run: &str, environment: &str, more: &[&str]| {
        let mut changes = CHANGES;
        changes[1] = environment;
        opid(path, &[&["train", recipe, "--run", run][..], &changes, more].concat())
    };
    let own = on_files("corpus = \"world/corpus.jsonl\"");
    let nobody = "http://127.0.0.1:9/retrieve";
    let asking =
        |url: &str| on_files(&format!("retriever = \"http\", http = {{ urls = [\"{url}\"], attempts = 1 }}"));

    // Nobody listens: nothing is learnt from that.
    let refused = train("micro.toml", "refused", &asking(nobody), &[]);
    for says in ["a search of the expert failed", "Connection Error", "environment.search.http.urls"] {
        assert!(refused.refused().contains(says), "{says}: {}", refused.err);
    }
    // A policy that searches, and a recipe that goes on from it.
    let longer =
        ["--set", "warm_start.stages=[{ updates = 60, episodes = 4, warmup = 5, learning_rate = 1e-2 }]"];
    train("micro.toml", "start", &own, &longer).ok();
    let micro = read(&path.join("micro.toml"));
    let (before, _) = micro.split_once("[warm_start]").expect("a warm start");
    let from = format!("{before}[policy]\nmodel = \"start/checkpoints/step_0\"\n");
    std::fs::write(path.join("from.toml"), from).expect("a file");
    train("from.toml", "own", &own, &[]).ok();
    let shown = read(&path.join("own/metrics.jsonl"));
    let searched =
        json_lines(&shown).iter().any(|line| line["invalid"].as_f64().is_some_and(|share| share < 1.0));
    assert!(searched, "{shown}");

    // The run stops, and goes on once somebody listens.
    let stopped = train("from.toml", "asking", &asking(nobody), &[]);
    for says in ["environment.search.max_failures", "Search error", "--resume"] {
        assert!(stopped.refused().contains(says), "{says}: {}", stopped.err);
    }
    let server = Serving::start(path, &["serve-retriever", "--corpus", "world/corpus.jsonl"], &[]);
    let config = path.join("asking/config.toml");
    std::fs::write(&config, read(&config).replace(nobody, &format!("{}/retrieve", server.url)))
        .expect("a file");
    opid(path, &["train", "--resume", "asking"]).ok();
    assert_eq!(timeless_metrics(&path.join("asking")), timeless_metrics(&path.join("own")));
}

#[test]
fn questions_and_passages_come_from_files() {
    let place = workplace();
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).expect("a file");
    std::fs::create_dir(place.path().join("questions")).expect("a folder");
    write(
        "questions/dev.jsonl",
        "{\"id\":\"q\",\"question\":\"Who painted it?\",\"golden_answers\":[\"The Ann Bel\"]}\n",
    );
    write("corpus.jsonl", "{\"id\":\"1\",\"contents\":\"\\\"It\\\"\\nAnn Bel painted it.\"}\n");
    let recipe = "[environment]\nname = \"search\"\n[environment.search]\nquestions = \"questions\"\ncorpus = \"corpus.jsonl\"\n";
    let trained = |changes: &[&str]| {
        let args = ["train", "files.toml", "--set", "policy.model=nowhere", "--set", "evaluation.split=dev"];
        opid(place.path(), &[&args[..], changes].concat())
    };
    write("files.toml", recipe);
    for (change, says) in [
        ("evaluation.split=test", "search has no split `test`; it has dev"),
        ("environment.search.corpus=none.jsonl", "cannot read the corpus none.jsonl"),
        ("environment.search.questions=none", "cannot read the questions of none"),
        ("environment.search.corpus=", "name the passages"),
        ("environment.search.passages=0", "at least 1 passage"),
        ("environment.search.retriever=http", "the servers have their own passages"),
        ("environment.search.retriever=dense", "name an index"),
        ("environment.search.retriever=bm52", "did you mean `bm25`?"),
        ("environment.search.max_failures=2", "it is a share"),
        (
            "environment.search={ questions = \"questions\", retriever = \"http\", http = { urls = [\"here\"] } }",
            "\"here\" is no address",
        ),
        ("environment.search.stile=json", "did you mean `style`?"),
    ] {
        let refused = trained(&["--set", change]);
        assert!(refused.refused().contains(says), "{change}: {}", refused.err);
    }
}

#[test]
fn a_program_searches_and_answers() {
    let place = workplace();
    let said =
        "{\"action\": \"<search>nothing of it</search>\"}\n{\"action\": \"<answer>nobody</answer>\"}\n";
    let played = fed(place.path(), &["play", "--env", "search", "--json"], said);
    let lines = json_lines(played.ok());
    assert!(lines[0]["goal"].as_str().is_some_and(|goal| goal.ends_with('?')), "{}", lines[0]);
    assert!(lines[1]["observation"].as_str().is_some_and(|o| o.starts_with("<information>")), "{}", lines[1]);
    assert_eq!((&lines[2]["done"], &lines[2]["won"]), (&true.into(), &false.into()), "{}", lines[2]);
}
