//! A connection: requests are read from it, replies are written to it, one after the other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::message::{Body, Reply, Request};
use crate::server::Service;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Largest body that is read, in bytes.
const MAX_BODY: usize = 64 << 20;
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a waiting connection looks whether the server stops.
const TICK: Duration = Duration::from_millis(200);

/// What the head of a request says.
struct Head {
    method: String,
    path: String,
    query: String,
    authorization: Option<String>,
    host: Option<String>,
    /// Bytes of the head.
    len: usize,
    body: usize,
    /// Whether the connection stays open.
    keep: bool,
    /// Whether the client waits for leave to send the body.
    expects: bool,
}

/// Why a connection ends.
enum End {
    /// The client is gone, silent for too long, or the server stops.
    Closed,
    /// What was sent is no request that is served: a status and what is wrong.
    Refused(u16, String),
}

/// Answers the requests of a connection until it ends or `stop` is set.
pub(crate) fn serve(mut stream: TcpStream, stop: &AtomicBool, service: &impl Service) {
    // A reply is written at once, so there is nothing to wait for.
    let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(TICK)));
    if set.and_then(|()| stream.set_write_timeout(Some(PATIENCE))).is_err() {
        return;
    }
    let mut bytes = Vec::new();
    loop {
        let (reply, keep) = match request(&mut stream, &mut bytes, stop) {
            Ok((request, keep)) => (service.answer(request), keep),
            Err(End::Closed) => return,
            Err(End::Refused(status, reason)) => (service.refuse(status, &reason), false),
        };
        if write(&mut stream, reply, keep).is_err() || !keep {
            return;
        }
    }
}

/// Writes a reply; parts as chunks of HTTP/1.1.
fn write(stream: &mut TcpStream, reply: Reply, keep: bool) -> std::io::Result<()> {
    let Reply { status, kind, headers, body } = reply;
    let words = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {status} {}\r\ncontent-type: {kind}\r\n", words.unwrap_or("Unknown"));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(if keep { "connection: keep-alive\r\n" } else { "connection: close\r\n" });
    match body {
        Body::Whole(body) => {
            head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
            stream.write_all(&[head.as_bytes(), &body].concat())
        }
        Body::Parts(parts) => {
            head.push_str("transfer-encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            // A part without bytes would end the body.
            for part in parts.filter(|part| !part.is_empty()) {
                stream.write_all(&[format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat())?;
            }
            stream.write_all(b"0\r\n\r\n")
        }
    }
}

/// The next request, and whether the connection stays open after it; `bytes` holds what was read and is not used yet.
fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>, stop: &AtomicBool) -> Result<(Request, bool), End> {
    let head = loop {
        if let Some(head) = head(bytes)? {
            break head;
        }
        if bytes.len() > MAX_HEAD {
            return Err(End::Refused(431, format!("the head of the request has more than {MAX_HEAD} bytes")));
        }
        read(stream, bytes, stop)?;
    };
    if head.body > MAX_BODY {
        let reason = format!("the request has more than {MAX_BODY} bytes; send less at a time");
        return Err(End::Refused(413, reason));
    }
    if head.expects && bytes.len() == head.len {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| End::Closed)?;
    }
    while bytes.len() < head.len + head.body {
        read(stream, bytes, stop)?;
    }
    let rest = bytes.split_off(head.len + head.body);
    let body = bytes.split_off(head.len);
    *bytes = rest;
    let Head { method, path, query, authorization, host, keep, .. } = head;
    // Without a second handle nobody can tell whether the client is still there; the reply is made all the same.
    let client = stream.try_clone().ok();
    Ok((Request { method, path, query, authorization, host, body, client }, keep))
}

/// Reads what there is.
fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>, stop: &AtomicBool) -> Result<(), End> {
    let mut some = [0; 16 << 10];
    let start = Instant::now();
    loop {
        match stream.read(&mut some) {
            Ok(0) => return Err(End::Closed),
            Ok(count) => {
                bytes.extend_from_slice(&some[..count]);
                return Ok(());
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    if start.elapsed() < PATIENCE && !stop.load(Ordering::Relaxed) => {}
                _ => return Err(End::Closed),
            },
        }
    }
}

/// The head of a request, when it has come in as a whole.
fn head(bytes: &[u8]) -> Result<Option<Head>, End> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed
        .parse(bytes)
        .map_err(|error| End::Refused(400, format!("that is no HTTP request: {error}")))?;
    let httparse::Status::Complete(len) = status else { return Ok(None) };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        authorization: None,
        host: None,
        len,
        body: 0,
        keep: version > 0,
        expects: false,
    };
    for header in parsed.headers.iter() {
        let written = String::from_utf8_lossy(header.value).trim().to_owned();
        let value = written.to_ascii_lowercase();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let wrong = || End::Refused(400, format!("content-length is {value:?}, no number"));
                head.body = value.parse().map_err(|_| wrong())?;
            }
            "transfer-encoding" => {
                let reason = "bodies of unknown length are not read; send a content-length".to_owned();
                return Err(End::Refused(411, reason));
            }
            "connection" => {
                head.keep = if value == "close" { false } else { head.keep || value == "keep-alive" }
            }
            "authorization" => head.authorization = Some(written),
            "host" => head.host = Some(written),
            "expect" => head.expects = value == "100-continue",
            _ => {}
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_what_follows() {
        let parse = |text: &str| head(text.as_bytes());
        assert!(parse("POST /retrieve HTTP/1.1\r\nhost: x\r\n").is_ok_and(|head| head.is_none()));
        let Ok(Some(found)) =
            parse("POST /retrieve?x=1 HTTP/1.1\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n{")
        else {
            panic!("a head");
        };
        assert_eq!((&*found.method, &*found.path, &*found.query), ("POST", "/retrieve", "x=1"));
        assert_eq!(found.body, 12);
        assert!(found.keep && found.expects);
        for (version, connection, keep) in
            [("1.1", "close", false), ("1.0", "keep-alive", true), ("1.0", "x", false), ("1.1", "x", true)]
        {
            let text = format!("GET / HTTP/{version}\r\nconnection: {connection}\r\n\r\n");
            assert!(parse(&text).is_ok_and(|head| head.is_some_and(|head| head.keep == keep)), "{text}");
        }
        for (text, expected) in [
            ("\u{1}\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        ] {
            assert!(matches!(parse(text), Err(End::Refused(status, _)) if status == expected), "{text}");
        }
    }
}
