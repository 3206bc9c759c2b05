//! Estimators of the divergence from a reference model, for single sampled tokens
//! (J. Schulman, "Approximating KL Divergence", 2020).

use serde::{Deserialize, Serialize};

/// Bound on the value of the third estimator, as in the reference.
const LIMIT: f64 = 10.0;

/// Which estimator; the names in configurations are the reference's, with its synonyms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Divergence {
    /// `d = log p - log p_ref`.
    #[serde(rename = "k1", alias = "kl")]
    K1,
    /// `|d|`.
    #[serde(rename = "abs")]
    Abs,
    /// `d^2 / 2`.
    #[serde(rename = "k2", alias = "mse")]
    K2,
    /// `exp(-d) + d - 1`, clamped to plus or minus 10.
    #[default]
    #[serde(rename = "k3", alias = "low_var_kl")]
    K3,
}

impl Divergence {
    /// The estimate, and its derivative with respect to `log_prob`.
    ///
    /// Where the value is clamped or has a kink, the derivative is 0.
    pub fn of(self, log_prob: f64, reference: f64) -> (f64, f64) {
        let difference = log_prob - reference;
        match self {
            Divergence::K1 => (difference, 1.0),
            Divergence::Abs if difference == 0.0 => (0.0, 0.0),
            Divergence::Abs => (difference.abs(), difference.signum()),
            Divergence::K2 => (difference * difference / 2.0, difference),
            Divergence::K3 => {
                let ratio = (-difference).exp();
                let value = ratio + difference - 1.0;
                if value > LIMIT { (LIMIT, 0.0) } else { (value, 1.0 - ratio) }
            }
        }
    }
}
