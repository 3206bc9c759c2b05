//! A tracking server of MLflow, by its REST interface, from a thread of its own.
//!
//! What cannot be sent is kept and tried again with what comes next, and once more at the end.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use ureq::Agent;

use super::Point;
use crate::recipe::Recipe;

/// Environment variable with a token that the server asks for.
const TOKEN: &str = "MLFLOW_TRACKING_TOKEN";
/// Most numbers, and most parameters, of a request.
const METRICS: usize = 1000;
const PARAMETERS: usize = 100;
/// Longest value of a parameter, in characters.
const VALUE: usize = 6000;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait after a failure before anything is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// Most numbers that are kept while the server is away; the oldest are given up first.
const KEPT: usize = 200_000;
/// File in a run's folder that says which run of which server it is.
const PLACE: &str = "mlflow.json";

/// A run of a server, told of points.
pub struct Mlflow {
    messages: Option<Sender<Message>>,
    thread: Option<JoinHandle<Outcome>>,
}

enum Message {
    Points(Vec<Point>, u128),
    /// The run is over; whether it came to its end.
    End(bool),
}

/// What did not arrive.
#[derive(Default)]
struct Outcome {
    lost: usize,
    /// Why, the last time.
    reason: Option<String>,
}

/// The thread's side.
struct Client {
    agent: Agent,
    server: String,
    experiment: String,
    name: String,
    /// Where the run's name on the server is kept, for when it goes on.
    place: Option<PathBuf>,
    parameters: Vec<Value>,
    /// The run on the server, once it is known.
    run: Option<String>,
    pending: Vec<Value>,
    outcome: Outcome,
    /// No request before this time.
    rest_until: Option<Instant>,
}

fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

impl Mlflow {
    /// A run of the server at `server`, in an experiment that is made where it does not exist; `name` is for people. Where
    /// `folder` says that it is a run of that server already, that one goes on; without a folder it is a new one.
    pub fn start(
        server: &str,
        experiment: &str,
        recipe: &Recipe,
        name: &str,
        folder: Option<&Path>,
    ) -> Mlflow {
        let config: toml::Table = recipe.to_toml().parse().unwrap_or_default();
        let mut parameters = Vec::new();
        add_parameters(&config, "", &mut parameters);
        let agent =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        let client = Client {
            agent: agent.into(),
            server: server.trim_end_matches('/').to_owned(),
            experiment: experiment.to_owned(),
            name: name.to_owned(),
            place: folder.map(|folder| folder.join(PLACE)),
            parameters,
            run: None,
            pending: Vec::new(),
            outcome: Outcome::default(),
            rest_until: None,
        };
        let (sender, messages) = channel();
        let thread = std::thread::spawn(move || client.work(&messages));
        Mlflow { messages: Some(sender), thread: Some(thread) }
    }

    /// Adds points of a time. It does not wait for anything.
    pub fn add(&mut self, points: Vec<Point>, time: SystemTime) {
        if let Some(messages) = &self.messages {
            // The thread ends with this sender only.
            let _ = messages.send(Message::Points(points, milliseconds(time)));
        }
    }

    /// Ends the run on the server, and says what did not arrive, if anything. Waits for requests under way and one more
    /// attempt.
    pub fn finish(mut self, finished: bool) -> Option<String> {
        let outcome = self.end(finished)?;
        let reason = outcome.reason?;
        Some(match outcome.lost {
            0 => format!("MLflow was not told that the run is over: {reason}"),
            lost => format!(
                "{lost} numbers did not reach MLflow: {reason}; `opid track RUN --mlflow URL` sends all of them, as a new run"
            ),
        })
    }

    fn end(&mut self, finished: bool) -> Option<Outcome> {
        if let Some(messages) = self.messages.take() {
            let _ = messages.send(Message::End(finished));
        }
        self.thread.take()?.join().ok()
    }
}

impl Drop for Mlflow {
    fn drop(&mut self) {
        // A run that ends without saying so has failed.
        self.end(false);
    }
}

/// Every key of a table, dotted, as a parameter.
fn add_parameters(table: &toml::Table, above: &str, found: &mut Vec<Value>) {
    for (name, value) in table {
        let key = format!("{above}{name}");
        match value {
            toml::Value::Table(table) => add_parameters(table, &format!("{key}."), found),
            toml::Value::String(text) => found.push(parameter(&key, text)),
            value => found.push(parameter(&key, &value.to_string())),
        }
    }
}

fn parameter(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": value.chars().take(VALUE).collect::<String>() })
}

impl Client {
    fn work(mut self, messages: &Receiver<Message>) -> Outcome {
        loop {
            let waits = if self.pending.is_empty() { Duration::MAX } else { PAUSE };
            match messages.recv_timeout(waits) {
                Ok(Message::Points(points, time)) => {
                    self.keep(points, time);
                    self.flush(false);
                }
                Ok(Message::End(finished)) => return self.end(finished),
                Err(RecvTimeoutError::Timeout) => self.flush(false),
                Err(RecvTimeoutError::Disconnected) => return self.end(false),
            }
        }
    }

    fn keep(&mut self, points: Vec<Point>, time: u128) {
        let metric =
            |p: Point| json!({ "key": p.name, "value": p.value, "timestamp": time as u64, "step": p.step });
        self.pending.extend(points.into_iter().map(metric));
        let over = self.pending.len().saturating_sub(KEPT);
        self.pending.drain(..over);
        self.outcome.lost += over;
    }

    /// Sends what is pending, unless the server should be left alone for now.
    fn flush(&mut self, last: bool) {
        if !last && self.rest_until.is_some_and(|time| Instant::now() < time) {
            return;
        }
        while !self.pending.is_empty() {
            let count = self.pending.len().min(METRICS);
            let sent = self.run().and_then(|run| {
                let body = json!({ "run_id": run, "metrics": &self.pending[..count] });
                self.post("runs/log-batch", &body)
            });
            match sent {
                Ok(_) => drop(self.pending.drain(..count)),
                Err(reason) => {
                    self.outcome.reason = Some(reason);
                    self.rest_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
        self.outcome.reason = None;
    }

    fn end(mut self, finished: bool) -> Outcome {
        self.flush(true);
        if self.outcome.reason.is_none() && self.run.is_some() {
            let status = if finished { "FINISHED" } else { "FAILED" };
            let now = milliseconds(SystemTime::now()) as u64;
            let body = json!({ "run_id": self.run, "status": status, "end_time": now });
            self.outcome.reason = self.post("runs/update", &body).err();
        }
        self.outcome.lost += self.pending.len();
        self.outcome
    }

    /// The run on the server: the one that the folder names, or a new one.
    fn run(&mut self) -> Result<String, String> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        if let Some(run) = self.known() {
            self.post("runs/update", &json!({ "run_id": run, "status": "RUNNING" }))?;
            return Ok(self.run.insert(run).clone());
        }
        let experiment = self.experiment()?;
        let now = milliseconds(SystemTime::now()) as u64;
        let body = json!({
            "experiment_id": experiment, "start_time": now, "run_name": self.name,
            "tags": [{ "key": "mlflow.source.name", "value": "opid" }],
        });
        let made = self.post("runs/create", &body)?;
        let run =
            made["run"]["info"]["run_id"].as_str().ok_or("its reply to runs/create names no run")?.to_owned();
        for some in self.parameters.chunks(PARAMETERS) {
            self.post("runs/log-batch", &json!({ "run_id": run, "params": some }))?;
        }
        // Without the file a continued run is another one on the server; that is no reason to stop.
        if let Some(place) = &self.place {
            let _ = std::fs::write(place, json!({ "server": self.server, "run_id": run }).to_string());
        }
        Ok(self.run.insert(run).clone())
    }

    /// The run that the folder names, if it is one of this server.
    fn known(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.place.as_ref()?).ok()?;
        let place: Value = serde_json::from_str(&text).ok()?;
        (place["server"] == self.server).then(|| place["run_id"].as_str().map(str::to_owned))?
    }

    /// The id of the experiment, which is made where there is none.
    fn experiment(&self) -> Result<String, String> {
        let created = self.post("experiments/create", &json!({ "name": self.experiment }));
        let id = |value: &Value| value["experiment_id"].as_str().map(str::to_owned);
        match created {
            Ok(made) => id(&made).ok_or_else(|| "its reply to experiments/create names none".to_owned()),
            Err(reason) if reason.contains("RESOURCE_ALREADY_EXISTS") => {
                let url = format!("{}/api/2.0/mlflow/experiments/get-by-name", self.server);
                let found = self.reply(
                    self.authorized(self.agent.get(&url)).query("experiment_name", &self.experiment).call(),
                )?;
                id(&found["experiment"]).ok_or_else(|| "it does not find its own experiment".to_owned())
            }
            Err(reason) => Err(reason),
        }
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}/api/2.0/mlflow/{what}", self.server);
        let request = self.authorized(self.agent.post(&url)).header("content-type", "application/json");
        self.reply(request.send(body.to_string()))
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match std::env::var(TOKEN) {
            Ok(token) if !token.is_empty() => request.header("authorization", format!("Bearer {token}")),
            _ => request,
        }
    }

    /// The JSON of a reply, or why there is none.
    fn reply(&self, reply: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
        let mut reply = reply.map_err(|error| format!("{}: {error}", self.server))?;
        let status = reply.status();
        let text = reply.body_mut().read_to_string().map_err(|error| format!("{}: {error}", self.server))?;
        let short: String = text.chars().take(300).collect();
        match status.is_success() {
            true => serde_json::from_str(&text)
                .map_err(|_| format!("{} does not answer as MLflow: {short}", self.server)),
            false => Err(format!("{} says {status}: {short}", self.server)),
        }
    }
}
