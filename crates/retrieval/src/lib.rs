//! Dense retrieval: an encoder of texts, exact search among vectors in FAISS files, and retrieval over HTTP.

pub mod flat;
