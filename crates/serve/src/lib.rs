//! A model behind the interface of OpenAI: chat and plain completions, whole or streamed, of many clients in one running
//! batch.

mod asked;
mod conversation;
mod engine;
mod error;
mod fields;
mod reply;
mod server;
mod text;

pub use conversation::{Served, ServedError};
pub use engine::Limits;
pub use server::CompletionServer;
