//! Choosing a token from logits.

use crate::kernels::head::softmax_row;

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
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    let best = best.map_or(0, |(i, _)| i);
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
        draw(logits.iter().copied().enumerate(), logits.iter().map(|&p| p as f64).sum(), uniform)
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
