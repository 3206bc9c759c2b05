//! Questions from files: JSON lines, and the parquet files that Search-R1 and the reference publish.
//!
//! A parquet row has the question and its answers in `env_kwargs` (the reference's files), or in `question` and
//! `golden_answers` (Search-R1's); JSON lines have the latter. Texts and lists may be of any width, and the fields of a
//! structure in any order.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Map, Value};

/// A question as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the file's, or its number.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// The question.
    pub question: String,
    /// Answers, any of which is right.
    pub answers: Vec<String>,
}

/// A file of questions that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("cannot read the questions of {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system, or the format, says.
        reason: String,
    },
    /// A row is no question.
    #[error("{path}, question {number}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file has no rows.
    #[error("{path} has no questions")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The questions of a file, which is parquet if its name ends so, and else JSON lines.
///
/// # Errors
/// The file cannot be read, has no rows, or one without a question or an answer.
pub fn read(path: &Path) -> Result<Vec<Entry>, DatasetError> {
    let rows = match path.extension().is_some_and(|ending| ending == "parquet") {
        true => parquet_rows(path)?,
        false => json_rows(path)?,
    };
    if rows.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    let entry = |(i, row): (usize, &Value)| {
        entry(row, i).map_err(|reason| DatasetError::Row { path: path.to_owned(), number: i + 1, reason })
    };
    rows.iter().enumerate().map(entry).collect()
}

fn failed(path: &Path) -> impl Fn(String) -> DatasetError + '_ {
    |reason| DatasetError::Read { path: path.to_owned(), reason }
}

fn json_rows(path: &Path) -> Result<Vec<Value>, DatasetError> {
    let failed = failed(path);
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut rows = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| failed(e.to_string()))?;
        if !line.trim().is_empty() {
            rows.push(serde_json::from_str(&line).map_err(|e| failed(format!("line {}: {e}", number + 1)))?);
        }
    }
    Ok(rows)
}

fn parquet_rows(path: &Path) -> Result<Vec<Value>, DatasetError> {
    let failed = failed(path);
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    let read = || -> Result<Vec<Value>, ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        let rows = reader.get_row_iter(None)?;
        rows.map(|row| Ok(row?.to_json_value())).collect()
    };
    // The library panics over some damaged files. Nothing of it is used afterwards.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(rows) => rows.map_err(|e| failed(e.to_string())),
        Err(_) => Err(failed("the file is damaged: the parquet library gave up on it".to_owned())),
    }
}

/// The question of a row.
fn entry(row: &Value, number: usize) -> Result<Entry, &'static str> {
    let row = row.as_object().ok_or("it is no object")?;
    let empty = Map::new();
    let own = row.get("env_kwargs").and_then(Value::as_object).unwrap_or(&empty);
    let text = |key: &str| own.get(key).or_else(|| row.get(key)).and_then(Value::as_str);
    let question = text("question").filter(|question| !question.trim().is_empty());
    let target =
        |of: &Map<String, Value>| of.get("ground_truth").and_then(|truth| truth.get("target")).cloned();
    let rule = row.get("reward_model").and_then(Value::as_object).and_then(target);
    let answers = target(own).or_else(|| row.get("golden_answers").cloned()).or(rule);
    let answers = match answers {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    if answers.is_empty() {
        return Err("it has no answer: `golden_answers`, or `env_kwargs.ground_truth.target`");
    }
    Ok(Entry {
        id: row.get("id").and_then(Value::as_str).map_or_else(|| number.to_string(), str::to_owned),
        source: text("data_source").unwrap_or("unknown").to_owned(),
        question: question.ok_or("it has no `question`")?.to_owned(),
        answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Vec<Entry>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("questions.jsonl");
        std::fs::write(&path, text).expect("a file");
        read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn json_lines_are_read() {
        let all = said(
            "{\"id\":\"x\",\"question\":\"Who?\",\"golden_answers\":[\"A\",\"B\"],\"data_source\":\"nq\"}\n\n\
             {\"question\":\"What?\",\"golden_answers\":\"C\"}\n",
        );
        let all = all.expect("questions");
        assert_eq!((&*all[0].id, &*all[0].source, all[0].answers.len()), ("x", "nq", 2));
        assert_eq!((&*all[1].id, &*all[1].source, &*all[1].answers), ("1", "unknown", &["C".to_owned()][..]));
    }

    #[test]
    fn other_files_are_refused_with_the_place() {
        for (text, says) in [
            ("", "has no questions"),
            ("{\"question\":\"Who?\"}", "question 1: it has no answer"),
            ("{\"golden_answers\":[\"A\"]}", "question 1: it has no `question`"),
            ("{\"question\":\"Who?\",\"golden_answers\":[]}", "it has no answer"),
            ("[]", "it is no object"),
            ("{\"question\":", "line 1"),
        ] {
            let error = said(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        let missing = read(Path::new("/nowhere/x.parquet")).expect_err("no file").to_string();
        assert!(missing.contains("/nowhere/x.parquet"), "{missing}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.parquet");
        std::fs::write(&path, "no parquet").expect("a file");
        assert!(read(&path).is_err());
    }
}
