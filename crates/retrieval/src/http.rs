//! Passages from a retrieval server over HTTP, as Search-R1 and the reference run one.
//!
//! A failure becomes the text that the reference shows to the agent. The reference puts a random number in front of it;
//! here it is always zero, so that equal runs show equal texts.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opid_env::retrieval::{Found, Passage, RetrievalError, Retriever};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::StatusCode;

/// Largest reply that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Longest part of a reply that is shown in an error, in characters.
const SHOWN: usize = 200;
/// What every failed request is shown with.
const PREFIX: &str = "Search error: [Search Request ID: 00000000-0000-0000-0000-000000000000] ";

/// How queries are put into requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Many in one request, `{"queries": [...]}`, as Search-R1's server takes them.
    #[default]
    Batch,
    /// One a request, `{"query": "..."}`, as the reference's server takes them.
    Single,
}

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// Addresses such as `http://127.0.0.1:8000/retrieve`; requests go round them.
    pub urls: Vec<String>,
    /// How queries are put into requests.
    pub form: Form,
    /// Most queries of a request in batch form.
    pub batch: usize,
    /// Most requests at a time.
    pub connections: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// How often a request is sent at the most.
    pub attempts: usize,
    /// Wait before the second attempt; before the third it is twice as long, and so on.
    pub wait: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            urls: vec!["http://127.0.0.1:8000/retrieve".to_owned()],
            form: Form::Batch,
            batch: 512,
            connections: 64,
            timeout: Duration::from_secs(60),
            attempts: 10,
            wait: Duration::from_secs(1),
        }
    }
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// There is no address, or one of another kind.
    #[error("{0:?} is no address of a retrieval server; write one such as http://127.0.0.1:8000/retrieve")]
    Url(String),
    /// A number must not be 0.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

/// What was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpCounts {
    /// Requests sent, with those sent again.
    pub requests: u64,
    /// Those sent again.
    pub retries: u64,
    /// Queries for which the agent was shown an error.
    pub failed_queries: u64,
}

/// Asks a retrieval server.
pub struct HttpRetriever {
    agent: Agent,
    options: HttpOptions,
    requests: AtomicU64,
    retries: AtomicU64,
    failed_queries: AtomicU64,
}

/// Why an attempt failed: what the agent is shown of it, and whether another may go well.
struct Failure {
    text: String,
    may_pass: bool,
}

impl HttpRetriever {
    /// A retriever that asks these addresses; nothing is sent yet.
    ///
    /// # Errors
    /// The options make no sense.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        let usable = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if let Some(url) = options.urls.iter().find(|url| !usable(url)) {
            return Err(HttpError::Url(url.clone()));
        }
        if options.urls.is_empty() {
            return Err(HttpError::Url(String::new()));
        }
        for (name, number) in
            [("batch", options.batch), ("connections", options.connections), ("attempts", options.attempts)]
        {
            if number == 0 {
                return Err(HttpError::Zero(name));
            }
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .max_idle_connections(options.connections)
            .max_idle_connections_per_host(options.connections)
            .build()
            .new_agent();
        let (requests, retries, failed_queries) = Default::default();
        Ok(HttpRetriever { agent, options, requests, retries, failed_queries })
    }

    /// What was asked so far.
    pub fn counts(&self) -> HttpCounts {
        HttpCounts {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            failed_queries: self.failed_queries.load(Ordering::Relaxed),
        }
    }

    /// The reply to a few queries, which make one request, after as many attempts as are allowed.
    fn ask(&self, url: &str, queries: &[String], most: usize) -> Vec<Found> {
        let body = match self.options.form {
            Form::Batch => json!({ "queries": queries, "topk": most, "return_scores": true }),
            Form::Single => json!({ "query": queries[0], "topk": most, "return_scores": true }),
        };
        let mut attempt = 1;
        let found = loop {
            self.requests.fetch_add(1, Ordering::Relaxed);
            match self.post(url, &body.to_string(), attempt) {
                Ok(reply) => break passages(&reply, queries.len()),
                Err(failure) if failure.may_pass && attempt < self.options.attempts => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(self.options.wait.saturating_mul(attempt as u32));
                    attempt += 1;
                }
                Err(failure) => {
                    break vec![Err(RetrievalError(format!("{PREFIX}{}", failure.text))); queries.len()];
                }
            }
        };
        let failed = found.iter().filter(|found| found.is_err()).count();
        self.failed_queries.fetch_add(failed as u64, Ordering::Relaxed);
        found
    }

    /// One attempt.
    fn post(&self, url: &str, body: &str, attempt: usize) -> Result<Value, Failure> {
        let sent = self.agent.post(url).header("Content-Type", "application/json").send(body);
        let mut response = sent.map_err(|error| broken(&error))?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => {}
            500 | 502 | 503 | 504 => {
                let (status, attempts) = (status.as_u16(), self.options.attempts);
                let text =
                    format!("API Request Error: Server Error ({status}) on attempt {attempt}/{attempts}");
                return Err(Failure { text, may_pass: true });
            }
            _ => return Err(Failure { text: refused(status, url), may_pass: false }),
        }
        let bytes = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        let bytes = bytes.map_err(|error| broken(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let shown: String = String::from_utf8_lossy(&bytes).chars().take(SHOWN).collect();
            let text = format!("API Response JSON Decode Error: {error}, Response: {shown}");
            Failure { text, may_pass: false }
        })
    }
}

/// What is shown of a request without an answer.
fn broken(error: &ureq::Error) -> Failure {
    let (text, may_pass) = match error {
        ureq::Error::Timeout(_) => (format!("Timeout Error: {error}"), true),
        ureq::Error::BodyExceedsLimit(limit) => {
            (format!("API Request Error: the reply has more than {limit} bytes"), false)
        }
        ureq::Error::BadUri(_) => (format!("API Request Error: {error}"), false),
        _ => (format!("Connection Error: {error}"), true),
    };
    Failure { text, may_pass }
}

/// What is shown of an answer that is no success.
fn refused(status: StatusCode, url: &str) -> String {
    let kind = match status.as_u16() {
        ..400 => "Redirection",
        400..500 => "Client Error",
        _ => "Server Error",
    };
    let reason = status.canonical_reason().unwrap_or("Unknown");
    format!("API Request Error: {} {kind}: {reason} for url: {url}", status.as_u16())
}

/// What a reply gives for each of so many queries.
fn passages(reply: &Value, queries: usize) -> Vec<Found> {
    let all = |found: Found| vec![found; queries];
    let failed = |reason: String| RetrievalError(format!("Error processing search results: {reason}"));
    let Value::Object(fields) = reply else {
        return all(Err(failed("the reply is no object".to_owned())));
    };
    if fields.is_empty() {
        let text = "Unknown API state (no response and no error message).";
        return all(Err(RetrievalError(text.to_owned())));
    }
    let lists = match fields.get("result") {
        None => return all(Ok(Vec::new())),
        Some(Value::Array(lists)) if lists.is_empty() => return all(Ok(Vec::new())),
        Some(Value::Array(lists)) if lists.len() == queries => lists,
        Some(Value::Array(lists)) => {
            return all(Err(failed(format!("{} lists of passages for {queries} queries", lists.len()))));
        }
        Some(_) => return all(Err(failed("'result' is no list".to_owned()))),
    };
    let found = |list: &Value| -> Found {
        let hits =
            list.as_array().ok_or_else(|| failed("'result' holds something else than lists".to_owned()))?;
        hits.iter().map(|hit| passage(hit).map_err(|key| failed(format!("'{key}'")))).collect()
    };
    lists.iter().map(found).collect()
}

/// A passage of a reply; the error is the key that is missing. A score that is not told counts as 0.
fn passage(hit: &Value) -> Result<Passage, &'static str> {
    let document = hit.get("document").ok_or("document")?;
    let contents = document.get("contents").and_then(Value::as_str).ok_or("contents")?;
    let id = match &document["id"] {
        Value::String(id) => id.as_str().into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    };
    let score = hit["score"].as_f64().unwrap_or(0.0) as f32;
    Ok(Passage { id, contents: contents.into(), score })
}

impl Retriever for HttpRetriever {
    fn retrieve(&self, queries: &[String], most: usize) -> Vec<Found> {
        let size = match self.options.form {
            Form::Batch => self.options.batch,
            Form::Single => 1,
        };
        let pieces = queries.len().div_ceil(size);
        let urls = &self.options.urls;
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done: Vec<(usize, Vec<Found>)> = Vec::new();
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    return done;
                }
                let range: Range<usize> = piece * size..queries.len().min((piece + 1) * size);
                done.push((piece, self.ask(&urls[piece % urls.len()], &queries[range], most)));
            }
        };
        let mut all = std::thread::scope(|scope| {
            let others: Vec<_> =
                (1..pieces.min(self.options.connections)).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for other in others {
                all.extend(other.join().expect("a thread that does not panic"));
            }
            all
        });
        all.sort_unstable_by_key(|(piece, _)| *piece);
        all.into_iter().flat_map(|(_, found)| found).collect()
    }
}
