//! A command that serves until the test is over.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// A server that ends with the test.
pub struct Serving {
    child: Child,
    /// What it says when it begins.
    pub line: String,
    /// Its address, without a path.
    pub url: String,
    agent: Agent,
}

impl Serving {
    /// Starts a command at a free port; `environment` holds further variables.
    pub fn start(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_opid"))
            .current_dir(folder)
            .args(args)
            .args(["--port", "0"])
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("standard error")).read_line(&mut line).expect("a line");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let url = format!("http://{}", address.unwrap_or_else(|| panic!("no address: {line}")));
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        Serving { child, line, url, agent: config.build().into() }
    }

    /// Status and text of what is at a path, asked for with headers.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut reply = request.call().expect("a reply");
        (reply.status().as_u16(), reply.body_mut().read_to_string().expect("a text"))
    }

    /// Status and text of the reply to a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let request =
            self.agent.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let mut reply = request.send(body.to_string()).expect("a reply");
        (reply.status().as_u16(), reply.body_mut().read_to_string().expect("a text"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}
