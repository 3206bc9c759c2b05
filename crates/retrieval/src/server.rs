//! A retrieval server with the interface of Search-R1 and of the reference, over any retriever.
//!
//! `POST /retrieve` takes `{"queries": [...]}` or `{"query": "..."}`, each with `topk` (3 where it is missing, null or 0)
//! and `return_scores`; the reply is `{"result": [[...], ...]}`, one list a query, of `{"document": ..., "score": ...}`
//! or of documents alone. What comes in while passages are searched is searched together afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use opid_env::retrieval::{Found, Retriever};
use opid_http::{ListenError, Reply, Request, Server, Service};
use serde_json::{Value, json};

/// Passages of a query that does not say how many.
const MOST: usize = 3;

/// A running server; it stops when it is dropped.
pub struct RetrievalServer(Server);

/// Hands queries to who searches.
struct Desk {
    jobs: Sender<Job>,
}

/// Queries that wait for their passages.
struct Job {
    queries: Vec<String>,
    most: usize,
    reply: Sender<Vec<Found>>,
}

impl RetrievalServer {
    /// Starts a server, with a thread for each connection; port 0 takes a free one.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn start(address: SocketAddr, retriever: Arc<dyn Retriever>) -> Result<Self, ListenError> {
        let (sender, jobs) = channel();
        std::thread::spawn(move || search(retriever.as_ref(), &jobs));
        Ok(RetrievalServer(Server::start(address, Desk { jobs: sender })?))
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

impl Service for Desk {
    fn answer(&self, request: Request) -> Reply {
        let (status, body) = reply(&request, &self.jobs);
        Reply::json(status, &body)
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Reply::json(status, &json!({ "detail": reason }))
    }
}

/// Searches for all jobs that wait, together, until nobody can send any more.
fn search(retriever: &dyn Retriever, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let together: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).collect();
        let most = together.iter().map(|job| job.most).max().unwrap_or(0);
        let queries: Vec<String> = together.iter().flat_map(|job| job.queries.iter().cloned()).collect();
        let mut found = retriever.retrieve(&queries, most).into_iter();
        for job in together {
            let mut own: Vec<Found> = found.by_ref().take(job.queries.len()).collect();
            own.iter_mut().flatten().for_each(|passages| passages.truncate(job.most));
            // Whoever asked may be gone.
            let _ = job.reply.send(own);
        }
    }
}

/// A request as it was meant.
#[derive(Debug, PartialEq)]
struct Asked {
    queries: Vec<String>,
    most: usize,
    scores: bool,
}

/// Status and body of the reply.
fn reply(request: &Request, jobs: &Sender<Job>) -> (u16, Value) {
    let error = |status: u16, text: String| (status, json!({ "detail": text }));
    if request.path != "/retrieve" {
        return error(404, format!("there is nothing at {}; POST to /retrieve", request.path));
    }
    if request.method != "POST" {
        return error(405, format!("{} is not served; POST to /retrieve", request.method));
    }
    let Asked { queries, most, scores } = match Asked::parse(&request.body) {
        Ok(asked) => asked,
        Err(reason) => return error(422, reason),
    };
    let (sender, receiver) = channel();
    let sent = jobs.send(Job { queries, most, reply: sender });
    let Some(found) = sent.ok().and_then(|()| receiver.recv().ok()) else {
        return error(500, "the search has stopped; the server's output says why".to_owned());
    };
    let mut lists = Vec::with_capacity(found.len());
    for found in found {
        match found {
            Err(reason) => return error(500, reason.to_string()),
            Ok(passages) => {
                let hit = |p: opid_env::retrieval::Passage| {
                    let document = json!({ "id": &*p.id, "contents": &*p.contents });
                    if scores { json!({ "document": document, "score": p.score }) } else { document }
                };
                lists.push(Value::Array(passages.into_iter().map(hit).collect()));
            }
        }
    }
    (200, json!({ "result": lists }))
}

impl Asked {
    /// Reads a body; the error says what is wrong with it.
    fn parse(body: &[u8]) -> Result<Self, String> {
        const FORM: &str =
            "write {\"queries\": [\"...\"], \"topk\": 3, \"return_scores\": true}, or one \"query\"";
        let body: Value =
            serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}; {FORM}"))?;
        let queries = match (body.get("queries"), body.get("query")) {
            (Some(Value::Array(all)), None) => {
                let texts = all.iter().map(|query| query.as_str().map(str::to_owned));
                texts
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| format!("`queries` holds something else than texts; {FORM}"))?
            }
            (None, Some(Value::String(query))) => vec![query.clone()],
            (Some(_), Some(_)) => return Err(format!("there are both `queries` and `query`; {FORM}")),
            (Some(_), None) => return Err(format!("`queries` is no list; {FORM}")),
            (None, Some(_)) => return Err(format!("`query` is no text; {FORM}")),
            (None, None) => return Err(format!("there is neither `queries` nor `query`; {FORM}")),
        };
        let most = match body.get("topk").unwrap_or(&Value::Null) {
            Value::Null => 0,
            number => number
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(|| format!("`topk` is {number}, not a whole number from 0 on; {FORM}"))?,
        };
        let scores = match body.get("return_scores").unwrap_or(&Value::Null) {
            Value::Null => false,
            Value::Bool(scores) => *scores,
            other => return Err(format!("`return_scores` is {other}, neither true nor false; {FORM}")),
        };
        Ok(Asked { queries, most: if most == 0 { MOST } else { most }, scores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let asked = |queries: &[&str], most, scores| {
            Ok(Asked { queries: queries.iter().map(|q| (*q).to_owned()).collect(), most, scores })
        };
        assert_eq!(Asked::parse(br#"{"query": "a"}"#), asked(&["a"], 3, false));
        assert_eq!(Asked::parse(br#"{"query": "", "topk": 0}"#), asked(&[""], 3, false));
        assert_eq!(
            Asked::parse(br#"{"queries": ["a", "b"], "topk": 5, "return_scores": true}"#),
            asked(&["a", "b"], 5, true)
        );
        assert_eq!(Asked::parse(br#"{"queries": [], "topk": null}"#), asked(&[], 3, false));
        for (body, says) in [
            ("", "no JSON"),
            ("[]", "neither `queries` nor `query`"),
            ("{}", "neither `queries` nor `query`"),
            (r#"{"query": 3}"#, "`query` is no text"),
            (r#"{"queries": "a"}"#, "`queries` is no list"),
            (r#"{"queries": ["a", null]}"#, "something else than texts"),
            (r#"{"queries": [], "query": "a"}"#, "both"),
            (r#"{"query": "a", "topk": -1}"#, "`topk` is -1"),
            (r#"{"query": "a", "topk": "3"}"#, "`topk` is \"3\""),
            (r#"{"query": "a", "return_scores": 1}"#, "`return_scores` is 1"),
        ] {
            let error = Asked::parse(body.as_bytes()).expect_err(body);
            assert!(error.contains(says), "{body}: {error}");
        }
    }
}
