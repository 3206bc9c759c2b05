//! Analyzers, and the settings of those that have some.

use serde::{Deserialize, Serialize};

/// Analyzers a recipe can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalyzerName {
    /// Built in: a deterministic reading of the finished episode's text.
    Hindsight,
    /// A language model behind an OpenAI-compatible chat endpoint.
    #[serde(rename = "openai")]
    OpenAi,
    /// The policy itself, or another local model, asked through our own engine.
    Policy,
    /// Skills from a recording.
    Replay,
    /// Skills written beforehand, by the kind of task.
    Bank,
}

/// The endpoint that is asked where neither the recipe nor the environment names one.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// Fewest characters that an episode may be shortened to.
const LEAST_CHARACTERS: usize = 2000;
const TOO_SHORT: &str = "use at least 2000: an episode must fit in some form";

/// The `openai` analyzer: a language model behind any OpenAI-compatible chat endpoint. Its key is only
/// ever taken from the environment variable `OPENAI_API_KEY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenAi {
    /// Where the endpoint is, up to `/v1`; empty takes `OPENAI_BASE_URL`, or else OpenAI's own.
    pub base_url: String,
    /// The model to ask; empty takes `OPENAI_MODEL`.
    pub model: String,
    /// Most requests at the same time.
    pub concurrency: usize,
    /// A request without a complete answer is given up after this many seconds.
    pub timeout_seconds: f64,
    /// How often a request is repeated when there is no answer, the endpoint fails or is busy. A wait that
    /// the endpoint asks for (`Retry-After`) is kept, up to two minutes.
    pub retries: usize,
    /// Seconds before the first repetition; doubled for each further one up to 30, less a random part.
    pub retry_seconds: f64,
    /// How often a question is asked again because its reply cannot be used.
    pub corrections: usize,
    /// Sampling temperature of the model.
    pub temperature: f64,
    /// A reply ends after this many tokens; models that reason need more.
    pub max_reply_tokens: u64,
    /// Longer episodes are shortened: the middle of long texts first, then steps from the middle.
    pub max_trajectory_characters: usize,
    /// Folder in which replies are kept, so that nothing is asked twice; empty keeps none.
    pub cache: String,
    /// Most requests for a run, those before it was resumed included, or for one `opid analyze`: it stops before
    /// it sends more. 0 sets no limit.
    pub max_requests: usize,
    /// Most tokens in the same way, of requests and replies together; 0 sets no limit. Replies from the cache
    /// count for nothing, requests without a reply only as requests.
    pub max_tokens: u64,
    /// Most money in the same way, in the currency of the prices; 0 sets no limit.
    pub max_cost: f64,
    /// Price of a million tokens of requests.
    pub input_price: f64,
    /// Price of a million tokens of replies.
    pub output_price: f64,
}

/// The `policy` analyzer: the policy itself, as it is at the training step, or another local model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkillPolicy {
    /// Hugging Face folder of the model to ask; empty asks the policy.
    pub model: String,
    /// Whether the model may think before it replies, where its chat template knows `enable_thinking`.
    pub thinking: bool,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f32,
    /// A reply ends after this many tokens; models that reason need more.
    pub max_reply_tokens: usize,
    /// How often a question is asked again because its reply cannot be used.
    pub corrections: usize,
    /// Longer episodes are shortened: the middle of long texts first, then steps from the middle. A question that
    /// leaves no room for a reply in the model's context is a failure all the same.
    pub max_trajectory_characters: usize,
    /// Most questions that are answered at the same time.
    pub concurrency: usize,
}

/// Noise on the skills of any analyzer, to measure how much the method depends on it. Every skill meets
/// at most one kind; the shares add up to at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkillNoise {
    /// Share of skills that are dropped.
    pub drop: f64,
    /// Share of skills that are exchanged with others of their kind within the training step.
    pub shuffle: f64,
    /// Share of skills whose words are put in random order.
    pub corrupt: f64,
}

impl Default for OpenAi {
    fn default() -> Self {
        OpenAi {
            base_url: String::new(),
            model: String::new(),
            concurrency: 16,
            timeout_seconds: 120.0,
            retries: 4,
            retry_seconds: 1.0,
            corrections: 1,
            temperature: 0.0,
            max_reply_tokens: 4096,
            max_trajectory_characters: 24_000,
            cache: "runs/.cache".into(),
            max_requests: 0,
            max_tokens: 0,
            max_cost: 0.0,
            input_price: 0.0,
            output_price: 0.0,
        }
    }
}

impl Default for SkillPolicy {
    fn default() -> Self {
        SkillPolicy {
            model: String::new(),
            thinking: false,
            temperature: 0.0,
            max_reply_tokens: 512,
            corrections: 1,
            max_trajectory_characters: 8_000,
            concurrency: 64,
        }
    }
}

impl SkillPolicy {
    /// The first key that cannot work, and why.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        Some(match () {
            () if !(self.temperature.is_finite() && self.temperature >= 0.0) => {
                ("skill.policy.temperature", "use 0 (greedy) or more")
            }
            () if self.max_reply_tokens == 0 => ("skill.policy.max_reply_tokens", "use at least 1"),
            () if self.max_trajectory_characters < LEAST_CHARACTERS => {
                ("skill.policy.max_trajectory_characters", TOO_SHORT)
            }
            () if self.concurrency == 0 => ("skill.policy.concurrency", "use at least 1"),
            () => return None,
        })
    }
}

impl OpenAi {
    /// Fills in what the recipe leaves to the environment.
    pub fn resolve(&mut self, variable: impl Fn(&str) -> Option<String>) {
        let said = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        if self.base_url.is_empty() {
            self.base_url = said("OPENAI_BASE_URL").unwrap_or_else(|| DEFAULT_BASE_URL.into());
        }
        if self.model.is_empty() {
            self.model = said("OPENAI_MODEL").unwrap_or_default();
        }
    }

    /// The first key that cannot work, and why.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let host = self.base_url.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next()));
        let prices = [self.input_price, self.output_price];
        let amount = |x: f64| x.is_finite() && x >= 0.0;
        Some(match () {
            () if self.model.is_empty() => ("skill.openai.model", "name a model, or set OPENAI_MODEL"),
            () if !matches!(host, Some(("http" | "https", Some(host))) if !host.is_empty()) => {
                ("skill.openai.base_url", "write an address such as http://localhost:8000/v1")
            }
            // The address is written into the run's folder.
            () if self.base_url.contains(['@', '?', '#']) => (
                "skill.openai.base_url",
                "it must hold no name, password or query: the key belongs into OPENAI_API_KEY",
            ),
            () if self.concurrency == 0 => ("skill.openai.concurrency", "use at least 1"),
            () if !(self.timeout_seconds > 0.0 && self.timeout_seconds <= 86_400.0) => {
                ("skill.openai.timeout_seconds", "use a value above 0, at most a day")
            }
            () if !amount(self.retry_seconds) => ("skill.openai.retry_seconds", "use 0 or more"),
            () if !amount(self.temperature) => ("skill.openai.temperature", "use 0 or more"),
            () if self.max_reply_tokens == 0 => ("skill.openai.max_reply_tokens", "use at least 1"),
            () if self.max_trajectory_characters < LEAST_CHARACTERS => {
                ("skill.openai.max_trajectory_characters", TOO_SHORT)
            }
            () if !amount(self.max_cost) => ("skill.openai.max_cost", "use 0 for none, or an amount"),
            () if !prices.iter().all(|price| amount(*price)) => {
                ("skill.openai.input_price", "prices are 0 or more")
            }
            () if self.max_cost > 0.0 && prices == [0.0, 0.0] => {
                ("skill.openai.max_cost", "without input_price and output_price nothing is counted")
            }
            () => return None,
        })
    }
}

impl SkillNoise {
    /// Whether it changes nothing.
    pub fn is_silent(&self) -> bool {
        *self == SkillNoise::default()
    }

    /// Whether the shares make sense.
    pub fn is_valid(&self) -> bool {
        let shares = [self.drop, self.shuffle, self.corrupt];
        // Decimal shares such as 0.7 + 0.2 + 0.1 may sum to a little more than 1.
        shares.iter().all(|share| *share >= 0.0) && shares.iter().sum::<f64>() <= 1.0 + 1e-9
    }
}
