//! Experiments: several recipes, each with several seeds, as runs of their own, and what they say together.
//!
//! A **cell** is a recipe; with a seed it is a run, a folder like any other. The starting policy is made once and
//! shared, so that cells differ in training alone. Runs are processes of this program, several at a time; what is there
//! already is not done again.

pub mod csv;
pub mod folder;
pub mod jobs;
pub mod picture;
pub mod plan;
pub mod report;
pub mod results;
pub mod statistics;
