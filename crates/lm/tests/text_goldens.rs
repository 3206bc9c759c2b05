//! Tokenizers, chat templates and checkpoints against recordings of transformers
//! (`goldens/models` of the shared folder; without that folder the cases are reported as ignored).

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use opid_lm::chat::{ChatOptions, ChatTemplate, Message};
use opid_lm::checkpoint::Weights;
use opid_lm::config::ModelConfig;
use opid_lm::tokenizer::{Stretch, Tokenizer};
use serde_json::Value;

const TOKENIZERS: [&str; 5] =
    ["tiny-tokenizer", "qwen-tokenizer/Qwen2_5", "qwen-tokenizer/Qwen3", "tiny-qwen2-tied", "tiny-qwen3"];

const CHECKPOINTS: [&str; 6] = [
    "tiny-qwen2-tied",
    "tiny-qwen2-untied",
    "tiny-qwen3",
    "tiny-qwen3-untied-mqa",
    "tiny-qwen3-sharded",
    "tiny-qwen2-bf16",
];

fn main() {
    let arguments = Arguments::from_args();
    let models = models_folder();
    let mut trials = Vec::new();
    for name in TOKENIZERS {
        let folder = models.join(name);
        // The tokenizer inside a checkpoint is that of tiny-tokenizer, whose recordings hold for it.
        let golden = if name.starts_with("tiny-") { models.join("tiny-tokenizer") } else { folder.clone() };
        let golden = golden.join("golden.json");
        for (part, check) in [("encode", encodings as Check), ("decode", partial_decodes), ("chat", chats)] {
            let (folder, golden) = (folder.clone(), golden.clone());
            if part == "chat" && !has_template(&folder) && folder.exists() {
                continue;
            }
            let absent = !golden.exists();
            let trial = Trial::test(format!("{name}::{part}"), move || check(&folder, &read(&golden)?));
            trials.push(trial.with_ignored_flag(absent));
        }
    }
    for name in ["qwen-tokenizer/Qwen2_5", "qwen-tokenizer/Qwen3"] {
        let folder = models.join(name);
        let absent = !folder.exists();
        trials.push(
            Trial::test(format!("{name}::continuation"), move || continuation(&folder))
                .with_ignored_flag(absent),
        );
    }
    for name in CHECKPOINTS {
        let folder = models.join(name);
        let absent = !folder.exists();
        trials.push(
            Trial::test(format!("{name}::checkpoint"), move || checkpoint(&folder)).with_ignored_flag(absent),
        );
    }
    let folder = models.clone();
    trials.push(
        Trial::test("tiny-qwen3-sharded::equals_unsharded", move || sharded(&folder))
            .with_ignored_flag(!models.exists()),
    );
    libtest_mimic::run(&arguments, trials).exit();
}

type Check = fn(&Path, &Value) -> Result<(), Failed>;

fn models_folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("OPID_SHARED").map_or(workspace.join("../shared"), PathBuf::from);
    shared.join("goldens/models")
}

fn read(path: &Path) -> Result<Value, Failed> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn has_template(folder: &Path) -> bool {
    folder.join("chat_template.jinja").exists()
        || std::fs::read_to_string(folder.join("tokenizer_config.json"))
            .is_ok_and(|text| text.contains("\"chat_template\""))
}

/// Collects differences and shows the first few.
#[derive(Default)]
struct Differences {
    shown: Vec<String>,
    count: usize,
    cases: usize,
}

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, case: &str, found: T, expected: T) {
        self.cases += 1;
        if found != expected {
            self.count += 1;
            if self.shown.len() < 3 {
                self.shown.push(format!("{case}\n  expected {expected:?}\n  found    {found:?}"));
            }
        }
    }

    fn result(self) -> Result<(), Failed> {
        if self.cases == 0 {
            return Err("the recording holds no case".into());
        }
        if self.count == 0 {
            return Ok(());
        }
        Err(format!("{} of {} differ (no tolerance):\n{}", self.count, self.cases, self.shown.join("\n"))
            .into())
    }
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|id| id.as_u64().map(|id| id as u32)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn encodings(folder: &Path, golden: &Value) -> Result<(), Failed> {
    let tokenizer = Tokenizer::from_folder(folder)?;
    let mut differences = Differences::default();
    for case in list(&golden["encodings"]) {
        let text = case["text"].as_str().unwrap_or_default();
        let expected = ids(&case["ids"]);
        differences.compare(text, tokenizer.encode(text)?, expected.clone());
        let decoded = tokenizer.decode(&expected, false)?;
        differences.compare(text, decoded.as_str(), case["decode"].as_str().unwrap_or_default());
        let plain = tokenizer.decode(&expected, true)?;
        differences.compare(text, plain.as_str(), case["decode_skip_special"].as_str().unwrap_or_default());
    }
    stretches(&tokenizer, golden, &mut differences)?;
    for (token, id) in golden["special"].as_object().into_iter().flatten() {
        differences.compare(token, tokenizer.token_id(token), id.as_u64().map(|id| id as u32));
    }
    differences.compare("size", Some(tokenizer.vocab_size() as u64), golden["vocab_with_added"].as_u64());
    differences.result()
}

/// A text in control stretches has the ids of the whole text, wherever it is cut between added tokens; in
/// text from outside no added token counts.
fn stretches(tokenizer: &Tokenizer, golden: &Value, differences: &mut Differences) -> Result<(), Failed> {
    let control = |text| Stretch { text, control: true };
    let special: Vec<(&str, u32)> = golden["special"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(token, id)| Some((token.as_str(), id.as_u64()? as u32)))
        .collect();
    for case in list(&golden["encodings"]) {
        let (text, expected) = (case["text"].as_str().unwrap_or_default(), ids(&case["ids"]));
        let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        let (head, tail) = text.split_at(middle);
        let parts = tokenizer.encode_stretches(&[control(head), control(""), control(tail)])?;
        differences.compare(text, parts, expected.clone());
        let outside = tokenizer.encode_stretches(&[Stretch { text, control: false }])?;
        differences.compare(text, outside.iter().any(|id| special.iter().any(|s| s.1 == *id)), false);
        if !expected.iter().any(|id| special.iter().any(|s| s.1 == *id)) {
            differences.compare(text, outside, expected);
        }
    }
    for &(token, id) in &special {
        let text = format!("seen: {token} and{token}");
        let outside = Stretch { text: &text, control: false };
        let found = tokenizer.encode_stretches(&[control(token), outside, control(token)])?;
        let count = found.iter().filter(|found| **found == id).count();
        differences.compare(token, (count, found.first(), found.last()), (2, Some(&id), Some(&id)));
        differences.compare(token, tokenizer.decode(&found, false)?, format!("{token}{text}{token}"));
        // A token of which one half is ours is none.
        let (ours, theirs) = token.split_at(1);
        let torn = [control(ours), Stretch { text: theirs, control: false }];
        differences.compare(token, tokenizer.encode_stretches(&torn)?.contains(&id), false);
    }
    Ok(())
}

fn partial_decodes(folder: &Path, golden: &Value) -> Result<(), Failed> {
    let tokenizer = Tokenizer::from_folder(folder)?;
    let mut differences = Differences::default();
    for case in list(&golden["partial_utf8_decodes"]) {
        let found = tokenizer.decode(&ids(&case["ids"]), false)?;
        let expected = case["decode"].as_str().unwrap_or_default();
        differences.compare(&case["ids"].to_string(), found.as_str(), expected);
    }
    differences.result()
}

fn chats(folder: &Path, golden: &Value) -> Result<(), Failed> {
    let tokenizer = Tokenizer::from_folder(folder)?;
    let template = ChatTemplate::from_folder(folder)?;
    let mut differences = Differences::default();
    for (number, case) in list(&golden["chat"]).iter().enumerate() {
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone())?;
        let mut options = ChatOptions::default();
        if let Some(thinking) = case["enable_thinking"].as_bool() {
            options = ChatOptions::thinking(thinking);
        }
        options.tools = case["tools"].as_array().cloned();
        let prompt = case["add_generation_prompt"].as_bool() == Some(true);
        let text = template.render(&messages, prompt, &options)?;
        differences.compare(
            &format!("chat {number}, text"),
            text.as_str(),
            case["rendered"].as_str().unwrap_or_default(),
        );
        differences.compare(&format!("chat {number}, ids"), tokenizer.encode(&text)?, ids(&case["ids"]));
    }
    differences.result()
}

/// The folder opens, and its tensors are those that its configuration asks for; reading back what
/// the configuration writes gives the same configuration.
fn checkpoint(folder: &Path) -> Result<(), Failed> {
    let config = ModelConfig::from_folder(folder)?;
    let weights = Weights::open(folder)?;
    weights.check(&config)?;
    let mut differences = Differences::default();
    let again = ModelConfig::from_json(&config.to_json("float32"), &config.generation_json(), folder)?;
    differences.compare("config.json read back", again, config.clone());
    let raw = read(&folder.join("config.json"))?;
    differences.compare("hidden_size", Some(config.hidden_size as u64), raw["hidden_size"].as_u64());
    let theta = raw["rope_theta"].as_f64().or(raw["rope_parameters"]["rope_theta"].as_f64());
    differences.compare("rope_theta", Some(config.rope_theta), theta);
    let golden = read(&folder.join("golden.json"))?;
    let mut recorded: Vec<&str> =
        golden["grads"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    recorded.sort_unstable();
    differences.compare("names", weights.names().collect(), recorded);
    for name in weights.names() {
        let (shape, values) = weights.tensor_f32(name)?;
        differences.compare(name, values.len(), shape.iter().product());
        differences.compare(name, values.iter().all(|value| value.is_finite()), true);
    }
    differences.result()
}

/// The shards hold the same numbers as the single file.
fn sharded(models: &Path) -> Result<(), Failed> {
    let whole = Weights::open(&models.join("tiny-qwen3"))?;
    let parts = Weights::open(&models.join("tiny-qwen3-sharded"))?;
    let mut differences = Differences::default();
    for name in whole.names() {
        differences.compare(name, parts.tensor_f32(name)?, whole.tensor_f32(name)?);
    }
    differences.result()
}

/// Where a template keeps earlier turns as they are, opening, response and continuation make up the
/// whole conversation; where it drops their reasoning (Qwen3), the rest still is the same.
fn continuation(folder: &Path) -> Result<(), Failed> {
    let template = ChatTemplate::from_folder(folder)?;
    let mut differences = Differences::default();
    let first = [Message::new("user", "Your task is to: look.\n")];
    let turns =
        [Message::new("assistant", "<action>look</action>"), Message::new("user", "Nothing\nhappens.")];
    let whole = [&first[..], &turns[..]].concat();
    for options in [ChatOptions::default(), ChatOptions::thinking(true), ChatOptions::thinking(false)] {
        differences.compare("end of turn", template.end_of_turn(&options)?.as_str(), "<|im_end|>");
        let plain = template.opening(&first, &options)?.replace("<think>\n\n</think>\n\n", "");
        let cut = template.continuation(&turns[1].content, false, &options)?;
        let ended = template.continuation(&turns[1].content, true, &options)?;
        differences.compare("left out", format!("<|im_end|>{ended}"), cut.clone());
        let joined = format!("{plain}{}{cut}", turns[0].content);
        differences.compare("joined", joined, template.opening(&whole, &options)?);
    }
    differences.result()
}
