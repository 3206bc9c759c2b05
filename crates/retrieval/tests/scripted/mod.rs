//! A small HTTP server that answers as it is told, one connection a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What is answered.
#[derive(Default)]
pub struct Answer {
    /// How long that takes.
    pub wait: Duration,
    /// The status; 0 closes the connection in the middle of a body.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A status and a body, at once.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Answer { status, body: body.into(), ..Answer::default() }
    }
}

/// A running server; it ends with the program.
pub struct Scripted {
    /// Where requests go.
    pub url: String,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Scripted {
    /// Starts a server; `answer` is given the number of the request, from 0, and its body.
    pub fn start(answer: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/retrieve", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &seen, answer.as_ref()));
            }
        });
        Scripted { url, requests }
    }

    /// The bodies of the requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().expect("the requests").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Value>>,
    answer: &(impl Fn(usize, &Value) -> Answer + Send + Sync),
) {
    let Some(body) = read(&stream) else { return };
    let number = {
        let mut seen = seen.lock().expect("the requests");
        seen.push(body.clone());
        seen.len() - 1
    };
    let Answer { wait, status, body } = answer(number, &body);
    std::thread::sleep(wait);
    let reply = match status {
        0 => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"result\": [[{\"doc".to_owned(),
        _ => format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    };
    // Whoever asked may be gone.
    let _ = stream.write_all(reply.as_bytes());
}

fn read(stream: &TcpStream) -> Option<Value> {
    let mut lines = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim().to_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            _ if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
