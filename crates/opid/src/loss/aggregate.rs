//! How the losses of tokens make the loss of a batch.

use serde::{Deserialize, Serialize};

/// The ways of averaging.
///
/// The batch is always the whole batch of an optimiser step, so `TokenMean` is a mean over all its
/// tokens; the reference averages within each micro-batch of each device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// Mean over all tokens (DAPO, arXiv 2503.14476).
    #[default]
    TokenMean,
    /// Sum over the tokens of a row, mean over rows.
    SeqMeanTokenSum,
    /// Mean over the tokens of a row, mean over rows (GRPO, arXiv 2402.03300).
    SeqMeanTokenMean,
    /// Sum over all tokens, divided by the longest response allowed (Dr. GRPO, arXiv 2503.20783).
    SeqMeanTokenSumNorm,
}

impl Aggregation {
    /// The weight of each token of each row, so that the loss is the sum of weight times token loss.
    ///
    /// `lengths` are the rows' numbers of response tokens; `longest` is the response limit in tokens
    /// and counts only for `SeqMeanTokenSumNorm`. A row without tokens counts as a row of loss 0.
    pub fn row_weights(self, lengths: &[usize], longest: usize) -> Vec<f64> {
        let rows = lengths.len().max(1) as f64;
        let tokens = lengths.iter().sum::<usize>().max(1) as f64;
        let weight = |length: &usize| match self {
            Aggregation::TokenMean => 1.0 / tokens,
            Aggregation::SeqMeanTokenSum => 1.0 / rows,
            Aggregation::SeqMeanTokenMean => 1.0 / rows / (*length).max(1) as f64,
            Aggregation::SeqMeanTokenSumNorm => 1.0 / longest.max(1) as f64,
        };
        lengths.iter().map(weight).collect()
    }
}
