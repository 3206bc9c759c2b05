//! Where each tensor of a model lies in one flat vector of parameters.
//!
//! Query, key and value projections (and gate and up) are neighbours, so that each group is one
//! matrix product; the optimizer, clipping and averaging are loops over the whole vector.

use std::ops::Range;

use crate::config::{Family, ModelConfig};

/// A tensor of the checkpoint: its Hugging Face name, shape and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape in the checkpoint, row-major. Matrices are `[outputs, inputs]`, applied as `y = W x`.
    pub shape: Vec<usize>,
    /// Place in the flat vector.
    pub range: Range<usize>,
}

/// Places of one decoder layer's parameters.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Weight of the norm before attention.
    pub attention_norm: Range<usize>,
    /// Query, key and value projections, stacked: `[(heads + 2 kv) * head_dim, hidden]`.
    pub qkv: Range<usize>,
    /// Their biases, stacked (Qwen2).
    pub qkv_bias: Option<Range<usize>>,
    /// Norm weights of query heads and key heads, adjacent (Qwen3).
    pub head_norm: Option<(Range<usize>, Range<usize>)>,
    /// Output projection: `[hidden, heads * head_dim]`.
    pub output: Range<usize>,
    /// Weight of the norm before the feed-forward layer.
    pub mlp_norm: Range<usize>,
    /// Gate and up projections, stacked: `[2 * intermediate, hidden]`.
    pub gate_up: Range<usize>,
    /// Down projection: `[hidden, intermediate]`.
    pub down: Range<usize>,
}

/// Places of all parameters.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Every tensor of the checkpoint, in the order of the flat vector.
    pub tensors: Vec<Tensor>,
    /// Embedding table: `[vocab, hidden]`.
    pub embedding: Range<usize>,
    /// Decoder layers.
    pub layers: Vec<Layer>,
    /// Weight of the last norm.
    pub final_norm: Range<usize>,
    /// Output head, `[vocab, hidden]`; the embedding table itself when tied.
    pub head: Range<usize>,
    /// Length of the flat vector.
    pub len: usize,
}

impl Parameters {
    /// The layout of a model of the given architecture.
    pub fn new(config: &ModelConfig) -> Self {
        let (d, f, hd) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (q, kv) = (config.num_heads * hd, config.num_kv_heads * hd);
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut len = 0;
        let mut add = |name: String, shape: &[usize]| {
            let size: usize = shape.iter().product();
            let range = len..len + size;
            len += size;
            tensors.push(Tensor { name, shape: shape.to_vec(), range: range.clone() });
            range
        };
        let embedding = add("model.embed_tokens.weight".into(), &[config.vocab_size, d]);
        let mut layers = Vec::with_capacity(config.num_layers);
        for l in 0..config.num_layers {
            let name = |part: &str| format!("model.layers.{l}.{part}");
            let attention_norm = add(name("input_layernorm.weight"), &[d]);
            let first = add(name("self_attn.q_proj.weight"), &[q, d]);
            add(name("self_attn.k_proj.weight"), &[kv, d]);
            let last = add(name("self_attn.v_proj.weight"), &[kv, d]);
            let (mut qkv_bias, mut head_norm) = (None, None);
            match config.family {
                Family::Qwen2 => {
                    let first = add(name("self_attn.q_proj.bias"), &[q]);
                    add(name("self_attn.k_proj.bias"), &[kv]);
                    let last = add(name("self_attn.v_proj.bias"), &[kv]);
                    qkv_bias = Some(first.start..last.end);
                }
                Family::Qwen3 => {
                    let q = add(name("self_attn.q_norm.weight"), &[hd]);
                    head_norm = Some((q, add(name("self_attn.k_norm.weight"), &[hd])));
                }
            }
            let output = add(name("self_attn.o_proj.weight"), &[d, q]);
            let mlp_norm = add(name("post_attention_layernorm.weight"), &[d]);
            let gate = add(name("mlp.gate_proj.weight"), &[f, d]);
            let up = add(name("mlp.up_proj.weight"), &[f, d]);
            let down = add(name("mlp.down_proj.weight"), &[d, f]);
            layers.push(Layer {
                attention_norm,
                qkv: first.start..last.end,
                qkv_bias,
                head_norm,
                output,
                mlp_norm,
                gate_up: gate.start..up.end,
                down,
            });
        }
        let final_norm = add("model.norm.weight".into(), &[d]);
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            add("lm_head.weight".into(), &[config.vocab_size, d])
        };
        Parameters { tensors, embedding, layers, final_norm, head, len }
    }
}
