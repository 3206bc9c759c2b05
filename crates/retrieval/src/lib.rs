//! Retrieval beyond full-text search: an encoder of texts, exact search among vectors in FAISS files, and passages over
//! HTTP, from servers of Search-R1 and as such a server.

pub mod corpus;
pub mod dense;
pub mod encoder;
pub mod flat;
pub mod http;
pub mod server;
