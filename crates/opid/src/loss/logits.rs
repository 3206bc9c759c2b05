//! Log-probability and entropy from a row of logits: the plain definitions that fused kernels and
//! metrics are checked against.

/// `log sum exp` of the logits divided by `temperature`, safe for large values.
fn log_normalizer(logits: &[f64], temperature: f64) -> f64 {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max) / temperature;
    top + logits.iter().map(|logit| (logit / temperature - top).exp()).sum::<f64>().ln()
}

/// The log-probability of token `label` under the softmax of `logits / temperature`, in nats.
///
/// # Panics
/// If `label` is no index of `logits`.
pub fn log_prob(logits: &[f64], label: usize, temperature: f64) -> f64 {
    logits[label] / temperature - log_normalizer(logits, temperature)
}

/// The entropy of the softmax of `logits / temperature`, in nats.
pub fn entropy(logits: &[f64], temperature: f64) -> f64 {
    let normalizer = log_normalizer(logits, temperature);
    let term = |logit: &f64| {
        let log_prob = logit / temperature - normalizer;
        // A probability of 0 adds nothing; its logarithm would make NaN of that.
        if log_prob == f64::NEG_INFINITY { 0.0 } else { -log_prob.exp() * log_prob }
    };
    logits.iter().map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_logits_stay_finite() {
        let logits = [1e4, -1e4, f64::NEG_INFINITY];
        assert_eq!(entropy(&logits, 1.0), 0.0);
        assert_eq!(log_prob(&logits, 0, 1.0), 0.0);
        assert!((entropy(&[3.0; 8], 0.4) - 8f64.ln()).abs() < 1e-12);
    }
}
