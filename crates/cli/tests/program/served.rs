//! `serve`: a model behind OpenAI's interface.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::opid;
use crate::runs::workplace;
use crate::serving::Serving;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A request of the model `start` with further parameters.
fn chat(parameters: Value) -> Value {
    let mut body =
        json!({ "model": "start", "messages": [{ "role": "user", "content": "You are in a room." }] });
    body.as_object_mut().expect("an object").extend(parameters.as_object().expect("an object").clone());
    body
}

fn reply(server: &Serving, path: &str, body: &Value) -> Value {
    let (status, text) = server.post(path, body);
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The parts of a streamed reply.
fn parts(server: &Serving, path: &str, body: &Value) -> Vec<Value> {
    let (status, text) = server.post(path, body);
    assert_eq!(status, 200, "{text}");
    let mut events: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(events.pop(), Some("[DONE]"), "{text}");
    events.into_iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

/// Text and log-probabilities of a chat's first choice.
fn said(reply: &Value) -> (String, Vec<f64>) {
    let choice = &reply["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().expect("log-probabilities");
    let text = choice["message"]["content"].as_str().expect("a text");
    (text.to_owned(), tokens.iter().map(|t| t["logprob"].as_f64().expect("a number")).collect())
}

#[test]
fn a_model_is_served() {
    let place = workplace();
    opid(place.path(), &["sft", "micro.toml", "--run", "start"]).ok();
    let server = Serving::start(place.path(), &["serve", "start", "--concurrency", "5"], &[]);
    assert!(server.line.starts_with("start: "), "{}", server.line);
    let models: Value = serde_json::from_str(&server.get("/v1/models", &[]).1).expect("JSON");
    assert_eq!(models["data"][0]["id"], "start");

    // A seeded reply does not depend on who else is in the batch.
    let ask = |seed: u64| {
        chat(
            json!({ "seed": seed, "max_tokens": 24, "logprobs": true, "top_logprobs": 2, "temperature": 1.3 }),
        )
    };
    let alone: Vec<(String, Vec<f64>)> =
        (0..12).map(|seed| said(&reply(&server, CHAT, &ask(seed)))).collect();
    let together: Vec<(String, Vec<f64>)> = std::thread::scope(|scope| {
        let server = &server;
        let asking: Vec<_> =
            (0..12).map(|seed| scope.spawn(move || said(&reply(server, CHAT, &ask(seed))))).collect();
        asking.into_iter().map(|thread| thread.join().expect("a reply")).collect()
    });
    for ((a, x), (b, y)) in alone.iter().zip(&together) {
        assert_eq!((a, x.len()), (b, y.len()));
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5), "{x:?} {y:?}");
    }
    let different: std::collections::HashSet<&String> = alone.iter().map(|(text, _)| text).collect();
    assert!(different.len() > 6, "seeds differ: {different:?}");

    // A stream says the same as a whole reply.
    let whole = reply(&server, CHAT, &ask(3));
    let mut streamed = ask(3);
    (streamed["stream"], streamed["stream_options"]) = (json!(true), json!({ "include_usage": true }));
    let events = parts(&server, CHAT, &streamed);
    let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, alone[3].0);
    let weighed: Vec<f64> = events
        .iter()
        .flat_map(|e| e["choices"][0]["logprobs"]["content"].as_array().into_iter().flatten())
        .filter_map(|token| token["logprob"].as_f64())
        .collect();
    assert_eq!(weighed, alone[3].1);
    assert_eq!(events.last().expect("parts")["usage"], whole["usage"]);
    let finishes: Vec<&Value> =
        events.iter().map(|e| &e["choices"][0]["finish_reason"]).filter(|f| !f.is_null()).collect();
    assert_eq!(finishes, [&whole["choices"][0]["finish_reason"]]);

    // Plain completions, several at a time; the model's own words end them before a stop string.
    let body = json!({ "model": "start", "prompt": ["You are", [40, 41]], "n": 2, "max_tokens": 9, "seed": 1, "logprobs": 1 });
    let several = reply(&server, TEXT, &body);
    assert_eq!(several["choices"].as_array().map(Vec::len), Some(4));
    let text = several["choices"][0]["text"].as_str().expect("a text");
    let stop: String = text.chars().skip(2).take(2).collect();
    if !stop.is_empty() && !stop.contains('\u{fffd}') {
        let mut stopped = body.clone();
        stopped["stop"] = json!([stop]);
        let stopped = reply(&server, TEXT, &stopped);
        assert_eq!(stopped["choices"][0]["text"].as_str(), text.split(&stop).next());
        assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    }

    // Special tokens in what somebody says are text.
    let tokens = |text: &str| {
        let body = chat(json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 1 }));
        reply(&server, CHAT, &body)["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    assert!(tokens("a<|end|>") > tokens("a") + 1);

    for (body, status, says) in [
        (json!({ "messages": [] }), 400, "names no model"),
        (chat(json!({ "model": "gpt-4o" })), 404, "this server has \\\"start\\\""),
        (chat(json!({ "messages": [] })), 400, "at least one message"),
        (chat(json!({ "messages": [{ "role": "tool", "content": "x" }] })), 400, "the role"),
        (chat(json!({ "temperature": -1 })), 400, "temperature is -1"),
        (chat(json!({ "max_tokens": 0 })), 400, "max_tokens is 0"),
        (chat(json!({ "max_tokens": 100_000 })), 400, "context_length_exceeded"),
        (chat(json!({ "stop": [""] })), 400, "stop is"),
        (chat(json!({ "top_logprobs": 2 })), 400, "needs logprobs"),
        (chat(json!({ "presence_penalty": 1 })), 400, "presence_penalty = 1 is not served"),
        (chat(json!({ "warmth": 1 })), 400, "no parameter warmth"),
        (chat(json!({ "stream_options": { "include_usage": true } })), 400, "needs stream"),
    ] {
        let (found, text) = server.post(CHAT, &body);
        assert!(
            found == status && text.contains(says) && text.starts_with("{\"error\""),
            "{body}: {found} {text}"
        );
    }
    for (body, says) in [
        (json!({ "model": "start", "prompt": "" }), "empty"),
        (json!({ "model": "start", "prompt": [99_999_999] }), "prompt is not"),
        (json!({ "model": "start" }), "prompt is not"),
    ] {
        let (found, text) = server.post(TEXT, &body);
        assert!(found == 400 && text.contains(says), "{body}: {found} {text}");
    }
    assert_eq!(server.get("/v1/nothing", &[]).0, 404);
    assert_eq!(server.get(CHAT, &[]).0, 405);

    // A client that goes away frees its place: five of them, as many as run at once, wait for nobody.
    let body = chat(json!({ "max_tokens": 4000, "stream": true, "stop": "never said" })).to_string();
    for _ in 0..5 {
        let mut gone = TcpStream::connect(server.url.trim_start_matches("http://")).expect("a connection");
        write!(gone, "POST {CHAT} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("sent");
        gone.read_exact(&mut [0; 64]).expect("a beginning");
    }
    let started = Instant::now();
    reply(&server, CHAT, &chat(json!({ "max_tokens": 4, "seed": 1 })));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn a_key_is_asked_for() {
    let place = workplace();
    opid(place.path(), &["sft", "micro.toml", "--run", "start", "--set", "warm_start.probe_games=0"]).ok();
    let server =
        Serving::start(place.path(), &["serve", "start", "--name", "tiny"], &[("OPID_API_KEY", "secret")]);
    assert!(
        server.line.trim_end().ends_with("with a key") && !server.line.contains("secret"),
        "{}",
        server.line
    );
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", "Bearer other")], 401),
        (&[("authorization", "Bearer secret")], 200),
    ] {
        let (found, text) = server.get("/v1/models/tiny", headers);
        assert!(found == status && !text.contains("secret"), "{found} {text}");
    }
    assert_eq!(server.get("/health", &[]).0, 200);
    for (args, says) in [
        (vec!["serve", "nowhere"], "nowhere is no model"),
        (vec!["serve", "start", "--name", ""], "--name is empty"),
        (vec!["serve", "start", "--host", "192.0.2.1"], "cannot listen at 192.0.2.1:8000"),
    ] {
        let result = opid(place.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
}
