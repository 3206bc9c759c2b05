//! Environments for language-model agents. No machine learning in here.

pub mod alfworld;
pub mod catalog;
pub mod difflib;
pub mod environment;
pub mod household;
pub mod python;
pub mod random;
pub mod retrieval;
pub mod search;
pub mod webshop;
