//! A corpus of passages in memory, found by BM25.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::index::{Index, IndexBuilder};
use super::retriever::{Found, Passage, Retriever};

/// Passages and their index.
pub struct Passages {
    passages: Vec<Passage>,
    index: Index,
}

/// A corpus that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The file cannot be read.
    #[error("cannot read the corpus {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is no passage.
    #[error(
        "{path}, line {number}: {source}; a line is {{\"id\": \"...\", \"contents\": \"\\\"Title\\\"\\nText\"}}"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// There is nothing in it.
    #[error("the corpus {path} has no passages")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Passages {
    /// The passages given, each with its name and text.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let passage = |(id, contents): (String, String)| Passage::new(id, contents);
        Passages::indexed(all.into_iter().map(passage).collect())
    }

    fn indexed(passages: Vec<Passage>) -> Self {
        let mut builder = IndexBuilder::default();
        passages.iter().for_each(|passage| builder.add(&passage.contents));
        Passages { passages, index: builder.finish(0) }
    }

    /// The passages of a file of JSON lines.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else, or nothing.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let read = |source| CorpusError::Read { path: path.to_owned(), source };
        let mut all = Vec::new();
        for (number, line) in BufReader::new(File::open(path).map_err(read)?).lines().enumerate() {
            let line = line.map_err(read)?;
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |source| CorpusError::Line { path: path.to_owned(), number: number + 1, source };
            all.push(Passage::parse(line.as_bytes()).map_err(wrong)?);
        }
        match all.is_empty() {
            true => Err(CorpusError::Empty { path: path.to_owned() }),
            false => Ok(Passages::indexed(all)),
        }
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.passages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.passages.is_empty()
    }
}

impl Retriever for Passages {
    fn retrieve(&self, queries: &[String], most: usize) -> Vec<Found> {
        let passage =
            |hit: super::Hit| Passage { score: hit.score, ..self.passages[hit.document as usize].clone() };
        // Of equal scores the earlier passage, as Lucene.
        let find = |query: &String| -> Found {
            let hits = self.index.search(query, most, |one, other| one.cmp(&other));
            Ok(hits.into_iter().map(passage).collect())
        };
        queries.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_passages_come_first() {
        let all = [
            ("a", "\"Mug\"\nA red mug."),
            ("b", "\"Cup\"\nA cup of tea."),
            ("c", "\"Tea\"\nTea, tea and tea."),
        ];
        let corpus = Passages::new(all.map(|(id, contents)| (id.to_owned(), contents.to_owned())));
        let found = corpus.retrieve(&["tea".to_owned(), "nothing of it".to_owned()], 2);
        let ids =
            |found: &Found| found.as_ref().unwrap().iter().map(|p| p.id.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(&found[0]), ["c", "b"]);
        assert!(ids(&found[1]).is_empty());
    }

    #[test]
    fn files_that_are_no_corpus_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("corpus.jsonl");
        for (text, says) in [("", "has no passages"), ("\n{\"id\": 3}", "line 2"), ("x", "line 1")] {
            std::fs::write(&path, text).expect("a file");
            let error = Passages::open(&path).map(|_| ()).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Passages::open(&folder.path().join("none")).is_err());
        std::fs::write(&path, "{\"id\":\"1\",\"contents\":\"x\"}\n").expect("a file");
        assert_eq!(Passages::open(&path).expect("a corpus").len(), 1);
    }
}
