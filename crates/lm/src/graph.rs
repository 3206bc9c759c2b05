//! The decoder's forward and backward pass over a tree batch, written out without autograd.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::batch::TreeBatch;
use crate::kernels::attention::{self, Saved};
use crate::kernels::head::{self, HeadGrad, LossGrad, TokenStats};
use crate::kernels::rope::{self, HeadNorm, Rope};
use crate::kernels::{embedding, matmul, norm, swiglu};
use crate::model::Model;
use crate::parameters::Layer;

/// Rows per piece of the element-wise work of this file.
const ROWS: usize = 64;

/// Buffers of the passes, kept between calls so that nothing is allocated in a step.
#[derive(Debug)]
pub struct Workspace {
    rope: Rope,
    layers: Vec<LayerBuffers>,
    x: Vec<f32>,
    normed: Vec<f32>,
    act: Vec<f32>,
    dx: Vec<f32>,
    dnormed: Vec<f32>,
    dact: Vec<f32>,
    dqkv: Vec<f32>,
    hidden: Vec<f32>,
    hidden_normed: Vec<f32>,
    dhidden: Vec<f32>,
    logits: Vec<f32>,
}

/// What one layer saves for the backward pass.
#[derive(Debug, Default)]
struct LayerBuffers {
    input: Vec<f32>,
    qk_raw: Vec<f32>,
    qkv: Vec<f32>,
    lse: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    gate_up: Vec<f32>,
}

/// The first `len` floats of a buffer, which grows as needed and never shrinks.
fn take(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// The weights of the query and key norms, if the family has them.
pub(crate) fn head_norm<'a>(model: &'a Model, layer: &Layer) -> Option<HeadNorm<'a>> {
    let (q, k) = layer.head_norm.clone()?;
    let eps = model.config.rms_norm_eps as f32;
    Some(HeadNorm { q: &model.weights[q], k: &model.weights[k], eps })
}

/// Adds `bias` to every row.
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    x.par_chunks_mut(ROWS * bias.len()).for_each(|x| {
        for row in x.chunks_exact_mut(bias.len()) {
            for (v, b) in row.iter_mut().zip(bias) {
                *v += b;
            }
        }
    });
}

impl Workspace {
    /// An empty workspace for models of the architecture of `model`.
    pub fn new(model: &Model) -> Self {
        Workspace {
            rope: Rope::new(model.config.head_dim, model.config.rope_theta),
            layers: Vec::new(),
            x: Vec::new(),
            normed: Vec::new(),
            act: Vec::new(),
            dx: Vec::new(),
            dnormed: Vec::new(),
            dact: Vec::new(),
            dqkv: Vec::new(),
            hidden: Vec::new(),
            hidden_normed: Vec::new(),
            dhidden: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// Log-probability (of logits divided by `temperature`) and entropy of every target.
    pub fn score(&mut self, model: &Model, batch: &TreeBatch, temperature: f32) -> Vec<TokenStats> {
        self.forward(model, batch, false);
        self.gather(model, batch);
        let n = batch.targets() * model.config.hidden_size;
        let weight = &model.weights[model.layout.head.clone()];
        let tokens = batch.target_tokens();
        head::run(&self.hidden_normed[..n], weight, tokens, temperature, &mut self.logits, None)
    }

    /// As [`score`](Self::score), and adds the gradient of the loss that `loss` describes to `grad`,
    /// which has the layout of the model's parameters.
    pub fn forward_backward(
        &mut self,
        model: &Model,
        batch: &TreeBatch,
        temperature: f32,
        loss: LossGrad<'_>,
        grad: &mut [f32],
    ) -> Vec<TokenStats> {
        assert_eq!(grad.len(), model.len(), "gradient and model differ in size");
        if batch.targets() == 0 {
            return Vec::new();
        }
        self.forward(model, batch, true);
        self.gather(model, batch);
        let d = model.config.hidden_size;
        let n = batch.targets() * d;
        let dhidden = take(&mut self.dhidden, n);
        let stats = head::run(
            &self.hidden_normed[..n],
            &model.weights[model.layout.head.clone()],
            batch.target_tokens(),
            temperature,
            &mut self.logits,
            Some(HeadGrad { hidden: dhidden, weight: &mut grad[model.layout.head.clone()], loss }),
        );
        self.backward(model, batch, grad);
        stats
    }

    /// Runs the layers; leaves the residual stream in `x`. With `keep`, every layer's buffers are
    /// saved; without, all layers share one set.
    fn forward(&mut self, model: &Model, batch: &TreeBatch, keep: bool) {
        let (n, d, f) = (batch.rows(), model.config.hidden_size, model.config.intermediate_size);
        let (heads, w) = (model.heads(), &model.weights);
        let eps = model.config.rms_norm_eps as f32;
        let deepest = batch.positions().iter().max().map_or(0, |&p| p as usize + 1);
        self.rope.cover(deepest);
        let sets = if keep { model.config.num_layers } else { 1 };
        if self.layers.len() < sets {
            self.layers.resize_with(sets, LayerBuffers::default);
        }
        let x = take(&mut self.x, n * d);
        embedding::forward(x, &w[model.layout.embedding.clone()], batch.tokens(), d);
        for (l, layer) in model.layout.layers.iter().enumerate() {
            let b = &mut self.layers[if keep { l } else { 0 }];
            if keep {
                take(&mut b.input, n * d).copy_from_slice(x);
            }
            let normed = take(&mut self.normed, n * d);
            norm::forward(normed, x, &w[layer.attention_norm.clone()], eps);
            let width = heads.qkv_width();
            let qkv = take(&mut b.qkv, n * width);
            matmul::nt(qkv, normed, &w[layer.qkv.clone()], (n, width, d), 0.0);
            if let Some(bias) = &layer.qkv_bias {
                add_bias(qkv, &w[bias.clone()]);
            }
            let qk = heads.q_width() + heads.kv_width();
            let head_norm = head_norm(model, layer);
            let raw = take(&mut b.qk_raw, if keep && head_norm.is_some() { n * qk } else { 0 });
            prepare(qkv, raw, batch, &self.rope, width, qk, head_norm, heads);
            let lse = take(&mut b.lse, n * heads.query);
            let attended = take(&mut b.attended, n * heads.q_width());
            attention::forward(attended, lse, qkv, batch, heads);
            matmul::nt(x, attended, &w[layer.output.clone()], (n, d, heads.q_width()), 1.0);
            if keep {
                take(&mut b.middle, n * d).copy_from_slice(x);
            }
            norm::forward(normed, x, &w[layer.mlp_norm.clone()], eps);
            let gate_up = take(&mut b.gate_up, n * 2 * f);
            matmul::nt(gate_up, normed, &w[layer.gate_up.clone()], (n, 2 * f, d), 0.0);
            let act = take(&mut self.act, n * f);
            swiglu::forward(act, gate_up, f);
            matmul::nt(x, act, &w[layer.down.clone()], (n, d, f), 1.0);
        }
    }

    /// Copies the rows that predict targets and applies the last norm to them.
    fn gather(&mut self, model: &Model, batch: &TreeBatch) {
        let d = model.config.hidden_size;
        let hidden = take(&mut self.hidden, batch.targets() * d);
        for (row, &source) in hidden.chunks_exact_mut(d).zip(batch.target_rows()) {
            row.copy_from_slice(&self.x[source as usize * d..(source as usize + 1) * d]);
        }
        let normed = take(&mut self.hidden_normed, batch.targets() * d);
        let weight = &model.weights[model.layout.final_norm.clone()];
        norm::forward(normed, hidden, weight, model.config.rms_norm_eps as f32);
    }

    /// Propagates `dhidden` to every parameter.
    fn backward(&mut self, model: &Model, batch: &TreeBatch, grad: &mut [f32]) {
        let (n, d, f) = (batch.rows(), model.config.hidden_size, model.config.intermediate_size);
        let (heads, w) = (model.heads(), &model.weights);
        let eps = model.config.rms_norm_eps as f32;
        let (width, qw) = (heads.qkv_width(), heads.q_width());
        let dx = take(&mut self.dx, n * d);
        dx.fill(0.0);
        let targets = batch.targets() * d;
        let final_norm = model.layout.final_norm.clone();
        let back = take(&mut self.dnormed, (n * d).max(targets));
        back[..targets].fill(0.0);
        norm::backward(
            &mut back[..targets],
            &mut grad[final_norm.clone()],
            &self.dhidden[..targets],
            &self.hidden[..targets],
            &w[final_norm],
            eps,
        );
        for (row, &source) in back[..targets].chunks_exact(d).zip(batch.target_rows()) {
            let at = source as usize * d;
            for (a, b) in dx[at..at + d].iter_mut().zip(row) {
                *a += b;
            }
        }
        for (l, layer) in model.layout.layers.iter().enumerate().rev() {
            let b = &mut self.layers[l];
            let (normed, act) = (take(&mut self.normed, n * d), take(&mut self.act, n * f));
            let (dact, dnormed) = (take(&mut self.dact, n * f), take(&mut self.dnormed, n * d));
            // Feed-forward layer.
            let gate_up = &mut b.gate_up[..n * 2 * f];
            let middle = &b.middle[..n * d];
            swiglu::forward(act, gate_up, f);
            matmul::tn(&mut grad[layer.down.clone()], dx, act, (d, f, n), 1.0);
            matmul::nn(dact, dx, &w[layer.down.clone()], (n, f, d), 0.0);
            swiglu::backward(gate_up, dact, f);
            norm::forward(normed, middle, &w[layer.mlp_norm.clone()], eps);
            matmul::tn(&mut grad[layer.gate_up.clone()], gate_up, normed, (2 * f, d, n), 1.0);
            matmul::nn(dnormed, gate_up, &w[layer.gate_up.clone()], (n, d, 2 * f), 0.0);
            let norm_weight = layer.mlp_norm.clone();
            norm::backward(dx, &mut grad[norm_weight.clone()], dnormed, middle, &w[norm_weight], eps);
            // Attention.
            let attended = &b.attended[..n * qw];
            let dout = take(&mut self.dact, n * qw);
            matmul::tn(&mut grad[layer.output.clone()], dx, attended, (d, qw, n), 1.0);
            matmul::nn(dout, dx, &w[layer.output.clone()], (n, qw, d), 0.0);
            let dqkv = take(&mut self.dqkv, n * width);
            let qkv = &b.qkv[..n * width];
            let saved = Saved { qkv, out: attended, lse: &b.lse[..n * heads.query], dout };
            attention::backward(dqkv, &saved, batch, heads);
            prepare_backward(dqkv, &b.qk_raw, batch, &self.rope, model, layer, grad);
            if let Some(bias) = &layer.qkv_bias {
                column_sums(&mut grad[bias.clone()], dqkv);
            }
            let input = &b.input[..n * d];
            norm::forward(normed, input, &w[layer.attention_norm.clone()], eps);
            matmul::tn(&mut grad[layer.qkv.clone()], dqkv, normed, (width, d, n), 1.0);
            matmul::nn(dnormed, dqkv, &w[layer.qkv.clone()], (n, d, width), 0.0);
            let norm_weight = layer.attention_norm.clone();
            norm::backward(dx, &mut grad[norm_weight.clone()], dnormed, input, &w[norm_weight], eps);
        }
        embedding::backward(&mut grad[model.layout.embedding.clone()], dx, batch.tokens(), d);
    }
}

/// Normalises and rotates the query and key heads of every row, saving the raw ones if `raw` has room.
#[allow(clippy::too_many_arguments)]
fn prepare(
    qkv: &mut [f32],
    raw: &mut [f32],
    batch: &TreeBatch,
    rope: &Rope,
    width: usize,
    qk: usize,
    head_norm: Option<HeadNorm<'_>>,
    heads: attention::Heads,
) {
    for (row, raw) in qkv.chunks_exact(width).zip(raw.chunks_exact_mut(qk)) {
        raw.copy_from_slice(&row[..qk]);
    }
    qkv.par_chunks_mut(ROWS * width).zip(batch.positions().par_chunks(ROWS)).for_each(|(qkv, positions)| {
        rope::prepare_rows(qkv, (width, qk), heads.query, rope, positions, head_norm)
    });
}

/// Gradient of [`prepare`], in place; adds the gradients of the head norms to `grad`.
fn prepare_backward(
    dqkv: &mut [f32],
    raw: &[f32],
    batch: &TreeBatch,
    rope: &Rope,
    model: &Model,
    layer: &Layer,
    grad: &mut [f32],
) {
    let heads = model.heads();
    let (width, qk, hd) = (heads.qkv_width(), heads.q_width() + heads.kv_width(), heads.dim);
    let head_norm = head_norm(model, layer);
    let partial: Vec<Vec<f32>> = dqkv
        .par_chunks_mut(ROWS * width)
        .zip(batch.positions().par_chunks(ROWS))
        .enumerate()
        .map(|(piece, (dqkv, positions))| {
            let mut dw = vec![0.0; 2 * hd];
            let (dq, dk) = dw.split_at_mut(hd);
            let first = piece * ROWS * qk;
            let raw = if head_norm.is_some() { &raw[first..first + positions.len() * qk] } else { &[] };
            let shape = (width, qk);
            rope::prepare_rows_backward(dqkv, raw, shape, heads.query, rope, positions, head_norm, dq, dk);
            dw
        })
        .collect();
    if let Some((q, k)) = &layer.head_norm {
        for dw in partial {
            for (range, dw) in [(q, &dw[..hd]), (k, &dw[hd..])] {
                for (a, b) in grad[range.clone()].iter_mut().zip(dw) {
                    *a += b;
                }
            }
        }
    }
}

/// Adds the sum of every column of `x` to `sums`.
fn column_sums(sums: &mut [f32], x: &[f32]) {
    let width = sums.len();
    let partial: Vec<Vec<f32>> = x
        .par_chunks(ROWS * width)
        .map(|x| {
            let mut sums = vec![0.0; width];
            add_rows(&mut sums, x);
            sums
        })
        .collect();
    for p in partial {
        for (a, b) in sums.iter_mut().zip(p) {
            *a += b;
        }
    }
}

/// Adds every row of `x` to `sums`.
#[multiversion(targets = "simd")]
fn add_rows(sums: &mut [f32], x: &[f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (s, v) in sums.iter_mut().zip(row) {
            *s += v;
        }
    }
}
