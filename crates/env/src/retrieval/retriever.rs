//! Who finds passages for queries.

use std::sync::Arc;

use serde::Deserialize;

/// A passage that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Its name in the corpus.
    pub id: Arc<str>,
    /// Its text: a title in quotation marks on the first line, then what it says.
    pub contents: Arc<str>,
    /// How well it fits; comparable within one retriever only.
    pub score: f32,
}

/// A line of a corpus, as Search-R1 publishes it.
#[derive(Deserialize)]
struct Line {
    id: String,
    contents: String,
}

impl Passage {
    /// A passage that nobody has looked for yet: its score is 0.
    pub fn new(id: String, contents: String) -> Self {
        Passage { id: id.into(), contents: contents.into(), score: 0.0 }
    }

    /// The passage of a line of a corpus, `{"id": "...", "contents": "..."}`.
    ///
    /// # Errors
    /// The line is something else.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        let Line { id, contents } = serde_json::from_slice(line)?;
        Ok(Passage::new(id, contents))
    }
}

/// Why nothing was found: a text that the agent is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RetrievalError(pub String);

/// What one query comes to.
pub type Found = Result<Vec<Passage>, RetrievalError>;

/// Finds passages. One is shared by all episodes, which ask together: the queries of a step are one batch.
pub trait Retriever: Send + Sync {
    /// The `most` best passages for each query, the best first.
    fn retrieve(&self, queries: &[String], most: usize) -> Vec<Found>;
}
