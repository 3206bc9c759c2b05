//! The client against servers of every kind, our own among them.

mod scripted;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opid_env::retrieval::{Found, Passages, Retriever};
use opid_retrieval::http::{Form, HttpCounts, HttpOptions, HttpRetriever};
use opid_retrieval::server::RetrievalServer;
use scripted::{Answer, Scripted};
use serde_json::{Value, json};

/// Longer than the client waits.
const SLOW: Duration = Duration::from_secs(2);

fn client(url: &str, form: Form) -> HttpRetriever {
    let options = HttpOptions {
        urls: vec![url.to_owned()],
        form,
        batch: 2,
        connections: 3,
        timeout: Duration::from_millis(400),
        attempts: 3,
        wait: Duration::from_millis(5),
    };
    HttpRetriever::new(options).expect("a retriever")
}

fn texts(queries: &[&str]) -> Vec<String> {
    queries.iter().map(|query| (*query).to_owned()).collect()
}

/// The reply of a server that finds a passage with the words of every query.
fn echo(body: &Value) -> String {
    let queries = match &body["query"] {
        Value::String(query) => vec![query.clone()],
        _ => body["queries"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|q| q.as_str().unwrap_or_default().to_owned())
            .collect(),
    };
    let list = |query: String| json!([{ "document": { "id": 7, "contents": query }, "score": 0.5 }]);
    json!({ "result": queries.into_iter().map(list).collect::<Vec<_>>() }).to_string()
}

fn contents(found: &[Found]) -> Vec<String> {
    found.iter().map(|found| found.as_ref().expect("passages")[0].contents.to_string()).collect()
}

fn error(found: &[Found]) -> String {
    found[0].as_ref().expect_err("an error").to_string()
}

#[test]
fn both_forms_ask_for_everything_in_order() {
    let queries = texts(&["a", "b", "c", "d", "e"]);
    let server = Scripted::start(|_, body| Answer::new(200, echo(body)));
    let batch = client(&server.url, Form::Batch);
    let found = batch.retrieve(&queries, 4);
    assert_eq!(contents(&found), queries);
    assert_eq!(
        (&*found[0].as_ref().expect("passages")[0].id, found[0].as_ref().expect("passages")[0].score),
        ("7", 0.5)
    );
    assert_eq!(server.requests().len(), 3);
    assert!(server.requests().contains(&json!({ "queries": ["c", "d"], "topk": 4, "return_scores": true })));
    assert_eq!(batch.counts(), HttpCounts { requests: 3, ..HttpCounts::default() });
    let single = client(&server.url, Form::Single);
    assert_eq!(contents(&single.retrieve(&queries, 2)), queries);
    assert!(server.requests().contains(&json!({ "query": "e", "topk": 2, "return_scores": true })));
    assert_eq!(single.counts().requests, 5);
    assert!(single.retrieve(&[], 2).is_empty());
}

#[test]
fn what_may_pass_is_asked_again() {
    for status in [500, 502, 503, 504] {
        let server = Scripted::start(move |n, body| match n {
            0 | 1 => Answer::new(status, String::new()),
            _ => Answer::new(200, echo(body)),
        });
        let client = client(&server.url, Form::Single);
        assert_eq!(contents(&client.retrieve(&texts(&["a"]), 1)), ["a"]);
        assert_eq!(client.counts(), HttpCounts { requests: 3, retries: 2, failed_queries: 0 });
    }
    let slow = Scripted::start(|n, body| match n {
        0 => Answer { wait: SLOW, ..Answer::new(200, echo(body)) },
        1 => Answer::new(0, ""),
        _ => Answer::new(200, echo(body)),
    });
    let client = client(&slow.url, Form::Batch);
    assert_eq!(contents(&client.retrieve(&texts(&["a", "b"]), 1)), ["a", "b"]);
    assert_eq!(client.counts().retries, 2);
}

#[test]
fn what_does_not_pass_is_an_error_that_is_shown() {
    let failing = |answer: fn() -> Answer| Scripted::start(move |_, _| answer());
    for (answer, requests, says) in [
        (
            (|| Answer::new(503, String::new())) as fn() -> Answer,
            3,
            "API Request Error: Server Error (503) on attempt 3/3",
        ),
        (|| Answer::new(404, "{}"), 1, "404 Client Error: Not Found for url: http://127.0.0.1"),
        (|| Answer::new(302, String::new()), 1, "302 Redirection"),
        (|| Answer::new(501, String::new()), 1, "501 Server Error"),
        (|| Answer { wait: SLOW, ..Answer::new(200, "{}") }, 3, "Timeout Error"),
        (|| Answer::new(0, ""), 3, "Connection Error"),
        (|| Answer::new(200, "<html>"), 1, "JSON Decode Error"),
        (|| Answer::new(200, "[]"), 1, "no object"),
        (|| Answer::new(200, "{}"), 1, "Unknown API state"),
        (|| Answer::new(200, r#"{"result": [[], []]}"#), 1, "2 lists of passages for 1 queries"),
        (|| Answer::new(200, r#"{"result": [[{"id": "0"}]]}"#), 1, "results: 'document'"),
        (|| Answer::new(200, r#"{"result": [[{"document": {}}]]}"#), 1, "results: 'contents'"),
    ] {
        let server = failing(answer);
        let client = client(&server.url, Form::Single);
        let text = error(&client.retrieve(&texts(&["a"]), 1));
        assert!(text.contains(says), "{text}");
        let counts = client.counts();
        assert_eq!((counts.requests, counts.failed_queries), (requests, 1), "{says}");
    }
    // Nobody listens.
    let text = error(&client("http://127.0.0.1:9/retrieve", Form::Batch).retrieve(&texts(&["a"]), 1));
    assert!(text.contains("Connection Error"), "{text}");
    for urls in [vec![], vec!["127.0.0.1:8000".to_owned()]] {
        assert!(HttpRetriever::new(HttpOptions { urls, ..HttpOptions::default() }).is_err());
    }
    assert!(HttpRetriever::new(HttpOptions { attempts: 0, ..HttpOptions::default() }).is_err());
}

/// Counts the batches it is asked for.
struct Counting {
    passages: Passages,
    batches: AtomicUsize,
    wait: Duration,
}

impl Retriever for Counting {
    fn retrieve(&self, queries: &[String], most: usize) -> Vec<Found> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.wait);
        self.passages.retrieve(queries, most)
    }
}

fn counting(wait: u64) -> Arc<Counting> {
    let all = ["red tea", "green tea", "red cup"].map(|text| (text.replace(' ', "-"), text.to_owned()));
    let (passages, wait) = (Passages::new(all), Duration::from_millis(wait));
    Arc::new(Counting { passages, batches: AtomicUsize::new(0), wait })
}

fn serve(retriever: Arc<Counting>) -> RetrievalServer {
    RetrievalServer::start("127.0.0.1:0".parse().expect("an address"), retriever).expect("a server")
}

#[test]
fn our_server_finds_what_the_retriever_finds() {
    let counting = counting(0);
    let server = serve(counting.clone());
    let url = format!("http://{}/retrieve", server.address());
    let queries = texts(&["tea", "red", "nothing", "cup"]);
    let expected = counting.passages.retrieve(&queries, 2);
    for form in [Form::Batch, Form::Single] {
        assert_eq!(client(&url, form).retrieve(&queries, 2), expected);
    }
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(5), "a server stops when it is told to");
}

#[test]
fn requests_that_come_together_are_searched_together() {
    let counting = counting(100);
    let server = serve(counting.clone());
    let single = HttpRetriever::new(HttpOptions {
        urls: vec![format!("http://{}/retrieve", server.address())],
        form: Form::Single,
        ..HttpOptions::default()
    });
    let found = single.expect("a retriever").retrieve(&vec!["tea".to_owned(); 12], 1);
    assert!(found.iter().all(|found| found.as_ref().is_ok_and(|passages| passages.len() == 1)));
    let batches = counting.batches.load(Ordering::Relaxed);
    assert!(batches < 10, "{batches} batches for 12 requests");
}

/// Status and body of the reply to a request as it is.
fn raw(server: &RetrievalServer, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(reply.split_once("\r\n\r\n").expect("a body").1).expect("JSON"))
}

#[test]
fn our_server_says_what_is_wrong() {
    let server = serve(counting(0));
    for (method, path, body, status, says) in [
        ("POST", "/retrieve", "{", 422, "no JSON"),
        ("POST", "/retrieve", r#"{"query": 1}"#, 422, "`query` is no text"),
        ("POST", "/retrieve?x", "[]", 422, "neither"),
        ("GET", "/retrieve", "", 405, "POST"),
        ("POST", "/other", "{}", 404, "/other"),
    ] {
        let (found, body) = raw(&server, method, path, body);
        assert_eq!(found, status, "{body}");
        assert!(body["detail"].as_str().is_some_and(|text| text.contains(says)), "{body}");
    }
    let (status, body) = raw(&server, "POST", "/retrieve", r#"{"query": "cup"}"#);
    assert_eq!((status, body), (200, json!({ "result": [[{ "id": "red-cup", "contents": "red cup" }]] })));
    let taken = RetrievalServer::start(server.address(), counting(0)).map(|_| ()).expect_err("a taken port");
    assert!(taken.to_string().contains("another port"), "{taken}");
}

#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    // One that takes connections and never says anything, and one that stops in the middle of its reply.
    for said in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"result\": ["] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/retrieve", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = std::io::Write::write_all(&mut stream, said);
                open.push(stream);
            }
        });
        let start = std::time::Instant::now();
        let found = client(&url, Form::Batch).retrieve(&texts(&["a", "b", "c"]), 3);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(Result::is_err), "{found:?}");
        // Three attempts of at most 400 ms, for two batches at once.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert!(error(&found).contains("Timeout Error"), "{}", error(&found));
    }
}
