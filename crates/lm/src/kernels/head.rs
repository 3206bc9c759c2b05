//! The output head: log-probability of the chosen token, entropy, and both gradients, in chunks of
//! rows, so that tokens x vocabulary is never in memory.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{math, matmul};

/// Floats of logits held at once (before the minimum of [`MIN_ROWS`] rows).
const CHUNK_FLOATS: usize = 1 << 21;
/// Rows per chunk at the least: fewer make the matrix products slow.
const MIN_ROWS: usize = 64;

/// What the model says about one chosen token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenStats {
    /// Log-probability of the chosen token, in nats.
    pub logprob: f32,
    /// Entropy of the distribution it was chosen from, in nats.
    pub entropy: f32,
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
    let (total, weighted) = math::exp_shifted(logits, top);
    let inverse = 1.0 / total;
    for v in logits.iter_mut() {
        *v *= inverse;
    }
    let ln = total.ln();
    TokenStats { logprob: chosen - ln, entropy: ln - weighted * inverse }
}

/// Statistics of every target from its normalised hidden row.
///
/// `hidden` is `[targets, d]`, `weight` is `[vocab, d]`; logits are divided by `temperature`. With
/// `grad`, the loss is asked for each target's gradient, which is propagated at once:
/// `dz = dlogprob (onehot - p) - dentropy p (ln p + H)`.
pub fn run(
    hidden: &[f32],
    weight: &[f32],
    tokens: &[u32],
    temperature: f32,
    buffer: &mut Vec<f32>,
    mut grad: Option<HeadGrad<'_>>,
) -> Vec<TokenStats> {
    let n = tokens.len();
    if n == 0 {
        return Vec::new();
    }
    let d = hidden.len() / n;
    let vocab = weight.len() / d;
    let rows = (CHUNK_FLOATS / vocab).max(MIN_ROWS).min(n);
    buffer.resize(buffer.len().max(rows * vocab), 0.0);
    let inverse_t = 1.0 / temperature;
    let mut stats = vec![TokenStats::default(); n];
    for first in (0..n).step_by(rows) {
        let m = rows.min(n - first);
        let logits = &mut buffer[..m * vocab];
        matmul::nt(logits, &hidden[first * d..(first + m) * d], weight, (m, vocab, d), 0.0);
        let loss = grad.as_ref().map(|g| g.loss);
        logits
            .par_chunks_mut(vocab)
            .zip(stats[first..first + m].par_iter_mut())
            .enumerate()
            .with_min_len(8)
            .for_each(|(i, (row, stats))| {
                let token = tokens[first + i] as usize;
                *stats = softmax_row(row, token, inverse_t);
                if let Some(loss) = loss {
                    let g = loss(first + i, *stats);
                    logit_grad(row, token, g, stats.entropy, inverse_t);
                }
            });
        if let Some(grad) = &mut grad {
            matmul::nn(&mut grad.hidden[first * d..(first + m) * d], logits, weight, (m, d, vocab), 0.0);
            matmul::tn(grad.weight, logits, &hidden[first * d..(first + m) * d], (vocab, d, m), 1.0);
        }
    }
    stats
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
