//! Passages found by their vectors.

use std::path::Path;

use opid_env::retrieval::{CorpusError, Found, RetrievalError, Retriever};

use crate::corpus::Corpus;
use crate::encoder::{Encoder, EncoderError};
use crate::flat::{FlatError, FlatIndex, FlatWriter, Metric, Neighbor, Storage};

/// Passages that are encoded before their vectors are written.
const BATCH: usize = 1024;

/// A dense retriever that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DenseError {
    /// The passages.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The vectors.
    #[error(transparent)]
    Index(#[from] FlatError),
    /// The encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Index and encoder do not belong together.
    #[error(
        "the index has vectors of {index} numbers, the encoder makes vectors of {encoder}; use the encoder that the index \
         was made with"
    )]
    Dimension {
        /// Numbers of a vector of the index.
        index: usize,
        /// Numbers of a vector of the encoder.
        encoder: usize,
    },
    /// Index and corpus do not belong together.
    #[error("the index has {index} vectors, the corpus {corpus} passages; make the index from this corpus")]
    Len {
        /// Vectors of the index.
        index: usize,
        /// Passages of the corpus.
        corpus: usize,
    },
}

/// Finds the passages whose vectors are the nearest to a query's.
pub struct Dense {
    encoder: Encoder,
    index: FlatIndex,
    corpus: Corpus,
}

impl Dense {
    /// A retriever of these parts: vector `i` of the index is that of passage `i`.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn new(encoder: Encoder, index: FlatIndex, corpus: Corpus) -> Result<Self, DenseError> {
        if index.dimension() != encoder.dimension() {
            return Err(DenseError::Dimension { index: index.dimension(), encoder: encoder.dimension() });
        }
        if index.len() != corpus.len() {
            return Err(DenseError::Len { index: index.len(), corpus: corpus.len() });
        }
        Ok(Dense { encoder, index, corpus })
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.corpus.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.corpus.is_empty()
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.index.dimension()
    }

    /// The passages of neighbors.
    fn passages(&self, neighbors: &[Neighbor]) -> Found {
        let sign = if self.index.metric() == Metric::L2 { -1.0 } else { 1.0 };
        let passage = |n: &Neighbor| self.corpus.passage(n.row, sign * n.score);
        let passages: Result<Vec<_>, _> = neighbors.iter().map(passage).collect();
        passages.map_err(|error| RetrievalError(error.to_string()))
    }
}

impl Retriever for Dense {
    fn retrieve(&self, queries: &[String], most: usize) -> Vec<Found> {
        match self.encoder.queries(queries) {
            Err(error) => vec![Err(RetrievalError(error.to_string())); queries.len()],
            Ok(vectors) => {
                let found = self.index.search(&vectors, most);
                found.iter().map(|neighbors| self.passages(neighbors)).collect()
            }
        }
    }
}

/// Writes the vectors of all passages of a corpus to a FAISS file, by inner product; `each` is told after every batch how
/// many are done.
///
/// # Errors
/// A line of the corpus is no passage, or the file cannot be written.
pub fn build_index(
    corpus: &Corpus,
    encoder: &Encoder,
    path: &Path,
    storage: Storage,
    mut each: impl FnMut(usize),
) -> Result<(), DenseError> {
    let mut writer = FlatWriter::create(path, encoder.dimension(), Metric::InnerProduct, storage)?;
    for first in (0..corpus.len()).step_by(BATCH) {
        let end = corpus.len().min(first + BATCH);
        let texts: Result<Vec<_>, _> =
            (first..end).map(|number| corpus.passage(number, 0.0).map(|p| p.contents)).collect();
        writer.add(&encoder.passages(&texts?)?)?;
        each(end);
    }
    writer.finish()?;
    Ok(())
}
