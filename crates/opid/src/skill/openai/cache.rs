//! Replies kept on disk, by a hash of everything that a reply depends on.
//!
//! How the endpoint is asked for JSON is not part of the hash: it is found out anew by every program, and
//! a repeated run must find its replies without the endpoint.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use opid_lm::storage::Storage;
use serde::{Deserialize, Serialize};

use super::OpenAiError;
use crate::digest;
use crate::recipe;
use crate::run::advice;
use crate::skill::inquiry::Reply;

/// The folder, and what all replies depend on.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    settings: serde_json::Value,
    storage: Arc<dyn Storage>,
}

/// A file.
#[derive(Serialize, Deserialize)]
struct Entry {
    model: String,
    text: String,
    cut_off: bool,
}

impl Cache {
    /// The cache of a recipe, if it has one.
    pub fn new(s: &recipe::OpenAi, storage: Arc<dyn Storage>) -> Option<Self> {
        let settings = serde_json::json!({
            "base_url": s.base_url,
            "model": s.model,
            "temperature": s.temperature,
            "max_reply_tokens": s.max_reply_tokens,
        });
        (!s.cache.is_empty()).then(|| Cache { folder: PathBuf::from(&s.cache), settings, storage })
    }

    /// The reply to a message, if it is kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find(&self, message: &str) -> Result<Option<Reply>, OpenAiError> {
        let path = self.path(message);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail("read", path, error.to_string())),
        };
        match serde_json::from_slice(&text) {
            Ok(Entry { text, cut_off, .. }) => Ok(Some(Reply { text, cut_off })),
            Err(error) => {
                Err(fail("read", path, format!("{error}; remove the file, and it is asked for again")))
            }
        }
    }

    /// Keeps a reply, and gives the one that is kept: that of another program, if it was faster.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&self, message: &str, reply: Reply) -> Result<Reply, OpenAiError> {
        let path = self.path(message);
        let folder = path.parent().unwrap_or(&self.folder);
        let model = self.settings["model"].as_str().unwrap_or_default().to_owned();
        let entry = Entry { model, text: reply.text.clone(), cut_off: reply.cut_off };
        let entry = serde_json::to_vec(&entry).expect("plain data");
        let write = || -> std::io::Result<()> {
            self.storage.make_folder(folder)?;
            // Under a name of its own: other threads and programs may be at the same file.
            let file = tempfile::Builder::new()
                .make_in(folder, |path| self.storage.fill(path, &mut |path| fs::write(path, &entry)))?;
            self.storage.place(file.path(), &path)
        };
        match write() {
            Ok(()) => Ok(reply),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(self.find(message)?.unwrap_or(reply))
            }
            Err(error) => Err(fail("write", path, format!("{error}{}", advice(&error)))),
        }
    }

    /// The file of a message.
    fn path(&self, message: &str) -> PathBuf {
        let all = serde_json::to_vec(&(&self.settings, message)).expect("plain data");
        let hash = digest::of(&all);
        self.folder.join(&hash[..2]).join(format!("{hash}.json"))
    }
}

fn fail(action: &'static str, path: PathBuf, reason: String) -> OpenAiError {
    OpenAiError::Cache { action, path, reason }
}
