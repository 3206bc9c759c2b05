//! The architecture of a checkpoint: what `config.json` of a Hugging Face folder says.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{LoadError, read_json};
use crate::kernels::attention::MAX_HEAD_DIM;

/// Which family of decoder a checkpoint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Qwen3: RMSNorm on every query and key head, no biases.
    Qwen3,
}

impl Family {
    /// The `model_type` of the family in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    /// The class of the family in the transformers library.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// The architecture of a dense decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Qwen2 or Qwen3.
    pub family: Family,
    /// Number of rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Number of key/value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head; `num_heads * head_dim` need not equal `hidden_size`.
    pub head_dim: usize,
    /// Base of the rotary position embedding.
    pub rope_theta: f64,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Whether the output head shares the embedding table.
    pub tie_word_embeddings: bool,
    /// Longest sequence the checkpoint was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Tokens that end a response (from `generation_config.json`, else `config.json`).
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Reads `config.json` (as transformers 4 or 5 writes it) and, for the end tokens,
    /// `generation_config.json` where there is one.
    ///
    /// Absent settings take the defaults of transformers' `Qwen2Config` and `Qwen3Config`. A setting
    /// that would change the computation in a way this crate does not implement is refused.
    pub fn from_folder(folder: &Path) -> Result<ModelConfig, LoadError> {
        let path = folder.join("config.json");
        let config = read_json(&path)?;
        let generation_path = folder.join("generation_config.json");
        let generation = match generation_path.exists() {
            true => read_json(&generation_path)?,
            false => Value::Null,
        };
        ModelConfig::from_json(&config, &generation, &path)
    }

    /// Reads the two JSON documents; `generation` may be null. `path` is named in errors.
    pub fn from_json(config: &Value, generation: &Value, path: &Path) -> Result<ModelConfig, LoadError> {
        let fields = Fields {
            map: config.as_object().ok_or_else(|| malformed(path, "it is not a JSON object"))?,
            path,
        };
        let family = match fields.text("model_type")?.as_deref() {
            Some("qwen2") => Family::Qwen2,
            Some("qwen3") => Family::Qwen3,
            Some(other) => return Err(unsupported(path, format!("model_type is {other}"))),
            None => return Err(malformed(path, "model_type is missing")),
        };
        let hidden_size = fields.size("hidden_size")?;
        let num_heads = fields.size("num_attention_heads")?;
        let num_layers = fields.size("num_hidden_layers")?;
        let head_dim = match (fields.optional_size("head_dim")?, family) {
            (Some(width), _) => width,
            (None, Family::Qwen3) => 128,
            (None, Family::Qwen2) if hidden_size.is_multiple_of(num_heads) => hidden_size / num_heads,
            (None, Family::Qwen2) => {
                let reason =
                    format!("hidden_size {hidden_size} is no multiple of num_attention_heads {num_heads}");
                return Err(malformed(path, reason));
            }
        };
        let max_position_embeddings = fields.optional_size("max_position_embeddings")?.unwrap_or(32_768);
        fields.refuse_other_computations(family, num_layers)?;
        let eos_token_ids = match token_ids(&generation["eos_token_id"], path)? {
            ids if ids.is_empty() => token_ids(&config["eos_token_id"], path)?,
            ids => ids,
        };
        let parsed = ModelConfig {
            family,
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_layers,
            num_heads,
            num_kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(num_heads),
            head_dim,
            rope_theta: fields.rope_theta()?,
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            max_position_embeddings,
            eos_token_ids,
        };
        parsed.check().map_err(|reason| malformed(path, reason))?;
        Ok(parsed)
    }

    /// Checks that the numbers fit together; the error says which do not.
    pub fn check(&self) -> Result<(), String> {
        // Far above any model; below them no product of sizes overflows.
        for (name, size, most) in [
            ("vocab_size", self.vocab_size, 1 << 28),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 24),
            ("num_hidden_layers", self.num_layers, 1 << 14),
            ("num_attention_heads", self.num_heads, 1 << 14),
            ("num_key_value_heads", self.num_kv_heads, 1 << 14),
        ] {
            if size == 0 || size > most {
                return Err(format!("{name} is {size}; it is 1 to {most}"));
            }
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Err(format!(
                "num_attention_heads {} is no multiple of num_key_value_heads {}",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim {} is odd, but rotary embeddings turn pairs", self.head_dim));
        }
        if self.head_dim > MAX_HEAD_DIM {
            return Err(format!(
                "head_dim {} is larger than {MAX_HEAD_DIM}, which attention is made for",
                self.head_dim
            ));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(format!("rope_theta is {}", self.rope_theta));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("rms_norm_eps is {}", self.rms_norm_eps));
        }
        if self.eos_token_ids.is_empty() {
            return Err("eos_token_id is missing, so a response could never end".to_owned());
        }
        match self.eos_token_ids.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => Err(format!("eos_token_id {id} lies outside the vocabulary of {}", self.vocab_size)),
            None => Ok(()),
        }
    }

    /// The document `config.json`, in the form that transformers 4 and 5 both read.
    ///
    /// `dtype` is the name of the stored number format, such as `float32`.
    pub fn to_json(&self, dtype: &str) -> Value {
        let eos = match self.eos_token_ids.as_slice() {
            [id] => json!(id),
            ids => json!(ids),
        };
        let mut config = json!({
            "architectures": [self.family.architecture()],
            "attention_dropout": 0.0,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "max_window_layers": self.num_layers,
            "model_type": self.family.model_type(),
            "num_attention_heads": self.num_heads,
            "num_hidden_layers": self.num_layers,
            "num_key_value_heads": self.num_kv_heads,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": null,
            "rope_theta": self.rope_theta,
            "sliding_window": null,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": dtype,
            "use_cache": true,
            "use_sliding_window": false,
            "vocab_size": self.vocab_size,
        });
        if self.family == Family::Qwen3 {
            config["attention_bias"] = json!(false);
        }
        config
    }

    /// The document `generation_config.json`: the tokens that end a response.
    pub fn generation_json(&self) -> Value {
        json!({ "eos_token_id": self.eos_token_ids })
    }
}

/// The fields of one `config.json`, with the file's name for errors.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
}

impl Fields<'_> {
    /// The value of a key; absent and null are the same, as in transformers.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: &str, value: &Value) -> LoadError {
        malformed(self.path, format!("{key} must be {expected}, but is {value}"))
    }

    fn text(&self, key: &str) -> Result<Option<String>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value) => Err(self.wrong(key, "a string", value)),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(self.wrong(key, "true or false", value)),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(key, "a number", value)),
            },
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) if (1..=u32::MAX as u64).contains(&size) => Ok(Some(size as usize)),
                _ => Err(self.wrong(key, "a positive whole number", value)),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize, LoadError> {
        self.optional_size(key)?.ok_or_else(|| malformed(self.path, format!("{key} is missing")))
    }

    /// `rope_theta` at the top level (transformers 4) or in `rope_parameters` (transformers 5).
    fn rope_theta(&self) -> Result<f64, LoadError> {
        if let Some(parameters) = self.get("rope_parameters") {
            let theta = &parameters["rope_theta"];
            if !theta.is_null() {
                return theta
                    .as_f64()
                    .ok_or_else(|| self.wrong("rope_parameters.rope_theta", "a number", theta));
            }
        }
        Ok(self.number("rope_theta")?.unwrap_or(10_000.0))
    }

    /// Refuses every setting under which transformers would compute something else than we do.
    fn refuse_other_computations(&self, family: Family, num_layers: usize) -> Result<(), LoadError> {
        let refuse = |reason: String| Err(unsupported(self.path, reason));
        match self.text("hidden_act")?.as_deref() {
            None | Some("silu") => {}
            Some(other) => return refuse(format!("hidden_act is {other}")),
        }
        for key in ["rope_scaling", "rope_parameters"] {
            let Some(scaling) = self.get(key) else {
                continue;
            };
            if !scaling.is_object() {
                return Err(self.wrong(key, "an object", scaling));
            }
            let kind = [&scaling["rope_type"], &scaling["type"]].into_iter().find(|kind| !kind.is_null());
            match kind.map(|kind| kind.as_str()) {
                None | Some(Some("default")) => {}
                _ => return refuse(format!("{key} is {scaling}")),
            }
            if !matches!(scaling["partial_rotary_factor"].as_f64(), None | Some(1.0)) {
                return refuse(format!("{key} is {scaling}"));
            }
        }
        if let Some(kinds) = self.get("layer_types") {
            let all_full = kinds
                .as_array()
                .is_some_and(|kinds| kinds.iter().all(|kind| kind.as_str() == Some("full_attention")));
            if !all_full {
                return refuse(format!("layer_types is {kinds}"));
            }
        } else if self.flag("use_sliding_window")? == Some(true)
            && self.get("sliding_window").is_some()
            && self.optional_size("max_window_layers")?.unwrap_or(28) < num_layers
        {
            return refuse("use_sliding_window is true".to_owned());
        }
        if family == Family::Qwen3 && self.flag("attention_bias")? == Some(true) {
            return refuse("attention_bias is true".to_owned());
        }
        if self.number("attention_dropout")?.is_some_and(|rate| rate != 0.0) {
            return refuse("attention_dropout is not 0".to_owned());
        }
        if self.get("quantization_config").is_some() {
            return refuse("the weights are quantized (quantization_config)".to_owned());
        }
        Ok(())
    }
}

/// One id, a list of ids, or nothing.
fn token_ids(value: &Value, path: &Path) -> Result<Vec<u32>, LoadError> {
    let one = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| malformed(path, format!("eos_token_id holds {value}, not a token id")))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn malformed(path: &Path, reason: impl Into<String>) -> LoadError {
    LoadError::Malformed { path: path.to_owned(), reason: reason.into() }
}

fn unsupported(path: &Path, reason: String) -> LoadError {
    LoadError::Unsupported { path: path.to_owned(), reason }
}
