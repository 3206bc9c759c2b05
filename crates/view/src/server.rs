//! The page of runs, served while they go on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use opid_http::{ListenError, Reply, Request, Server, Service};
use serde_json::json;

use crate::body::Reader;
use crate::page::page;
use crate::run::{Run, ViewError, find};
use crate::summary::{Indices, summary};

/// A running server of a page; it stops when it is dropped.
pub struct PageServer(Server);

/// What is shown, and what was read of it.
struct Shown {
    paths: Vec<PathBuf>,
    /// Whether only this machine can reach the server.
    local: bool,
    known: Mutex<Known>,
}

/// What is kept between requests.
#[derive(Default)]
struct Known {
    indices: Indices,
    /// The runs as they were last read; a page names them by number.
    runs: Vec<Run>,
    /// A hash of what the files looked like, and the summary that was made of them.
    version: u64,
    summary: String,
}

impl PageServer {
    /// Serves a page of the runs that paths stand for; runs that begin later are shown, too.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn start(address: SocketAddr, paths: Vec<PathBuf>) -> Result<Self, ListenError> {
        let shown = Shown { paths, local: address.ip().is_loopback(), known: Mutex::default() };
        Ok(PageServer(Server::start(address, shown)?))
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

impl Service for Shown {
    fn answer(&self, request: Request) -> Reply {
        if self.local && request.host.as_deref().is_some_and(|host| !is_own(host)) {
            return self.refuse(403, "this server is for this machine only: open it by its address");
        }
        if request.method != "GET" {
            return self.refuse(405, "only GET is served");
        }
        let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
        let result = match parts[..] {
            [] => return Reply::new(200, "text/html; charset=utf-8", page("opid", &[])),
            ["summary"] => self.summary(request.parameter("version")),
            ["steps", run, step] => self.steps(run, step),
            _ => return self.refuse(404, "there is no such page; open /"),
        };
        result.unwrap_or_else(|error| self.refuse(500, &error.to_string()))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Reply::json(status, &json!({ "error": reason }))
    }
}

impl Shown {
    /// The summary, or nothing where the page has this version of it.
    fn summary(&self, version: Option<&str>) -> Result<Reply, ViewError> {
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = &mut *known;
        let mut folders = Vec::new();
        for path in &self.paths {
            folders.extend(find(path)?);
        }
        let runs = folders.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>, _>>()?;
        let now = fingerprint(&runs);
        if known.summary.is_empty() || known.version != now {
            let indices = known.indices.of(&runs);
            let mut value = summary(&runs, &indices);
            value["version"] = json!(now.to_string());
            (known.version, known.summary, known.runs) = (now, value.to_string(), runs);
        }
        if version.is_some_and(|version| version == known.version.to_string()) {
            return Ok(Reply::json(200, &json!({ "unchanged": true })));
        }
        Ok(Reply::new(200, "application/json", known.summary.clone()))
    }

    /// The episodes of a step.
    fn steps(&self, run: &str, step: &str) -> Result<Reply, ViewError> {
        let run = {
            let known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            run.parse::<usize>().ok().and_then(|run| known.runs.get(run).cloned())
        };
        let (Some(run), Ok(step)) = (run, step.parse()) else {
            return Ok(self.refuse(404, "there is no such run or step"));
        };
        Ok(Reply::json(200, &Reader::new(&run).read(&run, step)?))
    }
}

/// Whether a header `host` names this machine, by address or as localhost. Any other name may be one that a foreign page
/// made point here.
fn is_own(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// What changes when anything that is shown does.
fn fingerprint(runs: &[Run]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for run in runs {
        run.path.hash(&mut hasher);
        // Not for how long it is silent.
        std::mem::discriminant(&run.state).hash(&mut hasher);
        for part in ["config.toml", "metrics.jsonl", "trajectories", "checkpoints"] {
            changed(&run.path.join(part)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Length and time of change.
fn changed(path: &Path) -> Option<(u64, std::time::SystemTime)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.len(), file.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_has_its_names() {
        for (host, own) in [
            ("localhost:6007", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("10.0.0.3:1", true),
            ("evil.example:6007", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_own(host), own, "{host}");
        }
    }
}
