//! What `config.json` and `1_Pooling/config.json` say of an encoder.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::EncoderError;

/// The sizes of a BERT encoder, named as in `config.json`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BertConfig {
    pub model_type: String,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: String,
    pub layer_norm_eps: f64,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
}

fn absolute() -> String {
    "absolute".to_owned()
}

impl BertConfig {
    /// Reads `config.json` of a folder.
    pub fn read(folder: &Path) -> Result<Self, EncoderError> {
        let path = folder.join("config.json");
        let text =
            std::fs::read(&path).map_err(|source| EncoderError::Read { path: path.clone(), source })?;
        let unsupported = |reason: String| EncoderError::Unsupported { path: path.clone(), reason };
        let config: BertConfig = serde_json::from_slice(&text).map_err(|e| unsupported(e.to_string()))?;
        for (key, value, needed) in [
            ("model_type", &config.model_type, "bert"),
            ("hidden_act", &config.hidden_act, "gelu"),
            ("position_embedding_type", &config.position_embedding_type, "absolute"),
        ] {
            if value != needed {
                return Err(unsupported(format!("{key} is {value:?}, not {needed:?}")));
            }
        }
        let sizes = [config.hidden_size, config.num_attention_heads, config.intermediate_size];
        if sizes.contains(&0) || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(unsupported("hidden_size is no multiple of num_attention_heads".to_owned()));
        }
        if config.type_vocab_size == 0 {
            return Err(unsupported("type_vocab_size is 0".to_owned()));
        }
        Ok(config)
    }

    /// Numbers of an attention head.
    pub fn head(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// Refuses a folder of sentence-transformers whose vectors are not means.
pub(super) fn check_pooling(folder: &Path) -> Result<(), EncoderError> {
    let path = folder.join("1_Pooling/config.json");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|source| EncoderError::Read { path: path.clone(), source })?,
    };
    let config: Value = serde_json::from_slice(&text)
        .map_err(|e| EncoderError::Unsupported { path: path.clone(), reason: e.to_string() })?;
    match config["pooling_mode_mean_tokens"] {
        Value::Bool(true) => Ok(()),
        _ => {
            Err(EncoderError::Unsupported { path, reason: "pooling_mode_mean_tokens is not true".to_owned() })
        }
    }
}
