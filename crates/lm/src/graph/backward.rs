//! From the gradient of the targets' hidden rows to that of every parameter.

use rayon::prelude::*;

use super::forward::{Purpose, with_scratch};
use super::{Workspace, head_norm, pieces};
use crate::batch::TreeBatch;
use crate::kernels::matmul::{CHUNK, Output, gradient, product};
use crate::kernels::panel::Matrix;
use crate::kernels::tile::kernels;
use crate::kernels::{attention, bias, norm, rope, rows, swiglu};
use crate::model::Model;

impl Workspace {
    /// Propagates `dhidden` to every parameter.
    pub(super) fn backward(&mut self, model: &Model, batch: &TreeBatch, grad: &mut [f32]) {
        let (n, d, f) = (batch.rows(), model.config.hidden_size, model.config.intermediate_size);
        let (heads, w) = (model.heads(), &model.weights);
        let eps = model.config.rms_norm_eps as f32;
        let (width, qw, hd) = (heads.qkv_width(), heads.q_width(), heads.dim);
        let qk = qw + heads.kv_width();
        let format = kernels().activation_format(model.precision);
        // Not borrowed from the workspace, which a layer that is computed again needs as a whole.
        let mut buffers = std::mem::take(&mut self.dx);
        let [dx, dx_next] = &mut buffers;
        let (mut dx, mut dx_next) = (dx.take(n * d), dx_next.take(n * d));
        let targets = batch.targets() * d;
        let (final_norm, back) = (model.layout.final_norm.clone(), self.hidden_normed.take(targets));
        let (dhidden, hidden) = (self.dhidden.get(targets), self.hidden.get(targets));
        let norm_grads = self.norm_grads.take(batch.targets().div_ceil(CHUNK) * d);
        back.par_chunks_mut(CHUNK * d)
            .zip(dhidden.par_chunks(CHUNK * d))
            .zip(hidden.par_chunks(CHUNK * d))
            .zip(norm_grads.par_chunks_mut(d))
            .for_each(|(((back, dhidden), hidden), dw)| {
                dw.fill(0.0);
                norm::backward(back, None, dw, dhidden, hidden, &w[final_norm.clone()], eps);
            });
        bias::backward(&mut grad[final_norm.clone()], norm_grads);
        dx.fill(0.0);
        rows::scatter(dx, back, &self.outputs.places, d);
        for (l, layer) in model.layout.layers.iter().enumerate().rev() {
            if self.recompute {
                self.layer(model, batch, l, Purpose::Again);
            }
            let is_last = l + 1 == model.config.num_layers;
            let queries = if is_last { &self.outputs.last } else { &self.outputs.all };
            // Rows that the layer puts out; of the last layer, others have no gradient yet.
            let m = queries.rows().len();
            let saved = &mut self.layers[if self.recompute { 0 } else { l }];
            self.weights.backward(model, layer);
            let (panels, angles) = (&self.weights, &self.rope);
            let (normed, act) = (self.normed.take(m * d), self.act.take(m * f));
            let dout = self.dout.take(m * qw);
            let gate_up = saved.gate_up.take(m * 2 * f);
            let norm_grads = self.norm_grads.take(m.div_ceil(CHUNK) * d);
            let middle = saved.middle.get(m * d);
            // Feed-forward layer, and the output projection's input.
            pieces(&mut dx_next[..m * d], d, m)
                .into_par_iter()
                .zip(dx[..m * d].par_chunks(CHUNK * d))
                .zip(pieces(gate_up, 2 * f, m))
                .zip(pieces(act, f, m))
                .zip(pieces(normed, d, m))
                .zip(pieces(dout, qw, m))
                .zip(middle.par_chunks(CHUNK * d))
                .zip(norm_grads.par_chunks_mut(d))
                .for_each(|(((((((dx_next, dx), gate_up), act), normed), dout), middle), dw)| {
                    let rows = dx.len() / d;
                    with_scratch([rows * f, rows * d], |[dact, dnormed]| {
                        product(Output::set(dact, f), Matrix::new(dx, d), rows, &panels.down);
                        swiglu::backward(gate_up, act, dact, f);
                        norm::forward(normed, middle, &w[layer.mlp_norm.clone()], eps);
                        product(Output::set(dnormed, d), Matrix::new(gate_up, 2 * f), rows, &panels.gate_up);
                        dw.fill(0.0);
                        norm::backward(
                            dx_next,
                            Some(dx),
                            dw,
                            dnormed,
                            middle,
                            &w[layer.mlp_norm.clone()],
                            eps,
                        );
                    });
                    product(Output::set(dout, qw), Matrix::new(dx_next, d), rows, &panels.output);
                });
            bias::backward(&mut grad[layer.mlp_norm.clone()], norm_grads);
            let attended = saved.attended.get(m * qw);
            self.operand.fill(Matrix::new(act, f), m, f, format);
            gradient(&mut grad[layer.down.clone()], Matrix::new(dx, d), d, &self.operand);
            self.operand.fill(Matrix::new(normed, d), m, d, format);
            gradient(&mut grad[layer.gate_up.clone()], Matrix::new(gate_up, 2 * f), 2 * f, &self.operand);
            self.operand.fill(Matrix::new(attended, qw), m, qw, format);
            gradient(&mut grad[layer.output.clone()], Matrix::new(dx_next, d), d, &self.operand);
            if is_last {
                dx.fill(0.0);
                rows::scatter(dx, &dx_next[..m * d], queries.rows(), d);
            } else {
                (dx, dx_next) = (dx_next, dx);
            }
            // Attention.
            let dqkv = self.dqkv.take(n * width);
            let qkv = saved.qkv.get(n * width);
            let q =
                if is_last { Matrix::new(saved.queries.get(m * qw), qw) } else { Matrix::new(qkv, width) };
            let lse = saved.lse.get(m * heads.query);
            let attention = attention::Saved { q, qkv, out: attended, lse, dout };
            let key_format = kernels().weight_format(model.precision);
            let (queries, panels_of_heads) = ((batch, queries), &mut self.head_panels);
            attention::backward(dqkv, &attention, queries, (heads, key_format), panels_of_heads);
            let head_norm = head_norm(model, layer);
            let raw = saved.qk_raw.get(if head_norm.is_some() { n * qk } else { 0 });
            let normed = self.normed.take(n * d);
            let input = self.inputs[l].get(n * d);
            let norm_grads = self.norm_grads.take(n.div_ceil(CHUNK) * (d + 2 * hd + width));
            pieces(dx_next, d, n)
                .into_par_iter()
                .zip(dx.par_chunks(CHUNK * d))
                .zip(pieces(dqkv, width, n))
                .zip(pieces(normed, d, n))
                .zip(input.par_chunks(CHUNK * d))
                .zip(batch.positions().par_chunks(CHUNK))
                .zip(norm_grads.par_chunks_mut(d + 2 * hd + width))
                .enumerate()
                .for_each(|(piece, ((((((dx_next, dx), dqkv), normed), input), positions), dw))| {
                    let rows = positions.len();
                    dw.fill(0.0);
                    let (dw, rest) = dw.split_at_mut(d);
                    let (dq, rest) = rest.split_at_mut(hd);
                    let (dk, dbias) = rest.split_at_mut(hd);
                    let first = piece * CHUNK * qk;
                    let raw = if head_norm.is_some() { &raw[first..first + rows * qk] } else { &[] };
                    let shape = (width, qk);
                    rope::prepare_rows_backward(
                        dqkv,
                        raw,
                        shape,
                        heads.query,
                        angles,
                        positions,
                        head_norm,
                        dq,
                        dk,
                    );
                    if layer.qkv_bias.is_some() {
                        bias::backward(dbias, dqkv);
                    }
                    norm::forward(normed, input, &w[layer.attention_norm.clone()], eps);
                    with_scratch([rows * d], |[dnormed]| {
                        product(Output::set(dnormed, d), Matrix::new(dqkv, width), rows, &panels.qkv);
                        norm::backward(
                            dx_next,
                            Some(dx),
                            dw,
                            dnormed,
                            input,
                            &w[layer.attention_norm.clone()],
                            eps,
                        );
                    });
                });
            for sums in norm_grads.chunks_exact(d + 2 * hd + width) {
                let (dw, rest) = sums.split_at(d);
                let (dq, rest) = rest.split_at(hd);
                let (dk, dbias) = rest.split_at(hd);
                bias::backward(&mut grad[layer.attention_norm.clone()], dw);
                if let Some((q, k)) = &layer.head_norm {
                    bias::backward(&mut grad[q.clone()], dq);
                    bias::backward(&mut grad[k.clone()], dk);
                }
                if let Some(bias) = &layer.qkv_bias {
                    bias::backward(&mut grad[bias.clone()], dbias);
                }
            }
            self.operand.fill(Matrix::new(normed, d), n, d, format);
            gradient(&mut grad[layer.qkv.clone()], Matrix::new(dqkv, width), width, &self.operand);
            (dx, dx_next) = (dx_next, dx);
        }
        rows::scatter(&mut grad[model.layout.embedding.clone()], dx, batch.tokens(), d);
        self.dx = buffers;
    }
}
