//! Requests to a chat endpoint: limits of time and size, repetitions, and what replies look like.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use opid_env::random::Draw;
use opid_lm::storage::Storage;
use serde::Deserialize;
use ureq::Agent;

use super::budget::{Budget, Tokens, estimate};
use super::dialect::Dialect;
use super::round::TICK;
use super::{ApiKey, AskError, OpenAiError, RequestError, Round, lock};
use crate::recipe::{self, DEFAULT_BASE_URL};
use crate::skill::inquiry::Reply;

/// Largest answer that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Longest wait between two attempts that is not asked for, in seconds.
const MAX_BACKOFF: f64 = 30.0;
/// Longest wait that an endpoint may ask for, in seconds.
const MAX_WAIT: f64 = 120.0;
/// Longest part of an endpoint's error that is shown, in characters.
const MAX_MESSAGE: usize = 300;
/// How an endpoint says that money is used up; unlike other cases of status 429, waiting does not help.
const NO_CREDIT: &str = "insufficient_quota";

/// Sends messages.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    key: ApiKey,
    settings: recipe::OpenAi,
    budget: Budget,
    /// The settings that the endpoint takes, as far as is known.
    dialect: Mutex<Dialect>,
    /// No request is sent before this time, because the endpoint asked for a pause.
    pause: Mutex<Instant>,
}

/// Why one attempt failed.
enum Failure {
    Timeout,
    Connection(String),
    TooLarge,
    Malformed(String),
    Status { status: u16, message: String, wait: Option<f64> },
}

/// What an attempt brought.
struct Answered {
    reply: Reply,
    /// What the model said instead, if it does not want to answer.
    refusal: Option<String>,
    tokens: Tokens,
    /// Whether the endpoint counted the tokens.
    metered: bool,
}

/// An answer with status 200.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Client {
    /// A client for the endpoint of a recipe; its budget counts what was spent for the run in a folder, which is written
    /// through `storage`.
    ///
    /// # Errors
    /// The endpoint needs a key, and there is none; or what was spent cannot be read.
    pub fn new(
        settings: &recipe::OpenAi,
        run: Option<&Path>,
        storage: Arc<dyn Storage>,
        key: ApiKey,
    ) -> Result<Self, OpenAiError> {
        if settings.base_url == DEFAULT_BASE_URL && !key.is_set() {
            return Err(OpenAiError::NoKey { base_url: settings.base_url.clone() });
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs_f64(settings.timeout_seconds)))
            .max_idle_connections(settings.concurrency)
            .max_idle_connections_per_host(settings.concurrency)
            .build();
        Ok(Client {
            agent: config.new_agent(),
            url: format!("{}/chat/completions", settings.base_url.trim_end_matches('/')),
            key,
            settings: settings.clone(),
            budget: Budget::new(settings, run, storage)?,
            dialect: Mutex::default(),
            pause: Mutex::new(Instant::now()),
        })
    }

    /// The reply to a message, after as many attempts as are allowed.
    pub(super) fn send(&self, message: &str, round: &Round) -> Result<Reply, AskError> {
        let mut dialect = *lock(&self.dialect);
        let mut attempts = 0;
        loop {
            self.keep_pause(round)?;
            let most = Tokens { input: estimate(message), output: self.settings.max_reply_tokens };
            let reservation = self.budget.reserve(most)?;
            round.count(|u| u.requests += 1);
            let result = self.post(dialect, message);
            let used = result.as_ref().map_or(Tokens::default(), |answer| answer.tokens);
            self.budget.settle(reservation, used)?;
            let failure = match result {
                Ok(Answered { reply, refusal, tokens, metered }) => {
                    *lock(&self.dialect) = dialect;
                    round.count(|u| {
                        u.input_tokens += tokens.input;
                        u.output_tokens += tokens.output;
                        u.unmetered += usize::from(!metered);
                        u.cost += self.budget.cost(tokens);
                    });
                    return match refusal {
                        None => Ok(reply),
                        Some(message) => Err(AskError::Episode(RequestError::Refused { message }.into())),
                    };
                }
                Err(failure) => failure,
            };
            if let Failure::Status { status: 400 | 422, message, .. } = &failure
                && let Some(plainer) = dialect.without(message)
            {
                dialect = plainer;
                round.count(|u| u.refused_settings += 1);
                continue;
            }
            attempts += 1;
            let asked = failure.asked_wait();
            let wait = asked.unwrap_or_else(|| self.backoff(attempts));
            if !failure.may_pass() || attempts > self.settings.retries || wait > MAX_WAIT {
                return Err(self.give_up(failure, attempts));
            }
            round.count(|u| u.retries += 1);
            let until = Instant::now() + Duration::from_secs_f64(wait);
            if asked.is_some() {
                let mut pause = lock(&self.pause);
                *pause = until.max(*pause);
            }
            sleep(until, round)?;
        }
    }

    /// Seconds before another attempt: twice as long each time, less a random part.
    fn backoff(&self, attempts: usize) -> f64 {
        let doubled = self.settings.retry_seconds * 2f64.powi(attempts.min(30) as i32 - 1);
        doubled.min(MAX_BACKOFF) * (0.5 + 0.5 * chance())
    }

    /// Waits while the endpoint wants a pause, and a random moment more.
    fn keep_pause(&self, round: &Round) -> Result<(), AskError> {
        let mut until = *lock(&self.pause);
        if until > Instant::now() {
            until += Duration::from_secs_f64(self.settings.retry_seconds.min(MAX_BACKOFF) * chance());
        }
        sleep(until, round)
    }

    /// One attempt.
    fn post(&self, dialect: Dialect, message: &str) -> Result<Answered, Failure> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(value) = self.key.header() {
            request = request.header("Authorization", value);
        }
        let body = dialect.body(&self.settings, message).to_string();
        let mut response = request.send(body).map_err(|error| self.failure(error))?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after").and_then(|value| seconds(value.to_str().ok()?));
        let bytes = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        let bytes = bytes.map_err(|error| self.failure(error))?;
        let text = self.key.hide(String::from_utf8_lossy(&bytes).into_owned());
        if !response.status().is_success() {
            return Err(Failure::Status { status, message: complaint(&text), wait });
        }
        let malformed =
            |reason: String| Failure::Malformed(format!("{reason}; it sent: {}", complaint(&text)));
        let completion: Completion =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let choice = completion.choices.into_iter().next();
        let Choice { message: said, finish_reason } = choice.ok_or_else(|| malformed("no choice".into()))?;
        let refusal = said.refusal.filter(|refusal| !refusal.is_empty()).map(|refusal| short(&refusal));
        let text = match said.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.into_iter().map(|part| part.text).collect(),
        };
        let counted = completion.usage.filter(|counts| counts.prompt_tokens > 0);
        let metered = counted.is_some();
        let tokens = match counted {
            Some(counts) => Tokens { input: counts.prompt_tokens, output: counts.completion_tokens },
            None => Tokens { input: estimate(message), output: estimate(&text) },
        };
        let cut_off = finish_reason.as_deref() == Some("length");
        Ok(Answered { reply: Reply { text, cut_off }, refusal, tokens, metered })
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        match error {
            ureq::Error::Timeout(_) => Failure::Timeout,
            ureq::Error::BodyExceedsLimit(_) => Failure::TooLarge,
            error => Failure::Connection(short(&self.key.hide(error.to_string()))),
        }
    }

    /// What the last failure means.
    fn give_up(&self, failure: Failure, attempts: usize) -> AskError {
        let error = match failure {
            Failure::Timeout => RequestError::Timeout { seconds: self.settings.timeout_seconds, attempts },
            Failure::Connection(reason) => RequestError::Connection { reason, attempts },
            Failure::TooLarge => RequestError::TooLarge { limit: MAX_BYTES },
            Failure::Malformed(reason) => RequestError::Malformed { reason, attempts },
            Failure::Status { status, message, .. }
                if matches!(status, 300..=399 | 401..=404) || message.contains(NO_CREDIT) =>
            {
                return OpenAiError::Denied { url: self.url.clone(), status, message }.into();
            }
            Failure::Status { status: 429, message, wait: Some(wait) } if wait > MAX_WAIT => {
                let message = format!("{message}; it asks to wait for {wait} s, more than {MAX_WAIT} s");
                RequestError::Busy { message, attempts }
            }
            Failure::Status { status: 429, message, .. } => RequestError::Busy { message, attempts },
            Failure::Status { status: status @ 500.., message, .. } => {
                RequestError::Server { status, message, attempts }
            }
            Failure::Status { status, message, .. } => RequestError::Rejected { status, message },
        };
        AskError::Episode(error.into())
    }
}

impl Failure {
    /// Whether another attempt may go well.
    fn may_pass(&self) -> bool {
        match self {
            Failure::Timeout | Failure::Connection(_) | Failure::Malformed(_) => true,
            Failure::TooLarge => false,
            Failure::Status { status, message, .. } => {
                matches!(status, 408 | 409 | 425 | 429 | 500..) && !message.contains(NO_CREDIT)
            }
        }
    }

    /// Seconds that the endpoint asks to wait.
    fn asked_wait(&self) -> Option<f64> {
        match self {
            Failure::Status { wait, .. } => *wait,
            _ => None,
        }
    }
}

/// A random number in `[0, 1)`, different for every call, so that requests that failed together do not
/// come back together. It only changes when something happens, never what.
fn chance() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    Draw::new(&[now]).unit()
}

/// Sleeps until a time, or until all is stopped.
fn sleep(until: Instant, round: &Round) -> Result<(), AskError> {
    let start = Instant::now();
    while !round.is_stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let waited = start.elapsed();
            if waited > TICK / 10 {
                round.count(|u| u.waited += waited.as_secs_f64());
            }
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
    Err(AskError::Stopped)
}

/// The value of a `Retry-After` header, in seconds from now: a number, or a date.
fn seconds(value: &str) -> Option<f64> {
    if let Ok(seconds) = value.trim().parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some(seconds);
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).map_or(0.0, |wait| wait.as_secs_f64()))
}

/// What an endpoint says in the body of an error, in one short line.
fn complaint(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let error = &value["error"];
    let text = error["message"].as_str().or(error.as_str()).or(value["message"].as_str());
    let line = short(text.unwrap_or(body));
    match error["code"].as_str().filter(|code| !line.contains(code)) {
        Some(code) => format!("{line} ({})", short(code)),
        None => line,
    }
}

/// A text in one short line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_as_seconds_and_as_dates() {
        assert_eq!(seconds("7"), Some(7.0));
        assert_eq!(seconds(" 0.5 "), Some(0.5));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("soon"), None);
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(seconds(&soon).is_some_and(|s| (50.0..=60.0).contains(&s)));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0.0));
    }

    #[test]
    fn complaints_are_short_lines() {
        assert_eq!(complaint(r#"{"error": {"message": "no\nway", "code": "x1"}}"#), "no way (x1)");
        assert_eq!(complaint(r#"{"error": "busy"}"#), "busy");
        assert_eq!(complaint("<html>\n gone"), "<html> gone");
        assert!(complaint(&"\u{e9}".repeat(1000)).chars().count() < MAX_MESSAGE + 10);
    }
}
