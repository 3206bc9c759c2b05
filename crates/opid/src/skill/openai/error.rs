//! What can go wrong with an endpoint.

use std::path::PathBuf;

/// A question that got no reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// No answer in time.
    #[error("the analyzer's endpoint did not answer within {seconds} s ({attempts} attempts)")]
    Timeout {
        /// The limit.
        seconds: f64,
        /// Requests sent.
        attempts: usize,
    },
    /// The endpoint cannot be reached, or the connection broke.
    #[error("no connection to the analyzer's endpoint: {reason} ({attempts} attempts)")]
    Connection {
        /// What the network said.
        reason: String,
        /// Requests sent.
        attempts: usize,
    },
    /// Too many requests.
    #[error("the analyzer's endpoint is busy: {message} ({attempts} attempts)")]
    Busy {
        /// What it said.
        message: String,
        /// Requests sent.
        attempts: usize,
    },
    /// The endpoint failed.
    #[error("the analyzer's endpoint failed with status {status}: {message} ({attempts} attempts)")]
    Server {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
        /// Requests sent.
        attempts: usize,
    },
    /// The endpoint does not take this request.
    #[error("the analyzer's endpoint does not take the request (status {status}): {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The reply is longer than any useful one.
    #[error("the analyzer's endpoint sent more than {limit} bytes; lower skill.openai.max_reply_tokens")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The answer is not that of a chat endpoint.
    #[error("the analyzer's endpoint did not send a chat completion: {reason} ({attempts} attempts)")]
    Malformed {
        /// What is wrong with it.
        reason: String,
        /// Requests sent.
        attempts: usize,
    },
    /// The model does not want to answer.
    #[error("the analyzing model refused to answer: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
}

impl RequestError {
    /// The name it is counted under.
    pub fn cause(&self) -> &'static str {
        match self {
            RequestError::Timeout { .. } => "timeout",
            RequestError::Connection { .. } => "connection",
            RequestError::Busy { .. } => "busy",
            RequestError::Server { .. } => "server",
            RequestError::Rejected { .. } => "rejected",
            RequestError::TooLarge { .. } => "too_large",
            RequestError::Malformed { .. } => "malformed",
            RequestError::Refused { .. } => "refused",
        }
    }
}

/// Why the analyzer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OpenAiError {
    /// A stop was asked for.
    #[error("interrupted while waiting for the analyzer")]
    Interrupted,
    /// The key cannot be sent.
    #[error("OPENAI_API_KEY holds characters that no key has (blanks, line breaks or letters beyond ASCII)")]
    BadKey,
    /// The endpoint needs a key.
    #[error("set OPENAI_API_KEY: {base_url} needs a key; for another endpoint set skill.openai.base_url")]
    NoKey {
        /// The endpoint.
        base_url: String,
    },
    /// The endpoint turned us away.
    #[error(
        "the analyzer's endpoint {url} turns requests away (status {status}): {message}; check OPENAI_API_KEY, the \
         credit of its account, skill.openai.base_url and skill.openai.model"
    )]
    Denied {
        /// The address.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The budget is used up.
    #[error(
        "the analyzer's budget is used up: {spent} of {limit} {unit}, with those before a run was resumed; raise {key} \
         to go on"
    )]
    Budget {
        /// What is counted.
        unit: &'static str,
        /// How much is spent.
        spent: f64,
        /// The limit.
        limit: f64,
        /// The recipe key.
        key: &'static str,
    },
    /// The system gives no thread.
    #[error("cannot start a thread for requests to the analyzer: {0}; lower skill.openai.concurrency")]
    Thread(std::io::Error),
    /// What was spent cannot be read or written down.
    #[error("cannot {action} {path}, what the run has spent on its analyzer: {reason}")]
    Ledger {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The cache cannot be used.
    #[error("cannot {action} {path}, a reply kept for skill.openai.cache: {reason}")]
    Cache {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}
