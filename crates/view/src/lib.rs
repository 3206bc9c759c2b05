//! Runs for people to look at: their states, and pages with curves, warnings and every kept episode, as one file or
//! served while the run goes on.

mod body;
mod config;
mod episodes;
mod page;
mod report;
mod run;
mod server;
mod summary;
mod warnings;

pub use report::{Report, write};
pub use run::{Best, Run, State, ViewError, find};
pub use server::PageServer;
