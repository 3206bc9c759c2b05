//! What was spent for a run, kept in its folder: a budget goes on where the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::OpenAiError;
use super::budget::Tokens;

/// The file: a JSON object a line, for each request that was sent.
const NAME: &str = "spending.jsonl";

/// The file of a run; it is made with its first line.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Option<File>,
}

impl Ledger {
    /// The ledger of the run in a folder, and the tokens of every request in it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(run: &Path) -> Result<(Self, Vec<Tokens>), OpenAiError> {
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
        let lines = whole.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let spent = lines.map_err(|error| fail("read", &path, &error))?;
        Ok((Ledger { path, file: None }, spent))
    }

    /// Adds a request.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, used: Tokens) -> Result<(), OpenAiError> {
        let line = format!("{}\n", serde_json::to_string(&used).expect("plain data"));
        let path = &self.path;
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(OpenOptions::new().create(true).append(true).open(path)?),
            };
            file.write_all(line.as_bytes())
        };
        write().map_err(|error| fail("write", path, &error))
    }
}

fn fail(action: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> OpenAiError {
    OpenAiError::Ledger { action, path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_again_but_for_a_line_cut_off() {
        let run = tempfile::tempdir().expect("a folder");
        let spent = [Tokens { input: 7, output: 3 }, Tokens::default(), Tokens { input: 1, output: 2 }];
        for (i, used) in spent.iter().enumerate() {
            let (mut ledger, before) = Ledger::open(run.path()).expect("a ledger");
            assert_eq!(before, spent[..i]);
            ledger.add(*used).expect("a line");
            let file = OpenOptions::new().append(true).open(run.path().join(NAME));
            file.and_then(|mut file| file.write_all(b"{\"inp")).expect("a file");
        }
        std::fs::write(run.path().join(NAME), "{}\n").expect("a file");
        let error = Ledger::open(run.path()).expect_err("damage").to_string();
        assert!(error.contains("spending.jsonl") && error.contains("missing field"), "{error}");
    }
}
