//! Choosing a token from logits.

use multiversion::multiversion;

use crate::kernels::head::softmax_row;
use crate::kernels::math;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the most likely tokens whose probabilities first reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_p: 1.0, top_k: 0 }
    }
}

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// Its log-probability under the whole distribution at the temperature (1 when greedy): what the
    /// scorer gives for it. NaN where a logit is no finite number.
    pub logprob: f32,
}

/// Chooses a token with one uniform draw from `[0, 1)`; overwrites the logits.
///
/// `top_k` and `top_p` restrict what can be drawn, not the reported log-probability.
pub fn choose(logits: &mut [f32], sampling: Sampling, uniform: f64) -> Chosen {
    let greedy = sampling.temperature <= 0.0;
    let top = highest(logits);
    let best = logits.iter().position(|&v| v == top).unwrap_or(0);
    let inverse_t = if greedy { 1.0 } else { 1.0 / sampling.temperature };
    let raw = logits.to_vec();
    let stats = softmax_row(logits, best, inverse_t);
    if !stats.is_finite() {
        return Chosen { token: best as u32, logprob: f32::NAN };
    }
    if greedy {
        return Chosen { token: best as u32, logprob: stats.logprob };
    }
    let token = if sampling.top_k == 0 && sampling.top_p >= 1.0 {
        draw_any(logits, uniform)
    } else {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if sampling.top_k > 0 {
            order.truncate(sampling.top_k);
        }
        let mut sum = 0.0;
        let nucleus = order.iter().position(|&i| {
            sum += logits[i] as f64;
            sum >= sampling.top_p as f64
        });
        order.truncate(nucleus.map_or(order.len(), |n| n + 1));
        let total = order.iter().map(|&i| logits[i] as f64).sum();
        draw(order.iter().map(|&i| (i, logits[i])), total, uniform)
    };
    let token = token.unwrap_or(best);
    Chosen { token: token as u32, logprob: stats.logprob + (raw[token] - raw[best]) * inverse_t }
}

/// The largest logit.
#[multiversion(targets = "simd")]
fn highest(logits: &[f32]) -> f32 {
    math::max(logits)
}

/// Probabilities that are added up together.
const TOGETHER: usize = 64;

/// The sums of [`TOGETHER`] probabilities each, without their last bits.
#[multiversion(targets = "simd")]
fn sums(p: &[f32], sums: &mut Vec<f64>) {
    sums.extend(p.chunks(TOGETHER).map(|p| {
        let (vectors, tail) = p.as_chunks::<8>();
        let mut sum = [0f64; 8];
        for vector in vectors {
            for lane in 0..8 {
                sum[lane] += vector[lane] as f64;
            }
        }
        sum.iter().sum::<f64>() + tail.iter().map(|&p| p as f64).sum::<f64>()
    }));
}

/// [`draw`] from all probabilities: from the sums of stretches of them, then within one.
fn draw_any(p: &[f32], uniform: f64) -> Option<usize> {
    let mut stretches = Vec::with_capacity(p.len().div_ceil(TOGETHER));
    sums(p, &mut stretches);
    let mut left = uniform * stretches.iter().sum::<f64>();
    let last = stretches.iter().rposition(|&sum| sum > 0.0)?;
    let mut at = 0;
    while at < last && left >= stretches[at] {
        left -= stretches[at];
        at += 1;
    }
    let p = &p[at * TOGETHER..p.len().min((at + 1) * TOGETHER)];
    draw(p.iter().copied().enumerate(), 1.0, left).map(|i| at * TOGETHER + i)
}

/// Inverse of the cumulative distribution of `(index, probability)` pairs with the given sum.
fn draw(pairs: impl Iterator<Item = (usize, f32)>, total: f64, uniform: f64) -> Option<usize> {
    let mut left = uniform * total;
    let mut last = None;
    for (i, p) in pairs {
        if p > 0.0 {
            left -= p as f64;
            last = Some(i);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits = [1.0f32, 0.0, -1.0, 3.0];
        let total: f64 = logits.iter().map(|&v| (v as f64 / 2.0).exp()).sum();
        let mut counts = [0usize; 4];
        let n = 20_000;
        for i in 0..n {
            let sampling = Sampling { temperature: 2.0, ..Sampling::default() };
            let chosen = choose(&mut logits.clone(), sampling, (i as f64 + 0.5) / n as f64);
            counts[chosen.token as usize] += 1;
            let want = (logits[chosen.token as usize] as f64 / 2.0).exp() / total;
            assert!((chosen.logprob as f64 - want.ln()).abs() < 1e-6);
        }
        for (c, l) in counts.iter().zip(logits) {
            let want = (l as f64 / 2.0).exp() / total * n as f64;
            assert!((*c as f64 - want).abs() < 2.0, "{c} draws, want {want}");
        }
    }

    #[test]
    fn tokens_of_a_large_vocabulary_are_drawn_by_their_shares() {
        // Stretches of equal tokens, one of them without any share; the last is not whole.
        let n = 5 * TOGETHER + 7;
        let p: Vec<f32> =
            (0..n).map(|i| if i / TOGETHER == 1 { 0.0 } else { 1.0 + (i % 3) as f32 }).collect();
        let total: f64 = p.iter().map(|&p| p as f64).sum();
        let mut before = 0.0;
        for (i, &share) in p.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            for part in [0.01, 0.5, 0.99] {
                assert_eq!(draw_any(&p, (before + part * share as f64) / total), Some(i));
            }
            before += share as f64;
        }
        assert_eq!(draw_any(&p, 1.0), Some(n - 1));
        assert_eq!(draw_any(&[0.0; 100], 0.3), None);
        assert_eq!(draw_any(&[0.0, 0.5, 0.0], 1.0), Some(1));
    }

    #[test]
    fn logits_that_are_no_numbers_are_reported() {
        for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let mut logits = vec![0.5; 40];
                logits[at] = wrong;
                let chosen = choose(&mut logits, Sampling::default(), 0.5);
                assert!(chosen.logprob.is_nan(), "{wrong} at {at}");
            }
            assert!(choose(&mut [wrong; 40], Sampling::default(), 0.5).logprob.is_nan());
        }
    }

    #[test]
    fn restrictions_and_greedy() {
        let logits = [1.0f32, 0.0, -1.0, 3.0];
        for i in 0..100 {
            let u = i as f64 / 100.0;
            let top_k = Sampling { top_k: 2, ..Sampling::default() };
            assert!([0, 3].contains(&choose(&mut logits.clone(), top_k, u).token));
            let top_p = Sampling { top_p: 0.5, ..Sampling::default() };
            assert_eq!(choose(&mut logits.clone(), top_p, u).token, 3);
            let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
            assert_eq!(choose(&mut logits.clone(), greedy, u).token, 3);
        }
    }
}
