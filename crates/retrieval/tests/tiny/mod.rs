//! A folder with a tiny encoder of random weights.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use opid_env::random::Draw;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

pub const WIDTH: usize = 12;
pub const HEADS: usize = 3;
pub const INNER: usize = 20;
pub const LAYERS: usize = 2;
pub const POSITIONS: usize = 24;

/// Words of the tokenizer; a word's place is its token.
pub const WORDS: [&str; 14] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "cup", "of", "tea", "query", "passage", ":", "##s",
    ".",
];

/// The tensors by name, each with its shape.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Random weights.
pub fn tensors(seed: u64) -> Tensors {
    let mut draw = Draw::new(&[seed]);
    let mut all = Tensors::new();
    let mut add = |name: String, shape: &[usize]| {
        let norm = name.ends_with("LayerNorm.weight");
        let numbers =
            (0..shape.iter().product()).map(|_| draw.unit() as f32 - 0.5 + f32::from(u8::from(norm)));
        all.insert(name, (shape.to_vec(), numbers.collect()));
    };
    for (name, rows) in [("word", WORDS.len()), ("position", POSITIONS), ("token_type", 2)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, WIDTH]);
    }
    let mut norms = vec!["embeddings".to_owned()];
    for layer in 0..LAYERS {
        for (name, outputs, inputs) in [
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", INNER, WIDTH),
            ("output.dense", WIDTH, INNER),
        ] {
            add(format!("encoder.layer.{layer}.{name}.weight"), &[outputs, inputs]);
            add(format!("encoder.layer.{layer}.{name}.bias"), &[outputs]);
        }
        norms.extend(["attention.output", "output"].map(|part| format!("encoder.layer.{layer}.{part}")));
    }
    for norm in norms {
        add(format!("{norm}.LayerNorm.weight"), &[WIDTH]);
        add(format!("{norm}.LayerNorm.bias"), &[WIDTH]);
    }
    all
}

/// Writes the folder; `prefix` stands before the names of tensors.
pub fn write(folder: &Path, tensors: &Tensors, prefix: &str) {
    let config = json!({
        "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": INNER, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "vocab_size": WORDS.len(),
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a file");
    let bytes: Vec<(String, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, numbers))| {
            (format!("{prefix}{name}"), &shape[..], numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views: HashMap<&str, TensorView<'_>> = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            (&**name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor"))
        })
        .collect();
    let file = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(folder.join("model.safetensors"), file).expect("a file");
    let vocabulary: HashMap<&str, usize> = WORDS.iter().enumerate().map(|(i, word)| (*word, i)).collect();
    // Truncation and padding as in published files; they must not count.
    let tokenizer = json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0 },
        "padding": {
            "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("a file");
}
