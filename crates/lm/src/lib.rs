//! Decoder language models of the Qwen2 and Qwen3 families: weights, tokens, forward, backward, sampling.

pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod error;
mod json;
pub mod tokenizer;
