//! The architecture of a checkpoint: what `config.json` of a Hugging Face folder says.

/// Which family of decoder a checkpoint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Qwen3: RMSNorm on every query and key head, no biases.
    Qwen3,
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
