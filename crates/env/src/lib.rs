//! Environments for language-model agents. No machine learning in here.

pub mod environment;
