//! What the analysis of a training step took.

use serde::Serialize;

/// Counts and sums over the episodes of a step; zero where an analyzer has no such thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Requests sent, repetitions included; messages that the local model replied to.
    pub requests: usize,
    /// Requests repeated because the endpoint failed, was busy or did not answer.
    pub retries: usize,
    /// Requests repeated without a setting that the endpoint refused.
    pub refused_settings: usize,
    /// Questions asked again because a reply could not be used.
    pub corrections: usize,
    /// Replies read from the cache.
    pub cache_hits: usize,
    /// Episodes that took the analysis of an episode with the same text.
    pub shared: usize,
    /// Episodes of which the model was not shown everything.
    pub shortened: usize,
    /// Tokens of the requests that were answered.
    pub input_tokens: u64,
    /// Of these, tokens that the local model did not compute again, because another request begins alike.
    pub cached_tokens: u64,
    /// Tokens of the replies.
    pub output_tokens: u64,
    /// Replies without token counts: theirs are estimated.
    pub unmetered: usize,
    /// Price of the tokens, in the currency of the recipe's prices.
    pub cost: f64,
    /// Seconds spent waiting before requests were repeated, summed over requests.
    pub waited: f64,
    /// Seconds from the first question to the last answer; sampling goes on meanwhile.
    pub span: f64,
    /// Skills that noise took away.
    pub dropped: usize,
    /// Skills that noise exchanged for those of other episodes.
    pub shuffled: usize,
    /// Skills whose words noise put in random order.
    pub corrupted: usize,
}

impl Usage {
    /// Whether there is nothing to tell.
    pub fn is_nothing(&self) -> bool {
        *self == Usage::default()
    }
}
