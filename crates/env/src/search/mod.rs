//! Question answering with a search engine, as in Search-R1 (arXiv 2503.09516) and in the reference's
//! `env_package/search`: the agent writes a query or an answer, passages come back, and an exact match with one
//! of the known answers decides.

pub mod answer;
pub mod dataset;
pub mod observation;
pub mod question;
pub mod quiz;
pub mod relation;
mod scholar;
pub mod world;
