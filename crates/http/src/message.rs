//! Requests and replies.

use std::io::ErrorKind;
use std::net::TcpStream;

use serde_json::Value;

/// A request.
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// The path, without what follows a question mark.
    pub path: String,
    /// What follows the question mark; empty if there is none.
    pub query: String,
    /// The header `authorization`.
    pub authorization: Option<String>,
    /// The header `host`.
    pub host: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    pub(crate) client: Option<TcpStream>,
}

impl Request {
    /// Whether the client has closed its connection, so that nobody waits for the reply.
    pub fn is_abandoned(&self) -> bool {
        let Some(client) = &self.client else { return false };
        if client.set_nonblocking(true).is_err() {
            return true;
        }
        let seen = client.peek(&mut [0]);
        let blocking = client.set_nonblocking(false);
        let waits =
            |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
        match seen {
            Ok(0) => true,
            Ok(_) => blocking.is_err(),
            Err(error) => !waits(&error) || blocking.is_err(),
        }
    }

    /// The value of a key of the query, such as `2` of `step` in `run=0&step=2`; escapes are not resolved.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }
}

/// What a reply carries.
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Parts that are sent as they come. Where the client is gone, no further one is asked for.
    Parts(Box<dyn Iterator<Item = Vec<u8>>>),
}

/// A reply.
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Media type of the body.
    pub kind: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

impl Reply {
    /// A reply of a media type.
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, kind, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    /// A reply of JSON.
    pub fn json(status: u16, value: &Value) -> Self {
        Reply::new(status, "application/json", value.to_string())
    }

    /// A reply of server-sent events, each of which is a part.
    pub fn events(parts: impl Iterator<Item = Vec<u8>> + 'static) -> Self {
        let headers = vec![("cache-control", "no-cache".to_owned())];
        Reply { status: 200, kind: "text/event-stream", headers, body: Body::Parts(Box::new(parts)) }
    }
}
