//! Who finds passages for search QA: opened as a recipe says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opid_env::retrieval::{CorpusError, Retriever};
use opid_retrieval::corpus::Corpus;
use opid_retrieval::dense::{Dense, DenseError};
use opid_retrieval::encoder::{Encoder, EncoderError, EncoderOptions};
use opid_retrieval::flat::{FlatError, FlatIndex};
use opid_retrieval::http::{HttpError, HttpOptions, HttpRetriever};

use crate::recipe::{DenseFiles, RetrieverName, Search};

/// A retriever that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RetrieverError {
    /// The passages.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The encoder of queries.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The vectors.
    #[error(transparent)]
    Vectors(#[from] FlatError),
    /// Passages, vectors and encoder do not belong together.
    #[error(transparent)]
    Dense(#[from] DenseError),
    /// The settings of a server.
    #[error("environment.search.http: {0}")]
    Http(#[from] HttpError),
}

/// Opens the retriever of a recipe; nothing for BM25, whose index the environment makes of its own passages. Servers
/// are not asked yet.
///
/// # Errors
/// A file cannot be used, or files do not belong together, or a setting makes no sense.
pub fn open(search: &Search) -> Result<Option<Arc<dyn Retriever>>, RetrieverError> {
    Ok(match search.retriever {
        RetrieverName::Bm25 => None,
        RetrieverName::Dense => {
            let DenseFiles { index, encoder, query_prefix, max_tokens } = search.dense.clone();
            let options = EncoderOptions { max_tokens, query_prefix, ..EncoderOptions::default() };
            Some(Arc::new(dense(search.corpus.as_ref(), index.as_ref(), encoder.as_ref(), options)?))
        }
        RetrieverName::Http => {
            let http = &search.http;
            Some(Arc::new(HttpRetriever::new(HttpOptions {
                urls: http.urls.clone(),
                form: http.form,
                batch: http.batch,
                connections: http.connections,
                timeout: Duration::from_secs_f64(http.timeout),
                attempts: http.attempts,
                ..HttpOptions::default()
            })?))
        }
    })
}

/// Passages found by their vectors: a corpus, an index of its vectors and the folder of the encoder that made it.
///
/// # Errors
/// A file cannot be used, or they do not belong together.
pub fn dense(
    corpus: &Path,
    index: &Path,
    encoder: &Path,
    options: EncoderOptions,
) -> Result<Dense, RetrieverError> {
    let encoder = Encoder::open(encoder, options)?;
    Ok(Dense::new(encoder, FlatIndex::open(index)?, Corpus::open(corpus)?)?)
}
