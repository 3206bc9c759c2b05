//! The decoder's forward and backward pass over a tree batch, written out without autograd.
//!
//! A layer is a few passes over the batch; each pass takes pieces of [`CHUNK`] rows through all that
//! depends on these rows alone, so that what one kernel writes the next finds in the cache.

use rayon::prelude::*;

use crate::batch::TreeBatch;
use crate::kernels::attention::{HeadPanels, Queries};
use crate::kernels::buffer::Buffer;
use crate::kernels::head::{self, Head, HeadBuffers, HeadGrad, LossGrad, TokenStats};
use crate::kernels::matmul::CHUNK;
use crate::kernels::panel::{Matrix, Panels};
use crate::kernels::rope::{HeadNorm, Rope};
use crate::kernels::tile::kernels;
use crate::kernels::{norm, rows};
use crate::model::Model;
use crate::parameters::Layer;

mod backward;
mod forward;
mod scorer;

pub use scorer::Scorer;

/// Memory of the passes, kept between calls so that nothing is allocated in a step.
#[derive(Debug)]
pub struct Workspace {
    rope: Rope,
    /// Whether the backward pass computes each layer again instead of finding what it needs.
    recompute: bool,
    /// The residual stream before each layer, for the backward pass.
    inputs: Vec<Buffer<f32>>,
    /// What else the backward pass needs: of every layer, or of the one it is at.
    layers: Vec<Saved>,
    /// The weights of the layer that the passes are at.
    weights: LayerPanels,
    laid_out: scorer::LaidOut,
    keys: Vec<[Panels; 2]>,
    head_panels: Vec<HeadPanels>,
    operand: Panels,
    head: HeadBuffers,
    outputs: Outputs,
    distinct: Distinct,
    /// The residual stream before a layer, of all rows.
    x: Buffer<f32>,
    /// The residual stream after the last layer, of the rows it puts out.
    last: Buffer<f32>,
    normed: Buffer<f32>,
    act: Buffer<f32>,
    dx: [Buffer<f32>; 2],
    dout: Buffer<f32>,
    dqkv: Buffer<f32>,
    norm_grads: Buffer<f32>,
    hidden: Buffer<f32>,
    hidden_normed: Buffer<f32>,
    dhidden: Buffer<f32>,
}

/// Which rows the layers put out: all, and the last layer only those that predict targets.
#[derive(Debug, Default)]
struct Outputs {
    all: Queries,
    last: Queries,
    /// For each target, the place of its row among those of the last layer.
    places: Vec<u32>,
}

impl Outputs {
    /// Those of a batch.
    fn choose(&mut self, batch: &TreeBatch) {
        self.all.choose(batch, 0..batch.rows() as u32);
        self.places.clear();
        self.places.extend_from_slice(batch.target_rows());
        self.places.sort_unstable();
        self.places.dedup();
        self.last.choose(batch, self.places.drain(..));
        let place = |row: &u32| self.last.rows().partition_point(|r| r < row) as u32;
        self.places.extend(batch.target_rows().iter().map(place));
    }
}

/// The different tokens of a batch: before positions enter, the first layer makes the same of equal ones.
#[derive(Debug, Default)]
struct Distinct {
    tokens: Vec<u32>,
    /// For each row, the place of its token.
    places: Vec<u32>,
    /// By token of the vocabulary, its place, where it has one.
    of_token: Vec<u32>,
    /// Their embeddings.
    x: Buffer<f32>,
    /// Queries, keys and values of these tokens.
    qkv: Buffer<f32>,
}

impl Distinct {
    /// Those of a batch.
    fn choose(&mut self, batch: &TreeBatch, vocab: usize) {
        const NONE: u32 = u32::MAX;
        self.of_token.clear();
        self.of_token.resize(vocab, NONE);
        self.tokens.clear();
        self.places.clear();
        for &token in batch.tokens() {
            let place = &mut self.of_token[token as usize];
            if *place == NONE {
                *place = self.tokens.len() as u32;
                self.tokens.push(token);
            }
            self.places.push(*place);
        }
    }
}

/// What one layer saves for the backward pass besides its input.
#[derive(Debug, Default)]
struct Saved {
    /// Query and key heads before norm and rotation.
    qk_raw: Buffer<f32>,
    /// Queries, keys and values as attention takes them.
    qkv: Buffer<f32>,
    /// The queries of the rows that the layer puts out, where these are not all.
    queries: Buffer<f32>,
    /// Log-sum-exp of the attention scores.
    lse: Buffer<f32>,
    /// The attention's result.
    attended: Buffer<f32>,
    /// Residual stream before the feed-forward layer.
    middle: Buffer<f32>,
    /// Gate and up projections.
    gate_up: Buffer<f32>,
}

/// The weight matrices of one layer, laid out for products.
#[derive(Debug, Default)]
pub(crate) struct LayerPanels {
    pub(crate) qkv: Panels,
    pub(crate) output: Panels,
    pub(crate) gate_up: Panels,
    pub(crate) down: Panels,
}

impl LayerPanels {
    /// The shapes of the matrices, `[outputs, inputs]`, with their values.
    fn matrices<'a>(
        &mut self,
        model: &'a Model,
        layer: &Layer,
    ) -> [(&mut Panels, &'a [f32], usize, usize); 4] {
        let (d, f) = (model.config.hidden_size, model.config.intermediate_size);
        let heads = model.heads();
        let w = &model.weights;
        [
            (&mut self.qkv, &w[layer.qkv.clone()], heads.qkv_width(), d),
            (&mut self.output, &w[layer.output.clone()], d, heads.q_width()),
            (&mut self.gate_up, &w[layer.gate_up.clone()], 2 * f, d),
            (&mut self.down, &w[layer.down.clone()], d, f),
        ]
    }

    /// For products `x Wᵀ`.
    pub(crate) fn forward(&mut self, model: &Model, layer: &Layer) {
        let format = kernels().weight_format(model.precision);
        for (panels, w, outputs, inputs) in self.matrices(model, layer) {
            panels.fill_transposed(Matrix::new(w, inputs), inputs, outputs, format);
        }
    }

    /// For products `dy W`.
    fn backward(&mut self, model: &Model, layer: &Layer) {
        let format = kernels().weight_format(model.precision);
        for (panels, w, outputs, inputs) in self.matrices(model, layer) {
            panels.fill(Matrix::new(w, inputs), outputs, inputs, format);
        }
    }
}

/// The weights of the query and key norms, if the family has them.
pub(crate) fn head_norm<'a>(model: &'a Model, layer: &Layer) -> Option<HeadNorm<'a>> {
    let (q, k) = layer.head_norm.clone()?;
    let eps = model.config.rms_norm_eps as f32;
    Some(HeadNorm { q: &model.weights[q], k: &model.weights[k], eps })
}

/// Rows of `width` floats in pieces of [`CHUNK`] rows. `width` 0 gives empty pieces.
fn pieces(rows: &mut [f32], width: usize, count: usize) -> Vec<&mut [f32]> {
    let mut rest = rows;
    let mut all = Vec::with_capacity(count.div_ceil(CHUNK));
    for first in (0..count).step_by(CHUNK) {
        let (piece, tail) = rest.split_at_mut(CHUNK.min(count - first) * width);
        all.push(piece);
        rest = tail;
    }
    all
}

/// The head over the normalised rows that predict targets.
fn head_of<'a>(
    model: &'a Model,
    hidden: &'a [f32],
    batch: &'a TreeBatch,
    temperature: f32,
    laid_out: Option<&'a Panels>,
) -> Head<'a> {
    Head {
        hidden,
        laid_out,
        weight: &model.weights[model.layout.head.clone()],
        tokens: batch.target_tokens(),
        temperature,
        precision: model.precision,
    }
}

impl Workspace {
    /// An empty workspace for models of the architecture of `model`.
    pub fn new(model: &Model) -> Self {
        Workspace {
            rope: Rope::new(model.config.head_dim, model.config.rope_theta),
            recompute: false,
            inputs: Vec::new(),
            layers: Vec::new(),
            weights: LayerPanels::default(),
            laid_out: scorer::LaidOut::default(),
            keys: Vec::new(),
            head_panels: Vec::new(),
            operand: Panels::default(),
            head: HeadBuffers::default(),
            outputs: Outputs::default(),
            distinct: Distinct::default(),
            x: Buffer::new(),
            last: Buffer::new(),
            normed: Buffer::new(),
            act: Buffer::new(),
            dx: [Buffer::new(), Buffer::new()],
            dout: Buffer::new(),
            dqkv: Buffer::new(),
            norm_grads: Buffer::new(),
            hidden: Buffer::new(),
            hidden_normed: Buffer::new(),
            dhidden: Buffer::new(),
        }
    }

    /// With `recompute`, a training pass keeps the residual stream before each layer and computes the
    /// layers again on its way back: the same gradient, bit for bit, in less memory and more time (Chen et
    /// al. 2016).
    pub fn recomputing(self, recompute: bool) -> Self {
        Workspace { recompute, ..self }
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
        let n = batch.targets() * model.config.hidden_size;
        let head = head_of(model, self.hidden_normed.get(n), batch, temperature, None);
        let weight = &mut grad[model.layout.head.clone()];
        let grads = HeadGrad { hidden: self.dhidden.take(n), weight, loss };
        let stats = head::run(&head, &mut self.head, Some(grads));
        self.backward(model, batch, grad);
        stats
    }

    /// Copies the rows that predict targets and applies the last norm to them.
    fn gather(&mut self, model: &Model, batch: &TreeBatch) {
        let d = model.config.hidden_size;
        let last = self.last.get(self.outputs.last.rows().len() * d);
        let hidden = self.hidden.take(batch.targets() * d);
        let normed = self.hidden_normed.take(batch.targets() * d);
        let weight = &model.weights[model.layout.final_norm.clone()];
        rows::gather(hidden, Matrix::new(last, d), &self.outputs.places, d);
        normed.par_chunks_mut(CHUNK * d).zip(hidden.par_chunks(CHUNK * d)).for_each(|(normed, hidden)| {
            norm::forward(normed, hidden, weight, model.config.rms_norm_eps as f32);
        });
    }
}
