//! The output head: log-probability of the chosen token, entropy, and both gradients, in chunks of
//! rows, so that tokens x vocabulary is never in memory.

use multiversion::multiversion;
use rayon::prelude::*;

use super::buffer::Buffer;
use super::math;
use super::matmul::{CHUNK, Output, gradient, product};
use super::panel::{Matrix, Panels};
use super::tile::{Precision, kernels};
use crate::fused;

/// Floats of logits held at once (before the minimum of [`MIN_ROWS`] rows).
const CHUNK_FLOATS: usize = 1 << 21;

/// Rows held at the least: the weight is laid out anew for each lot of rows.
const MIN_ROWS: usize = 5 * CHUNK;

/// Tokens of the vocabulary whose weights are laid out at once.
const VOCAB_BLOCK: usize = 8192;

/// What the model says about one chosen token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenStats {
    /// Log-probability of the chosen token, in nats.
    pub logprob: f32,
    /// Entropy of the distribution it was chosen from, in nats.
    pub entropy: f32,
}

impl TokenStats {
    /// Whether the logits were numbers. One that is not shows here in any case: it enters the entropy by a product with
    /// itself, while its exponential is bounded.
    pub fn is_finite(&self) -> bool {
        self.logprob.is_finite() && self.entropy.is_finite()
    }
}

/// How the loss changes with the two numbers of [`TokenStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenGrad {
    /// `d loss / d logprob`.
    pub logprob: f32,
    /// `d loss / d entropy`.
    pub entropy: f32,
}

/// Loss gradient of target `i` given what the model says about it.
pub type LossGrad<'a> = &'a (dyn Fn(usize, TokenStats) -> TokenGrad + Sync);

/// Where the gradients of the head go.
pub struct HeadGrad<'a> {
    /// Gradient of the hidden rows, `[targets, d]`; overwritten.
    pub hidden: &'a mut [f32],
    /// Gradient of the head's weight, `[vocab, d]`; added to.
    pub weight: &'a mut [f32],
    /// The loss.
    pub loss: LossGrad<'a>,
}

/// Log-probability and entropy of logits times `inverse_t`; turns them into probabilities in place.
#[multiversion(targets = "simd")]
pub fn softmax_row(logits: &mut [f32], token: usize, inverse_t: f32) -> TokenStats {
    if inverse_t != 1.0 {
        logits.iter_mut().for_each(|v| *v *= inverse_t);
    }
    let top = math::max(logits);
    let chosen = logits[token] - top;
    // Entropy = ln Z - Σ p (z - top).
    let (total, weighted) = math::exp_shifted(logits, top, fused!());
    let inverse = 1.0 / total;
    for v in logits.iter_mut() {
        *v *= inverse;
    }
    let ln = total.ln();
    TokenStats { logprob: chosen - ln, entropy: ln - weighted * inverse }
}

/// The head's operands.
pub struct Head<'a> {
    /// Normalised hidden rows, `[targets, d]`.
    pub hidden: &'a [f32],
    /// Weight, `[vocab, d]`.
    pub weight: &'a [f32],
    /// The same laid out for the logits, if it is.
    pub laid_out: Option<&'a Panels>,
    /// Token of each target.
    pub tokens: &'a [u32],
    /// Divides the logits.
    pub temperature: f32,
    /// How numbers enter the products.
    pub precision: Precision,
}

/// Working memory of [`run`].
#[derive(Debug, Default)]
pub struct HeadBuffers {
    logits: Buffer<f32>,
    weight: Panels,
    hidden: Panels,
}

/// Statistics of every target.
///
/// With `grad`, the loss is asked for each target's gradient, which is propagated at once:
/// `dz = dlogprob (onehot - p) - dentropy p (ln p + H)`.
pub fn run(head: &Head<'_>, buffers: &mut HeadBuffers, mut grad: Option<HeadGrad<'_>>) -> Vec<TokenStats> {
    let n = head.tokens.len();
    if n == 0 {
        return Vec::new();
    }
    let d = head.hidden.len() / n;
    let vocab = head.weight.len() / d;
    // Lots of equal size: a small last one would lay out the weight for little.
    let lots = n.div_ceil((CHUNK_FLOATS / vocab).max(MIN_ROWS));
    let rows = n.div_ceil(lots);
    let mut stats = vec![TokenStats::default(); n];
    for first in (0..n).step_by(rows) {
        let end = n.min(first + rows);
        let logits = buffers.logits.take((end - first) * vocab);
        let hidden = &head.hidden[first * d..end * d];
        let loss = grad.as_ref().map(|g| g.loss);
        logits_and_stats(head, logits, hidden, &mut buffers.weight, &mut stats[first..end], first, loss);
        if let Some(grad) = &mut grad {
            let format = kernels().activation_format(head.precision);
            buffers.hidden.fill(Matrix::new(hidden, d), end - first, d, format);
            let dhidden = &mut grad.hidden[first * d..end * d];
            for (block, dweight) in grad.weight.chunks_mut(VOCAB_BLOCK * d).enumerate() {
                let (token, count) = (block * VOCAB_BLOCK, dweight.len() / d);
                let weight = Matrix::new(&head.weight[token * d..][..count * d], d);
                buffers.weight.fill(weight, count, d, kernels().weight_format(head.precision));
                let panels = &buffers.weight;
                let chunks = dhidden.par_chunks_mut(CHUNK * d).zip(logits.par_chunks(CHUNK * vocab));
                chunks.for_each(|(dhidden, logits)| {
                    let out = Output { data: dhidden, stride: d, add: block > 0 };
                    product(out, Matrix::new(logits, vocab).from(0, token), logits.len() / vocab, panels);
                });
                gradient(dweight, Matrix::new(logits, vocab).from(0, token), count, &buffers.hidden);
            }
        }
    }
    stats
}

/// Logits of some rows, which become probabilities, or with `loss` the gradient of the logits.
fn logits_and_stats(
    head: &Head<'_>,
    logits: &mut [f32],
    hidden: &[f32],
    panels: &mut Panels,
    stats: &mut [TokenStats],
    first: usize,
    loss: Option<LossGrad<'_>>,
) {
    let d = hidden.len() / stats.len();
    let vocab = logits.len() / stats.len();
    let size = if head.laid_out.is_some() { vocab } else { VOCAB_BLOCK };
    let blocks = vocab.div_ceil(size);
    let inverse_t = 1.0 / head.temperature;
    for (block, weight) in head.weight.chunks(size * d).enumerate() {
        let panels = head.laid_out.unwrap_or_else(|| {
            let count = weight.len() / d;
            panels.fill_transposed(Matrix::new(weight, d), d, count, kernels().weight_format(head.precision));
            panels
        });
        let chunks = logits.par_chunks_mut(CHUNK * vocab).zip(hidden.par_chunks(CHUNK * d));
        chunks.zip(stats.par_chunks_mut(CHUNK)).enumerate().for_each(|(chunk, ((logits, hidden), stats))| {
            product(
                Output::set(&mut logits[block * size..], vocab),
                Matrix::new(hidden, d),
                stats.len(),
                panels,
            );
            if block + 1 < blocks {
                return;
            }
            // The last block: the rows are complete, and still in the cache where there is one block.
            for (i, (row, stats)) in logits.chunks_exact_mut(vocab).zip(stats).enumerate() {
                let number = first + chunk * CHUNK + i;
                let token = head.tokens[number] as usize;
                *stats = softmax_row(row, token, inverse_t);
                if let Some(loss) = loss {
                    logit_grad(row, token, loss(number, *stats), stats.entropy, inverse_t);
                }
            }
        });
    }
}

/// Turns a row of probabilities into the gradient of its logits.
#[multiversion(targets = "simd")]
fn logit_grad(p: &mut [f32], token: usize, g: TokenGrad, entropy: f32, inverse_t: f32) {
    if g.entropy == 0.0 {
        let scale = -g.logprob * inverse_t;
        p.iter_mut().for_each(|p| *p *= scale);
    } else {
        for p in p.iter_mut() {
            let ln = if *p > 0.0 { p.ln() } else { 0.0 };
            *p = (-g.logprob * *p - g.entropy * *p * (ln + entropy)) * inverse_t;
        }
    }
    p[token] += g.logprob * inverse_t;
}
