//! Games, products, questions, and what agents say in them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use opid_env::alfworld::{Game, GameFile, GameTask, Variant};
use opid_env::catalog::{self, Options};
use opid_env::environment::{Episode, Task};
use opid_env::household::{HouseholdConfig, World};
use opid_env::search::{answer, dataset};
use opid_env::webshop::{Catalogue, Files, generator};

use crate::{Row, in_folder, text};

pub const TARGETS: &[Row] = &[
    ("game_file", 20, game_file, game_files),
    ("pddl", 20, pddl, problems),
    ("household_action", 4, |bytes| act("household", bytes), household_actions),
    ("shop_action", 10, |bytes| act("webshop", bytes), shop_actions),
    ("search_action", 10, |bytes| act("search", bytes), search_actions),
    ("products", 40, products, product_files),
    ("questions", 10, questions, question_files),
    ("answer", 1, answers, search_actions),
];

/// Plays a few commands of a game.
fn play(game: Game, walkthrough: Option<Vec<String>>) {
    let task: Arc<dyn Task> = Arc::new(GameTask::new("game".to_owned(), game, walkthrough));
    let mut episode = task.start();
    for turn in 0..4 {
        let commands = episode.admissible();
        let Some(command) = commands.get(turn * 7 % commands.len().max(1)) else { return };
        if episode.step(command).done {
            return;
        }
    }
}

fn game_file(bytes: &[u8]) {
    if let Ok(file) = GameFile::parse(&text(bytes)) {
        play(file.game, file.walkthrough);
    }
}

fn pddl(bytes: &[u8]) {
    static VARIANT: OnceLock<Variant> = OnceLock::new();
    let variant = VARIANT.get_or_init(|| {
        let file = &game_files()[0];
        GameFile::parse(&text(file)).expect("a game").game.variant()
    });
    if let Ok(game) = Game::compile(*variant, "put the mug on the desk", &text(bytes)) {
        play(game, None);
    }
}

fn game_files() -> Vec<Vec<u8>> {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let make = || {
        let world = World::new(HouseholdConfig { size: (5, 6), ..HouseholdConfig::default() }, 1);
        let world = world.expect("good settings");
        let folder = tempfile::tempdir().expect("a folder");
        let file = |index| {
            let made = world.make("train", index).expect("a game");
            std::fs::read(made.write(folder.path()).expect("a game is written")).expect("a game")
        };
        (0..6).map(file).collect()
    };
    FILES.get_or_init(make).clone()
}

fn problems() -> Vec<Vec<u8>> {
    let problem = |file: &Vec<u8>| {
        let game: serde_json::Value = serde_json::from_slice(file).expect("JSON");
        game["pddl_problem"].as_str().expect("a problem").as_bytes().to_vec()
    };
    game_files().iter().map(problem).collect()
}

/// Says every line of the bytes in an episode.
fn act(environment: &'static str, bytes: &[u8]) {
    thread_local! {
        static TASKS: std::cell::RefCell<Vec<(&'static str, Arc<dyn Task>)>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let task = TASKS.with_borrow_mut(|tasks| match tasks.iter().find(|(name, _)| *name == environment) {
        Some((_, task)) => task.clone(),
        None => {
            let task = catalog::open(environment, Options::default()).expect("a world").task("train", 1);
            let task = task.expect("a task");
            tasks.push((environment, task.clone()));
            task
        }
    });
    let mut episode: Box<dyn Episode> = task.start();
    for line in text(bytes).split('\n').take(8) {
        if let Some(lookup) = episode.lookup(line) {
            let found = lookup.retriever.retrieve(&[lookup.query], lookup.most);
            found.into_iter().for_each(|found| episode.supply(found));
        }
        episode.admits(line);
        if episode.step(line).done {
            break;
        }
        episode.admissible();
    }
}

fn household_actions() -> Vec<Vec<u8>> {
    let lines =
        ["go to drawer 1\nopen drawer 1\ntake mug 1 from drawer 1", "look\ninventory\nhelp", "examine bed 1"];
    lines.map(|line| line.as_bytes().to_vec()).into()
}

fn shop_actions() -> Vec<Vec<u8>> {
    let lines = [
        "search[red cotton shirt under 20 dollars]\nclick[item - 1]\nclick[buy now]",
        "search[x]\nclick[next >]\nclick[< prev]\nclick[back to search]",
        "search[]\nclick[]\nclick[description]",
    ];
    lines.map(|line| line.as_bytes().to_vec()).into()
}

fn search_actions() -> Vec<Vec<u8>> {
    let lines = [
        "<search>who founded the city</search>\n<answer>Rome, 1 and the 2</answer>",
        "<think>the</think><search> \u{e9}\u{130} </search>",
        "<answer></answer>",
    ];
    lines.map(|line| line.as_bytes().to_vec()).into()
}

fn answers(bytes: &[u8]) {
    let text = text(bytes);
    let known = answer::normalize(&text);
    answer::exact_match(&text, [&*known]);
    answer::holds(&text, ["rome", &known]);
    answer::last(&text);
    answer::blocks(&text, "answer").count();
}

/// The bytes as each of the files of a shop; the others are good.
fn products(bytes: &[u8]) {
    static GOOD: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let good = GOOD.get_or_init(shop_files);
    let number = bytes.first().map_or(0, |b| usize::from(*b) % 3);
    in_folder("shop/items_shuffle.json", if number == 0 { bytes } else { &good[0] }, |folder| {
        let folder = folder.join("shop");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("a file");
        write("items_ins_v2.json", if number == 1 { bytes } else { &good[1] });
        write("items_human_ins.json", if number == 2 { bytes } else { b"{}" });
        let files = Files {
            products: folder.join("items_shuffle.json"),
            attributes: folder.join("items_ins_v2.json"),
            human: (number == 2).then(|| folder.join("items_human_ins.json")),
            ..Files::default()
        };
        if let Ok(catalogue) = Catalogue::load(&files) {
            catalogue.search("cotton shirt");
        }
    });
}

fn shop_files() -> [Vec<u8>; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |path: &Path| std::fs::read(path).expect("a file");
    generator::write(folder.path(), 1, 3).expect("products").map(|path| read(&path))
}

fn product_files() -> Vec<Vec<u8>> {
    shop_files().into()
}

fn questions(bytes: &[u8]) {
    let name = if bytes.starts_with(b"PAR1") { "questions.parquet" } else { "questions.jsonl" };
    in_folder(name, bytes, |folder| drop(dataset::read(&folder.join(name))));
}

fn question_files() -> Vec<Vec<u8>> {
    let mut files = vec![
        br#"{"id":"x","question":"Who?","golden_answers":["A","B"],"data_source":"nq"}
{"question":"What?","golden_answers":"C"}
"#
        .to_vec(),
    ];
    files.push(include_bytes!("../seeds/questions.parquet").to_vec());
    files
}
