//! Errors in OpenAI's form.

use opid_http::Reply;
use serde_json::json;

/// A request that is not answered as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub message: String,
    /// The parameter that is wrong.
    pub parameter: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
}

impl ApiError {
    /// A request that cannot be answered as it is.
    pub fn invalid(parameter: Option<&str>, message: impl Into<String>) -> Self {
        ApiError { status: 400, message: message.into(), parameter: parameter.map(str::to_owned), code: None }
    }

    /// Another status than that of an invalid request.
    pub fn of(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into(), parameter: None, code: Some(code) }
    }

    /// The kind of error.
    fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The reply.
    pub fn reply(&self) -> Reply {
        let error = json!({
            "message": self.message, "type": self.kind(), "param": self.parameter, "code": self.code,
        });
        let mut reply = Reply::json(self.status, &json!({ "error": error }));
        if self.status == 503 {
            reply.headers.push(("retry-after", "1".to_owned()));
        }
        reply
    }
}
