//! Decoder language models of the Qwen2 and Qwen3 families: weights, tokens, forward, backward, sampling.

pub mod batch;
mod caught;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod error;
pub mod graph;
mod json;
pub mod kernels;
pub mod model;
pub mod optimizer;
pub mod parameters;
pub mod sampling;
pub mod storage;
pub mod tokenizer;

pub use caught::caught;
