//! Model folders: weights, configuration, tokens, chat template, moments.

use std::path::Path;
use std::sync::OnceLock;

use opid_lm::chat::{ChatOptions, ChatTemplate, Message};
use opid_lm::checkpoint::{StoredDtype, TextFiles, Weights};
use opid_lm::config::{Family, ModelConfig};
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig};
use opid_lm::storage::Disk;
use opid_lm::tokenizer::{Tokenizer, Vocabulary};

use crate::{Row, in_folder, text};

pub const TARGETS: &[Row] = &[
    ("safetensors", 20, safetensors, weights),
    ("safetensors_index", 40, index, indices),
    ("model_config", 4, config, configs),
    ("tokenizer", 400, tokenizer, tokenizers),
    ("tokenizer_text", 10, tokens, texts),
    ("chat_template", 100, template, templates),
    ("moments", 20, moments, moment_files),
];

fn small() -> ModelConfig {
    ModelConfig {
        family: Family::Qwen3,
        vocab_size: 40,
        hidden_size: 8,
        intermediate_size: 8,
        num_layers: 1,
        num_heads: 2,
        num_kv_heads: 1,
        head_dim: 4,
        rope_theta: 1e4,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        max_position_embeddings: 64,
        eos_token_ids: vec![1],
    }
}

fn texts_of_model() -> &'static TextFiles {
    static TEXTS: OnceLock<TextFiles> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let words = ["go to drawer 1", "open drawer 1", "take mug 1 from drawer 1"].map(str::to_owned);
        let vocabulary = Vocabulary { size: 300, special: &["<|end|>", "<action>"], ..Vocabulary::default() };
        let tokenizer = Tokenizer::train(words.into_iter().cycle().take(30), &vocabulary);
        let json = tokenizer.and_then(|tokenizer| tokenizer.to_json()).expect("a tokenizer");
        TextFiles::new(json, ChatTemplate::compact().source().to_owned(), "<|end|>", 64)
    })
}

/// The files of a small model, by name.
fn files(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let model = Model::random(small(), |_| 0.3);
        model.save(folder.path(), StoredDtype::F32, Some(texts_of_model())).expect("a model");
        folder
    });
    std::fs::read(folder.path().join(name)).expect("a file")
}

fn read_all(folder: &Path) {
    if let Ok(weights) = Weights::open(folder) {
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        for name in names.iter().take(4) {
            drop(weights.tensor_f32(name));
        }
        drop(weights.check(&small()));
    }
}

fn safetensors(bytes: &[u8]) {
    in_folder("weights/model.safetensors", bytes, |folder| read_all(&folder.join("weights")));
}

fn weights() -> Vec<Vec<u8>> {
    vec![files("model.safetensors")]
}

fn index(bytes: &[u8]) {
    in_folder("shards/model.safetensors.index.json", bytes, |folder| {
        let folder = folder.join("shards");
        std::fs::write(folder.join("a.safetensors"), files("model.safetensors")).expect("a file");
        read_all(&folder);
    });
}

fn indices() -> Vec<Vec<u8>> {
    let one = r#"{"metadata":{"total_size":4},"weight_map":{"model.embed_tokens.weight":"a.safetensors","x":"../b"}}"#;
    vec![one.as_bytes().to_vec()]
}

fn config(bytes: &[u8]) {
    in_folder("config/config.json", bytes, |folder| {
        let folder = folder.join("config");
        if let Ok(config) = ModelConfig::from_folder(&folder) {
            // Weights of this size are asked for only where the file has them.
            std::fs::write(folder.join("model.safetensors"), files("model.safetensors")).expect("a file");
            let _ = config.to_json("float32");
            drop(Model::open(&folder, Precision::F32));
        }
    });
}

fn configs() -> Vec<Vec<u8>> {
    let qwen2 = r#"{"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2","vocab_size":40,"hidden_size":8,
        "intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,
        "rms_norm_eps":1e-6,"rope_theta":10000.0,"max_position_embeddings":64,"tie_word_embeddings":true,
        "use_sliding_window":false,"sliding_window":null,"rope_scaling":null,"hidden_act":"silu",
        "eos_token_id":[1,2],"torch_dtype":"bfloat16"}"#;
    vec![files("config.json"), qwen2.as_bytes().to_vec()]
}

fn tokenizer(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_json(bytes) {
        if let Ok(ids) = tokenizer.encode("go to drawer 1<|end|>\u{e9}\u{10ffff}") {
            drop(tokenizer.decode(&ids, false));
        }
        drop(tokenizer.decode(&[0, 299, u32::MAX], true));
    }
}

fn tokenizers() -> Vec<Vec<u8>> {
    vec![texts_of_model().tokenizer.clone().into_bytes()]
}

fn tokens(bytes: &[u8]) {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    let tokenizer = TOKENIZER
        .get_or_init(|| Tokenizer::from_json(texts_of_model().tokenizer.as_bytes()).expect("a tokenizer"));
    let text = text(bytes);
    let ids = tokenizer.encode(&text).expect("every text has tokens");
    tokenizer.decode(&ids, false).expect("tokens have a text");
}

fn texts() -> Vec<Vec<u8>> {
    let texts = [
        "go to drawer 1 and take mug 1",
        "<|end|>\u{e9}\u{10ffff} \n\n\t  12345 don't",
        "<action>x</action>",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn template(bytes: &[u8]) {
    if let Ok(template) = ChatTemplate::new(text(bytes), serde_json::Map::new()) {
        let messages = [Message::new("user", "hello"), Message::new("assistant", "{{ x }}")];
        drop(template.render(&messages, true, &ChatOptions::default()));
    }
}

fn templates() -> Vec<Vec<u8>> {
    let long = "{%- for m in messages %}{% if m.role == 'user' and loop.first %}{{ m.content | trim }}{% elif \
                m.content.startswith('x') %}{{ m['role'] ~ m.content[::-1] }}{% endif %}{% set n = namespace(i=1) %}\
                {% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}";
    vec![ChatTemplate::compact().source().as_bytes().to_vec(), long.as_bytes().to_vec()]
}

fn moments(bytes: &[u8]) {
    in_folder("optimizer.safetensors", bytes, |folder| {
        drop(AdamW::load(&folder.join("optimizer.safetensors"), 16, AdamWConfig::default()));
    });
}

fn moment_files() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("optimizer.safetensors");
    AdamW::new(16, AdamWConfig::default()).save(&Disk, &path).expect("moments");
    vec![std::fs::read(path).expect("a file")]
}
