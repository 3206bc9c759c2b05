//! Recipes, run folders, replies of analyzers, responses of policies.

use std::sync::OnceLock;

use opid::action::Grammar;
use opid::log::Log;
use opid::recipe::Recipe;
use opid::record::stored;
use opid::run::{RunFolder, check, locate};
use opid::skill::bank::{Bank, BankSettings};
use opid::skill::inquiry::{Inquiry, Question, Reply};
use opid::skill::replay::Replay;
use opid::skill::reply;

use crate::{Row, in_folder, text};

pub const TARGETS: &[Row] = &[
    ("recipe", 40, recipe, recipes),
    ("override", 60, set, overrides),
    ("analyzer_reply", 2, analyzer_reply, replies),
    ("response", 1, response, responses),
    ("manifest", 20, manifest, manifests),
    ("metrics", 20, metrics, metric_files),
    ("trajectories", 40, trajectories, trajectory_files),
    ("recording", 20, recording, recordings),
    ("bank", 20, bank, banks),
];

fn recipe(bytes: &[u8]) {
    if let Ok(recipe) = Recipe::parse(&text(bytes), "fuzz") {
        let again = Recipe::parse(&recipe.to_toml(), "again");
        assert!(again.is_ok(), "a recipe that was taken is taken again: {again:?}");
    }
}

fn recipes() -> Vec<Vec<u8>> {
    let full = Recipe::parse(opid::recipe::HOUSEHOLD, "household").expect("a recipe").to_toml();
    vec![opid::recipe::HOUSEHOLD.as_bytes().to_vec(), full.into_bytes()]
}

fn set(bytes: &[u8]) {
    drop(Recipe::read(None, &[text(bytes)]));
}

fn overrides() -> Vec<Vec<u8>> {
    let all = [
        "rollout.groups=4",
        "skill={ analyzer = \"policy\", policy = { temperature = 0.5 } }",
        "evaluation.temperatures=[0.4, 1.0]",
        "algorithm.name=gigpo",
    ];
    all.map(|one| one.as_bytes().to_vec()).into()
}

fn analyzer_reply(bytes: &[u8]) {
    static INQUIRY: OnceLock<Inquiry> = OnceLock::new();
    let inquiry = INQUIRY.get_or_init(|| Inquiry::new(5, 4000));
    let text = text(bytes);
    drop(reply::parse(&text));
    let question = Question { text: "?".to_owned(), shortened: false, shown: vec![true, true, false] };
    drop(inquiry.read(&question, &Reply { text, cut_off: false }));
}

fn replies() -> Vec<Vec<u8>> {
    let plain = r#"{"episode_summary": "s", "episode_skill": "look first", "step_skills": [{"step": 1, "skill": "open"}]}"#;
    let wrapped = format!("<think>hm {{}}</think>\n```json\n{plain}\n```");
    let python = "{'episode_skill': ['a', \"b\"], 'step_skills': {'0': 'x', 1: {'skill': 'y'}}, 'x': None}";
    [plain, &wrapped, python].map(|text| text.as_bytes().to_vec()).into()
}

fn response(bytes: &[u8]) {
    let text = text(bytes);
    for environment in [
        "household",
        "webshop",
        "search",
        "sokoban",
        "gym_cards/NumberLine-v0",
        "gym_cards/Blackjack-v0",
        "gym_cards/EZPoints-v0",
        "gym_cards/Points24-v0",
        "appworld",
    ] {
        let grammar = Grammar::of(environment).expect("a grammar");
        for thinking in [false, true] {
            let action = grammar.parse(&text, thinking);
            grammar.admits(&action.command, &["look".to_owned()]);
            grammar.response(Some("why"), &action.command);
            grammar.words(&action.command);
        }
    }
}

fn responses() -> Vec<Vec<u8>> {
    let all = [
        "<think>so</think><action>go to drawer 1</action>",
        "<think>a</think> <search>who \u{130} is</search> <answer>x</answer>",
        "{\"action\": \"stand\", \"formula\": \"(1+2)*3\", \"number\": 24}",
        "<code>print('x')</code>\n```python\nprint(1)\n```",
        "<action>\u{4e00}\u{4e01}</action><action></action>",
    ];
    all.map(|one| one.as_bytes().to_vec()).into()
}

fn manifest(bytes: &[u8]) {
    in_folder("manifest/manifest.json", bytes, |folder| {
        let folder = folder.join("manifest");
        std::fs::write(folder.join("config.json"), "{}").expect("a file");
        drop(check(&folder));
        drop(locate(&folder));
    });
}

fn manifests() -> Vec<Vec<u8>> {
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let one = format!(
        "{{\"step\": 3, \"files\": [{{\"name\": \"config.json\", \"bytes\": 2, \"sha256\": \"{hash}\"}}, \
         {{\"name\": \"../x\", \"bytes\": 1, \"sha256\": \"\"}}]}}"
    );
    vec![one.into_bytes()]
}

fn metrics(bytes: &[u8]) {
    in_folder("run/metrics.jsonl", bytes, |folder| {
        let run = folder.join("run");
        drop(Log::read(&run));
        std::fs::create_dir_all(run.join("checkpoints")).expect("a folder");
        // What is left of the lines can be read, or is said to be damaged.
        if RunFolder::reopen(&run, 3, std::sync::Arc::new(opid_lm::storage::Disk)).is_ok() {
            drop(Log::read(&run));
        }
    });
}

fn metric_files() -> Vec<Vec<u8>> {
    let rate = r#"{"won":1,"tasks":2,"success":0.5,"low":0.1,"high":0.9}"#;
    let lines = format!(
        "{{\"step\":0,\"probe\":{{\"plain\":{rate},\"workflow\":{rate}}}}}\n\
         {{\"step\":0,\"evaluation\":{{\"step\":0,\"split\":\"s\",\"temperature\":1.0,\"skills\":\"none\",\"report\":\
         {{\"overall\":{rate},\"kinds\":{{\"a\":{rate}}},\"score\":1,\"turns\":1,\"invalid\":0,\"context_limited\":0,\
         \"truncated_prompts\":0,\"solved\":[1,0]}}}}}}\n{{\"step\":4,\"success\":0.5}}\n"
    );
    vec![lines.into_bytes()]
}

fn trajectories(bytes: &[u8]) {
    in_folder("kept/trajectories/step_000001.jsonl.gz", bytes, |folder| {
        drop(stored(&folder.join("kept"), 1))
    });
}

fn trajectory_files() -> Vec<Vec<u8>> {
    vec![include_bytes!("../seeds/trajectories.jsonl.gz").to_vec()]
}

fn recording(bytes: &[u8]) {
    in_folder("skills.jsonl", bytes, |folder| drop(Replay::open(&folder.join("skills.jsonl"))));
}

fn recordings() -> Vec<Vec<u8>> {
    let line = r#"{"step":1,"group":0,"member":1,"task":"t","episode":"ab","analysis":{"summary":"","episode_skill":"x","step_skills":{"0":"y"}}}"#;
    vec![line.as_bytes().to_vec()]
}

fn bank(bytes: &[u8]) {
    in_folder("bank.toml", bytes, |folder| {
        let file = folder.join("bank.toml").display().to_string();
        if let Ok(bank) = Bank::open(&BankSettings { file, ..BankSettings::default() }, "household") {
            drop(bank.skill("pick_and_place_simple", "put a mug on the desk"));
        }
    });
}

fn banks() -> Vec<Vec<u8>> {
    let one = "general = \"look first\"\n[[task]]\nkinds = [\"look_at_obj_in_light\"]\nskill = \"use the lamp\"\n\
               [[task]]\nkeywords = [\"mug\"]\nskill = \"cups are in the kitchen\"\n";
    vec![one.as_bytes().to_vec()]
}
