//! Environments for language-model agents. No machine learning in here.

pub mod alfworld;
pub mod catalog;
pub mod environment;
pub mod household;
pub mod random;
pub mod retrieval;
pub mod retriever;
pub mod search;
pub mod webshop;
