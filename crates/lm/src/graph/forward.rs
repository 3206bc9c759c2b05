//! From tokens to the residual stream after the last layer.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{Workspace, head_norm, pieces};
use crate::batch::TreeBatch;
use crate::kernels::buffer::Buffer;
use crate::kernels::matmul::{CHUNK, Output, product};
use crate::kernels::panel::Matrix;
use crate::kernels::tile::kernels;
use crate::kernels::{attention, bias, norm, rope, rows, swiglu};
use crate::model::Model;

thread_local! {
    /// What a piece of rows needs for a moment: one set a thread.
    static SCRATCH: RefCell<[Buffer<f32>; 3]> =
        const { RefCell::new([Buffer::new(), Buffer::new(), Buffer::new()]) };
}

/// Calls `work` with up to three buffers of this thread, of the lengths given.
pub(super) fn with_scratch<R, const N: usize>(
    lens: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    const { assert!(N <= 3) };
    SCRATCH.with_borrow_mut(|buffers| {
        let mut buffers = buffers.iter_mut();
        work(lens.map(|len| buffers.next().map_or(&mut [][..], |buffer| buffer.take(len))))
    })
}

/// What a layer is computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For what it puts out.
    Score,
    /// For that, and for a backward pass later.
    Train,
    /// For the backward pass that is at this layer: once more from its input, and nothing is put out.
    Again,
}

impl Workspace {
    /// Runs the layers; leaves the residual stream of the rows that predict targets in `last`. With `keep`, what the
    /// backward pass needs is saved; without, all layers share one set of buffers.
    pub(super) fn forward(&mut self, model: &Model, batch: &TreeBatch, keep: bool) {
        let (n, d, layers) = (batch.rows(), model.config.hidden_size, model.config.num_layers);
        let deepest = batch.positions().iter().max().map_or(0, |&p| p as usize + 1);
        self.rope.cover(deepest);
        let sets = if keep && !self.recompute { layers } else { 1 };
        self.layers.resize_with(sets.max(self.layers.len()), Default::default);
        self.inputs.resize_with(layers, Default::default);
        self.outputs.choose(batch);
        self.distinct.choose(batch, model.config.vocab_size);
        let weight = &model.weights[model.layout.embedding.clone()];
        rows::gather(self.x.take(n * d), Matrix::new(weight, d), batch.tokens(), d);
        let purpose = if keep { Purpose::Train } else { Purpose::Score };
        for l in 0..layers {
            self.layer(model, batch, l, purpose);
        }
    }

    /// Runs layer `l` on the residual stream in `x`; the last layer puts its result in `last`.
    pub(super) fn layer(&mut self, model: &Model, batch: &TreeBatch, l: usize, purpose: Purpose) {
        let (n, d, f) = (batch.rows(), model.config.hidden_size, model.config.intermediate_size);
        let (heads, w) = (model.heads(), &model.weights);
        let (width, qw) = (heads.qkv_width(), heads.q_width());
        let qk = qw + heads.kv_width();
        let eps = model.config.rms_norm_eps as f32;
        let format = kernels().weight_format(model.precision);
        let layer = &model.layout.layers[l];
        let head_norm = head_norm(model, layer);
        let panels = match self.laid_out.layers.get(l) {
            Some(panels) if purpose == Purpose::Score => panels,
            _ => {
                self.weights.forward(model, layer);
                &self.weights
            }
        };
        let (rope, x) = (&self.rope, self.x.take(n * d));
        let project = |qkv: &mut [f32], x: &[f32], normed: &mut [f32]| {
            norm::forward(normed, x, &w[layer.attention_norm.clone()], eps);
            product(Output::set(qkv, width), Matrix::new(normed, d), x.len() / d, &panels.qkv);
            if let Some(range) = &layer.qkv_bias {
                bias::forward(qkv, &w[range.clone()]);
            }
        };
        // Of the first layer, once for each token of the vocabulary that occurs.
        let distinct = if l == 0 { &self.distinct.tokens[..] } else { &[] };
        let embedded = self.distinct.x.take(distinct.len() * d);
        rows::gather(embedded, Matrix::new(&w[model.layout.embedding.clone()], d), distinct, d);
        let table = self.distinct.qkv.take(distinct.len() * width);
        table.par_chunks_mut(CHUNK * width).zip(embedded.par_chunks(CHUNK * d)).for_each(|(qkv, x)| {
            with_scratch([x.len()], |[normed]| project(qkv, x, normed));
        });
        let (table, places) = (&*table, &self.distinct.places);
        // Widths of what is saved; where it is not, pieces of width 0 stand for it.
        let saved_width = |width: usize| if purpose == Purpose::Score { 0 } else { width };
        let raw_width = if head_norm.is_some() { saved_width(qk) } else { 0 };
        let input_width = if purpose == Purpose::Train { d } else { 0 };
        if purpose == Purpose::Again {
            x.copy_from_slice(self.inputs[l].get(n * d));
        }
        let input = self.inputs[l].take(n * input_width);
        let saved = &mut self.layers[if purpose == Purpose::Train && !self.recompute { l } else { 0 }];
        let qkv = saved.qkv.take(n * width);
        pieces(x, d, n)
            .into_par_iter()
            .zip(pieces(qkv, width, n))
            .zip(pieces(input, input_width, n))
            .zip(pieces(saved.qk_raw.take(n * raw_width), raw_width, n))
            .zip(batch.positions().par_chunks(CHUNK))
            .zip(places.par_chunks(CHUNK))
            .for_each(|(((((x, qkv), input), raw), positions), places)| {
                if input_width > 0 {
                    input.copy_from_slice(x);
                }
                if l == 0 {
                    for (qkv, &place) in qkv.chunks_exact_mut(width).zip(places) {
                        qkv.copy_from_slice(&table[place as usize * width..][..width]);
                    }
                } else {
                    with_scratch([x.len()], |[normed]| project(qkv, x, normed));
                }
                if raw_width > 0 {
                    for (row, raw) in qkv.chunks_exact(width).zip(raw.chunks_exact_mut(qk)) {
                        raw.copy_from_slice(&row[..qk]);
                    }
                }
                rope::prepare_rows(qkv, (width, qk), heads.query, rope, positions, head_norm);
            });
        // Behind the last keys and values only rows that predict targets matter.
        let is_last = l + 1 == model.config.num_layers;
        let queries = if is_last { &self.outputs.last } else { &self.outputs.all };
        let m = queries.rows().len();
        let (q, x) = if is_last {
            let (q, last) = (saved.queries.take(m * qw), self.last.take(m * d));
            rows::gather(q, Matrix::new(qkv, width), queries.rows(), qw);
            rows::gather(last, Matrix::new(x, d), queries.rows(), d);
            (Matrix::new(q, qw), last)
        } else {
            (Matrix::new(qkv, width), x)
        };
        let (attended, lse) = (saved.attended.take(m * qw), saved.lse.take(m * heads.query));
        attention::forward((attended, lse), (q, qkv), (batch, queries), (heads, format), &mut self.keys);
        let (kept, gates) = (saved_width(d), saved_width(2 * f));
        pieces(x, d, m)
            .into_par_iter()
            .zip(pieces(attended, qw, m))
            .zip(pieces(saved.middle.take(m * kept), kept, m))
            .zip(pieces(saved.gate_up.take(m * gates), gates, m))
            .for_each(|(((x, attended), middle), gate_up)| {
                let rows = x.len() / d;
                product(Output::add(x, d), Matrix::new(attended, qw), rows, &panels.output);
                if kept > 0 {
                    middle.copy_from_slice(x);
                }
                let lens = [x.len(), rows * f, if gates > 0 { 0 } else { rows * 2 * f }];
                with_scratch(lens, |[normed, act, passing]| {
                    let gate_up = if gates > 0 { gate_up } else { passing };
                    norm::forward(normed, x, &w[layer.mlp_norm.clone()], eps);
                    product(Output::set(gate_up, 2 * f), Matrix::new(normed, d), rows, &panels.gate_up);
                    if purpose != Purpose::Again {
                        swiglu::forward(act, gate_up, f);
                        product(Output::add(x, d), Matrix::new(act, f), rows, &panels.down);
                    }
                });
            });
    }
}
