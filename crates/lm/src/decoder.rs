//! Incremental decoding: sequences with cached keys and values, many advanced at once.
//!
//! It uses the kernels of the scorer, so the log-probability of a sampled token is the scorer's.

use rayon::prelude::*;

use crate::graph::{add_bias, head_norm};
use crate::kernels::attention::{BLOCK, Heads, Queries, Span, attend};
use crate::kernels::rope::{self, Rope};
use crate::kernels::{embedding, matmul, norm, swiglu};
use crate::model::Model;

/// Rows advanced together by one worker.
const GROUP_ROWS: usize = 64;

/// Cached keys and values of one layer.
#[derive(Clone, Debug, Default)]
struct LayerCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// A token sequence whose keys and values are cached; a clone continues independently.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    len: usize,
    layers: Vec<LayerCache>,
}

impl Sequence {
    /// Number of tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// New tokens for one sequence.
pub struct Entry<'a> {
    /// The sequence to continue.
    pub sequence: &'a mut Sequence,
    /// Tokens to append; at least one.
    pub tokens: &'a [u32],
}

/// Advances sequences under one model.
pub struct Decoder<'m> {
    model: &'m Model,
    rope: Rope,
}

/// Buffers of one worker.
#[derive(Default)]
struct Buffers {
    x: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    act: Vec<f32>,
    strip: Vec<f32>,
    tokens: Vec<u32>,
}

impl<'m> Decoder<'m> {
    /// A decoder for `model`.
    pub fn new(model: &'m Model) -> Self {
        let rope = Rope::new(model.config.head_dim, model.config.rope_theta);
        Decoder { model, rope }
    }

    /// The model.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Appends the tokens of every entry; returns the logits after the last token of each,
    /// `[entries, vocab]`, not divided by a temperature.
    pub fn extend(&mut self, entries: &mut [Entry<'_>]) -> Vec<f32> {
        let vocab = self.model.config.vocab_size;
        let longest = entries.iter().map(|e| e.sequence.len + e.tokens.len()).max().unwrap_or(0);
        self.rope.cover(longest);
        let mut logits = vec![0.0; entries.len() * vocab];
        let mut work = Vec::new();
        let (mut rest, mut out) = (entries, logits.as_mut_slice());
        while !rest.is_empty() {
            let mut rows = 0;
            let mut take = 0;
            while take < rest.len() && (take == 0 || rows + rest[take].tokens.len() <= GROUP_ROWS) {
                rows += rest[take].tokens.len();
                take += 1;
            }
            let (group, tail) = rest.split_at_mut(take);
            let (group_out, tail_out) = out.split_at_mut(take * vocab);
            work.push((group, group_out));
            (rest, out) = (tail, tail_out);
        }
        let (model, rope) = (self.model, &self.rope);
        work.into_par_iter().for_each_init(Buffers::default, |buffers, (group, out)| {
            advance(model, rope, group, out, buffers)
        });
        logits
    }
}

/// Appends the tokens of a group of entries on one worker.
fn advance(model: &Model, rope: &Rope, group: &mut [Entry<'_>], out: &mut [f32], b: &mut Buffers) {
    let (d, f, w) = (model.config.hidden_size, model.config.intermediate_size, &model.weights);
    let eps = model.config.rms_norm_eps as f32;
    let heads = model.heads();
    let (width, qw, kvw) = (heads.qkv_width(), heads.q_width(), heads.kv_width());
    b.tokens.clear();
    for e in group.iter_mut() {
        assert!(!e.tokens.is_empty(), "an entry needs at least one token");
        b.tokens.extend_from_slice(e.tokens);
        e.sequence.layers.resize_with(model.config.num_layers, LayerCache::default);
    }
    let n = b.tokens.len();
    for (buffer, len) in [
        (&mut b.x, n * d),
        (&mut b.normed, n * d),
        (&mut b.qkv, n * width),
        (&mut b.attended, n * qw),
        (&mut b.gate_up, n * 2 * f),
        (&mut b.act, n * f),
    ] {
        buffer.resize(len, 0.0);
    }
    embedding::forward(&mut b.x, &w[model.layout.embedding.clone()], &b.tokens, d);
    let mut positions: Vec<u32> = Vec::new();
    for (l, layer) in model.layout.layers.iter().enumerate() {
        norm::forward(&mut b.normed, &b.x, &w[layer.attention_norm.clone()], eps);
        matmul::nt(&mut b.qkv, &b.normed, &w[layer.qkv.clone()], (n, width, d), 0.0);
        if let Some(bias) = &layer.qkv_bias {
            add_bias(&mut b.qkv, &w[bias.clone()]);
        }
        let head_norm = head_norm(model, layer);
        let mut row = 0;
        for e in group.iter_mut() {
            let rows = &mut b.qkv[row * width..(row + e.tokens.len()) * width];
            positions.clear();
            positions.extend((e.sequence.len as u32..).take(e.tokens.len()));
            rope::prepare_rows(rows, (width, qw + kvw), heads.query, rope, &positions, head_norm);
            let cache = &mut e.sequence.layers[l];
            for row in rows.chunks_exact(width) {
                cache.keys.extend_from_slice(&row[qw..qw + kvw]);
                cache.values.extend_from_slice(&row[qw + kvw..]);
            }
            let attended = &mut b.attended[row * qw..(row + e.tokens.len()) * qw];
            attend_cached(attended, rows, cache, e.sequence.len, heads, &mut b.strip);
            row += e.tokens.len();
        }
        matmul::nt(&mut b.x, &b.attended, &w[layer.output.clone()], (n, d, qw), 1.0);
        norm::forward(&mut b.normed, &b.x, &w[layer.mlp_norm.clone()], eps);
        matmul::nt(&mut b.gate_up, &b.normed, &w[layer.gate_up.clone()], (n, 2 * f, d), 0.0);
        swiglu::forward(&mut b.act, &b.gate_up, f);
        matmul::nt(&mut b.x, &b.act, &w[layer.down.clone()], (n, d, f), 1.0);
    }
    let mut row = 0;
    for (i, e) in group.iter_mut().enumerate() {
        row += e.tokens.len();
        e.sequence.len += e.tokens.len();
        b.x.copy_within((row - 1) * d..row * d, i * d);
    }
    let m = group.len();
    let final_norm = &w[model.layout.final_norm.clone()];
    norm::forward(&mut b.normed[..m * d], &b.x[..m * d], final_norm, eps);
    let head = &w[model.layout.head.clone()];
    matmul::nt(out, &b.normed[..m * d], head, (m, model.config.vocab_size, d), 0.0);
}

/// Attention of the new rows of one sequence over its cache, which already holds their keys.
fn attend_cached(
    out: &mut [f32],
    qkv: &[f32],
    cache: &LayerCache,
    before: usize,
    heads: Heads,
    strip: &mut Vec<f32>,
) {
    let (width, qw, kvw, hd) = (heads.qkv_width(), heads.q_width(), heads.kv_width(), heads.dim);
    let group = heads.query / heads.kv;
    let scale = heads.scale();
    let rows = qkv.len() / width;
    let span = |g: usize, len: usize| Span {
        k: cache.keys[g * hd..].as_ptr(),
        v: cache.values[g * hd..].as_ptr(),
        len,
        row: kvw,
    };
    if rows == 1 && group <= BLOCK {
        // One new token: the query heads that share keys are handled as rows of one product.
        for g in 0..heads.kv {
            let q = Queries { ptr: qkv[g * group * hd..].as_ptr(), rows: group, row: hd, causal: 0 };
            let to = out[g * group * hd..(g + 1) * group * hd].as_mut_ptr();
            // SAFETY: the queries, the cache rows and the result are inside the slices given.
            unsafe { attend(q, &[span(g, before + 1)], hd, scale, strip, to, hd, |_, _| {}) };
        }
        return;
    }
    for a in (0..rows).step_by(BLOCK) {
        let b = rows.min(a + BLOCK);
        for h in 0..heads.query {
            let q =
                Queries { ptr: qkv[a * width + h * hd..].as_ptr(), rows: b - a, row: width, causal: b - a };
            let to = out[a * qw + h * hd..].as_mut_ptr();
            // SAFETY: as above.
            unsafe { attend(q, &[span(h / group, before + b)], hd, scale, strip, to, qw, |_, _| {}) };
        }
    }
}
