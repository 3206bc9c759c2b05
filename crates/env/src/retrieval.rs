//! Finding documents: whoever does it is a [`Retriever`]; here by full-text search as Lucene 8 and Anserini do it: the analyzer of English texts and the BM25 ranking.
//!
//! [`analyze`] cuts a text into index terms, [`Index`] ranks documents by them. Ranks and scores are those of
//! Anserini's defaults, down to the last bit of a score, because environments whose pages are search results must show
//! the same results.

mod analyzer;
mod index;
mod passages;
mod porter;
mod retriever;
mod symbol;

pub use analyzer::{analyze, terms};
pub use index::{Hit, Index, IndexBuilder, IndexError};
pub use passages::{CorpusError, Passages};
pub use retriever::{Found, Passage, RetrievalError, Retriever};
