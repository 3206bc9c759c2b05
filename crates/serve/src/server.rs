//! The server: models, chat completions, completions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opid_env::random::Draw;
use opid_http::{Reply, Request, Server, Service};
use opid_lm::model::Model;
use serde_json::{Value, json};

use crate::asked::{Asked, Kind};
use crate::conversation::{Served, ServedError};
use crate::engine::{Completions, Engine, Event, Limits};
use crate::error::ApiError;
use crate::reply::{Envelope, Finish, Said, Weighed};
use crate::text::{Addition, Writer};

/// How often a request that waits looks whether its client is still there.
const TICK: Duration = Duration::from_millis(250);

/// A running server of a model; it stops when it is dropped.
pub struct CompletionServer(Server);

/// What answers.
struct Desk {
    served: Arc<Served>,
    engine: Engine,
    /// What clients must send as their key, if there is one.
    key: Option<String>,
    started: Duration,
    /// Requests so far.
    count: AtomicU64,
}

impl CompletionServer {
    /// Serves a model. With a `key`, only clients that send it are answered.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn start(
        address: SocketAddr,
        (served, model): (Served, Model),
        limits: Limits,
        key: Option<String>,
    ) -> Result<Self, ServedError> {
        let engine = Engine::start(model, served.ends.clone(), limits);
        let started = since_1970();
        let desk = Desk { served: Arc::new(served), engine, key, started, count: AtomicU64::new(0) };
        Ok(CompletionServer(Server::start(address, desk)?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until the program ends.
    pub fn wait(self) {
        self.0.wait();
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Service for Desk {
    fn answer(&self, request: Request) -> Reply {
        self.reply(&request).unwrap_or_else(|error| error.reply())
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        ApiError { status, ..ApiError::invalid(None, reason) }.reply()
    }
}

impl Desk {
    fn reply(&self, request: &Request) -> Result<Reply, ApiError> {
        let path = request.path.as_str();
        if path == "/health" {
            return Ok(Reply::json(200, &json!({ "status": "ok" })));
        }
        if let Some(key) = &self.key
            && request.authorization.as_deref().and_then(|sent| sent.strip_prefix("Bearer ")) != Some(key)
        {
            return Err(ApiError::of(
                401,
                "invalid_api_key",
                "the key is missing or wrong: send authorization: Bearer KEY",
            ));
        }
        let kind = match path {
            "/v1/chat/completions" => Kind::Chat,
            "/v1/completions" => Kind::Text,
            _ => return self.models(request),
        };
        if request.method != "POST" {
            return Err(ApiError::of(405, "method_not_allowed", format!("POST to {path}")));
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut draw = Draw::new(&[self.started.as_nanos() as u64, number]);
        let asked = Asked::parse(kind, &request.body, &self.served, draw.bits())?;
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        let envelope = Envelope {
            kind,
            id: format!("{prefix}-{:016x}", draw.bits()),
            created: since_1970().as_secs(),
            model: self.served.name.clone(),
        };
        let Asked { asks, prompt_tokens, stops, stream, usage, .. } = asked;
        let choices: Vec<Choice> = asks.iter().map(|_| Choice::new(&stops)).collect();
        let Some(completions) = self.engine.submit(asks) else {
            return Err(ApiError::of(503, "overloaded", "too many completions are waiting; try again later"));
        };
        let work = Work { served: self.served.clone(), envelope, choices, completions, prompt_tokens };
        match stream {
            true => Ok(Reply::events(Stream { work, usage, left: VecDeque::new(), done: false })),
            false => work.whole(request),
        }
    }

    /// The list of models, or one of them.
    fn models(&self, request: &Request) -> Result<Reply, ApiError> {
        let nowhere = || {
            let message = format!("{} {} is not served", request.method, request.path);
            ApiError::of(404, "not_found", message)
        };
        if request.method != "GET" {
            return Err(nowhere());
        }
        let name = &self.served.name;
        let model = json!({
            "id": name, "object": "model", "created": self.started.as_secs(), "owned_by": "opid",
            "max_model_len": self.served.context,
        });
        match request.path.strip_prefix("/v1/models") {
            Some("") => Ok(Reply::json(200, &json!({ "object": "list", "data": [model] }))),
            Some(rest) if rest.strip_prefix('/') == Some(name) => Ok(Reply::json(200, &model)),
            _ => Err(nowhere()),
        }
    }
}

/// A completion as it grows.
struct Choice {
    writer: Writer,
    text: String,
    /// Characters of the text.
    characters: usize,
    weighed: Vec<Weighed>,
    /// Weighed tokens that were shown: those whose text is sure to be part of the completion.
    shown: usize,
    /// Sampled tokens, with the one that ended it.
    sampled: usize,
    finish: Option<Finish>,
}

impl Choice {
    fn new(stops: &[String]) -> Choice {
        let (text, weighed) = Default::default();
        let writer = Writer::new(stops.to_vec());
        Choice { writer, text, characters: 0, weighed, shown: 0, sampled: 0, finish: None }
    }
}

/// A request under way.
struct Work {
    served: Arc<Served>,
    envelope: Envelope,
    choices: Vec<Choice>,
    completions: Completions,
    prompt_tokens: usize,
}

/// The engine ended before the completion did, which only a defect can make it.
fn gone() -> ApiError {
    ApiError::of(500, "engine_stopped", "the model is not computed any more; start the server again")
}

impl Work {
    /// Waits for all choices.
    fn whole(mut self, request: &Request) -> Result<Reply, ApiError> {
        while self.is_open() {
            match self.completions.events.recv_timeout(TICK) {
                Ok((number, event)) => drop(self.take(number, event)),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) if request.is_abandoned() => {
                    return Err(ApiError::of(499, "client_closed", "the client is gone"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let said = |(index, choice)| {
            let Choice { text, weighed, finish, .. }: &Choice = choice;
            Said { index, text, tokens: weighed, finish: *finish, first: true }
        };
        let said: Vec<Said<'_>> = self.choices.iter().enumerate().map(said).collect();
        Ok(Reply::json(200, &self.envelope.whole(&said, &self.usage())))
    }

    /// Whether a choice has not ended.
    fn is_open(&self) -> bool {
        self.choices.iter().any(|choice| choice.finish.is_none())
    }

    /// Takes an event of a choice; gives what it adds to the text.
    fn take(&mut self, number: usize, event: Event) -> String {
        let (choice, tokenizer) = (&mut self.choices[number], &self.served.tokenizer);
        if choice.finish.is_some() {
            return String::new();
        }
        let Addition { text, stopped } = match event {
            Event::Token(sampled) => {
                choice.sampled += 1;
                let offset = choice.characters + choice.writer.held();
                choice.weighed.extend(Weighed::of(&sampled, tokenizer, offset));
                choice.writer.push(tokenizer, sampled.token)
            }
            Event::Ended => {
                choice.sampled += 1;
                choice.finish = Some(Finish::Stop);
                choice.writer.finish(tokenizer)
            }
            Event::Full => {
                choice.finish = Some(Finish::Length);
                choice.writer.finish(tokenizer)
            }
        };
        choice.text.push_str(&text);
        choice.characters += text.chars().count();
        if stopped {
            choice.finish = Some(Finish::Stop);
            // Tokens of the stop string are no part of the completion.
            let end = choice.characters;
            choice.weighed.retain(|token| token.offset < end);
            self.completions.cancel(number);
        }
        text
    }

    /// The part of a streamed reply that a choice's new text makes, if there is anything new.
    fn part(&mut self, number: usize, text: &str, first: bool) -> Option<Value> {
        let choice = &mut self.choices[number];
        let from = choice.shown;
        let sure = |token: &&Weighed| choice.finish.is_some() || token.offset < choice.characters;
        let to = from + choice.weighed[from..].iter().take_while(sure).count();
        choice.shown = to;
        if text.is_empty() && from == to && choice.finish.is_none() && !first {
            return None;
        }
        let (tokens, finish) = (&choice.weighed[from..to], choice.finish);
        Some(self.envelope.part(Some(&Said { index: number, text, tokens, finish, first }), None))
    }

    fn usage(&self) -> Value {
        let sampled: usize = self.choices.iter().map(|choice| choice.sampled).sum();
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": sampled,
            "total_tokens": self.prompt_tokens + sampled,
        })
    }
}

/// A reply as server-sent events.
struct Stream {
    work: Work,
    usage: bool,
    /// Events that are ready to be sent.
    left: VecDeque<Vec<u8>>,
    done: bool,
}

fn event(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

impl Iterator for Stream {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(part) = self.left.pop_front() {
                return Some(part);
            }
            if self.done {
                return None;
            }
            let Ok((number, happened)) = self.work.completions.events.recv() else {
                self.done = true;
                let error = gone();
                self.left
                    .push_back(event(&json!({ "error": { "message": error.message, "code": error.code } })));
                continue;
            };
            let open = self.work.choices[number].finish.is_none();
            let first = self.work.choices[number].sampled == 0;
            let text = self.work.take(number, happened);
            if open {
                self.left.extend(self.work.part(number, &text, first).as_ref().map(event));
            }
            if !self.work.is_open() {
                self.done = true;
                if self.usage {
                    self.left.push_back(event(&self.work.envelope.part(None, Some(&self.work.usage()))));
                }
                self.left.push_back(b"data: [DONE]\n\n".to_vec());
            }
        }
    }
}
