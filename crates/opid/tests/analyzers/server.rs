//! A small HTTP server that answers as it is told, one connection a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body.
    pub body: Value,
}

impl Request {
    /// The text of the only message.
    pub fn message(&self) -> &str {
        self.body["messages"][0]["content"].as_str().expect("a message")
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, further header lines, and body.
    Status(u16, &'static str, String),
    /// Answers with status 200 and this body, after a while.
    Late(Duration, String),
    /// Closes the connection in the middle of a body.
    Cut,
    /// Never stops sending.
    Endless,
}

/// The body of a chat completion.
pub fn completion(text: &str) -> String {
    json!({
        "id": "1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text },
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050 },
    })
    .to_string()
}

/// A chat completion with this text.
pub fn says(text: &str) -> Answer {
    Answer::Status(200, "", completion(text))
}

/// A running server; it ends with the program, or when it is closed.
pub struct Server {
    /// Where the endpoint is.
    pub base_url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    closed: Arc<Mutex<bool>>,
}

impl Server {
    /// Starts a server; `answer` is given the number of the request, from 0.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(Mutex::new(false));
        let (seen, end, answer) = (requests.clone(), closed.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if *end.lock().expect("a flag") {
                    return;
                }
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &seen, answer.as_ref()));
            }
        });
        Server { base_url, requests, closed }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the requests").clone()
    }

    /// Stops listening.
    pub fn close(&self) {
        *self.closed.lock().expect("a flag") = true;
        let address = self.base_url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
        // Wakes the listener, which then goes; the next connection is refused.
        drop(TcpStream::connect(&address));
        while TcpStream::connect(&address).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(impl Fn(usize, &Request) -> Answer + Send + Sync),
) {
    let Some(request) = read(&stream) else { return };
    let number = {
        let mut seen = seen.lock().expect("the requests");
        seen.push(request.clone());
        seen.len() - 1
    };
    // Whoever asked may be gone.
    let _ = match answer(number, &request) {
        Answer::Status(status, headers, body) => reply(&mut stream, status, headers, &body),
        Answer::Late(wait, body) => {
            std::thread::sleep(wait);
            reply(&mut stream, 200, "", &body)
        }
        Answer::Cut => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"choices\": [{\"mess")
        }
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"choices\": \"");
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            Ok(())
        }
    };
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        lines.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Request { path, authorization, body: serde_json::from_slice(&body).ok()? })
}

fn reply(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes())
}
