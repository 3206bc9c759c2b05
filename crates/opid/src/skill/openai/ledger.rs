//! What was spent for a run, kept in its folder: a budget goes on where the run goes on.
//!
//! A request has a line before it is sent and one when it is over, so that one under way in a crash is counted: as what
//! was set aside for it, since nobody knows what it came to.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opid_lm::storage::Storage;
use serde::{Deserialize, Serialize};

use super::OpenAiError;
use super::budget::Tokens;
use crate::run::advice;

/// The file: a JSON object a line.
const NAME: &str = "spending.jsonl";

/// A line.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Of the first line of a request its number, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<u64>,
    /// Of the second line the number of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    /// What is set aside, or what was used.
    #[serde(flatten)]
    tokens: Tokens,
}

/// The file of a run; it is made with its first line.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Option<File>,
    storage: Arc<dyn Storage>,
    /// Number of the next request.
    next: u64,
}

impl Ledger {
    /// The ledger of the run in a folder, and the tokens of every request in it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(run: &Path, storage: Arc<dyn Storage>) -> Result<(Self, Vec<Tokens>), OpenAiError> {
        let path = run.join(NAME);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| fail("read", &path, &error))?,
        };
        // What follows the last line break was cut off in a crash.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        if whole.len() < text.len() {
            let shorten = || OpenOptions::new().write(true).open(&path)?.set_len(whole.len() as u64);
            shorten().map_err(|error| fail("write", &path, &error))?;
        }
        let lines = whole.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>();
        let mut spent = Vec::new();
        let mut open = BTreeMap::new();
        let mut next = 0;
        for line in lines.map_err(|error| fail("read", &path, &error))? {
            match line.begun {
                Some(number) => {
                    next = next.max(number.saturating_add(1));
                    open.insert(number, line.tokens);
                }
                None => {
                    line.ended.and_then(|number| open.remove(&number));
                    spent.push(line.tokens);
                }
            }
        }
        spent.extend(open.into_values());
        Ok((Ledger { path, file: None, storage, next }, spent))
    }

    /// Adds a request that is about to be sent, with what is set aside for it, and gives it a number.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&mut self, most: Tokens) -> Result<u64, OpenAiError> {
        let number = self.next;
        self.next += 1;
        let first = self.file.is_none();
        self.add(&Line { begun: Some(number), ended: None, tokens: most })?;
        // A request that was sent is counted, even if the power fails.
        let folder = self.path.parent().filter(|_| first);
        for written in folder.into_iter().chain([&*self.path]) {
            self.storage.sync(written).map_err(|error| fail("sync", written, &error))?;
        }
        Ok(number)
    }

    /// Adds what a request came to.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&mut self, number: u64, used: Tokens) -> Result<(), OpenAiError> {
        self.add(&Line { begun: None, ended: Some(number), tokens: used })
    }

    fn add(&mut self, line: &Line) -> Result<(), OpenAiError> {
        let line = format!("{}\n", serde_json::to_string(line).expect("plain data"));
        let path = &self.path;
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(OpenOptions::new().create(true).append(true).open(path)?),
            };
            self.storage.append(path, file, line.as_bytes())
        };
        write().map_err(|error| fail("write", path, &format_args!("{error}{}", advice(&error))))
    }
}

fn fail(action: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> OpenAiError {
    OpenAiError::Ledger { action, path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use opid_lm::storage::Disk;

    use super::*;

    fn open(run: &Path) -> Result<(Ledger, Vec<Tokens>), OpenAiError> {
        Ledger::open(run, Arc::new(Disk))
    }

    #[test]
    fn what_was_added_is_found_again_but_for_a_line_cut_off() {
        let run = tempfile::tempdir().expect("a folder");
        let spent = [Tokens { input: 7, output: 3 }, Tokens::default(), Tokens { input: 1, output: 2 }];
        for (i, used) in spent.iter().enumerate() {
            let (mut ledger, before) = open(run.path()).expect("a ledger");
            assert_eq!(before, spent[..i]);
            let number = ledger.begin(Tokens { input: 9, output: 9 }).expect("a line");
            ledger.end(number, *used).expect("a line");
            let file = OpenOptions::new().append(true).open(run.path().join(NAME));
            file.and_then(|mut file| file.write_all(b"{\"inp")).expect("a file");
        }
        // Two under way in a crash, of which one is over; and a line of a time when requests had one line each.
        let (mut ledger, _) = open(run.path()).expect("a ledger");
        let [first, _] = [8, 9].map(|input| ledger.begin(Tokens { input, output: 1 }).expect("a line"));
        ledger.end(first, Tokens { input: 4, output: 4 }).expect("a line");
        let file = OpenOptions::new().append(true).open(run.path().join(NAME));
        file.and_then(|mut file| file.write_all(b"{\"input\":5,\"output\":6}\n")).expect("a file");
        let (mut ledger, before) = open(run.path()).expect("a ledger");
        let ended =
            [Tokens { input: 4, output: 4 }, Tokens { input: 5, output: 6 }, Tokens { input: 9, output: 1 }];
        assert_eq!(before[spent.len()..], ended);
        assert!(ledger.begin(Tokens::default()).expect("a line") > first + 1);
        std::fs::write(run.path().join(NAME), "{}\n").expect("a file");
        let error = open(run.path()).expect_err("damage").to_string();
        assert!(error.contains("spending.jsonl") && error.contains("missing field"), "{error}");
    }
}
