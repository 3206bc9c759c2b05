//! A small HTTP/1.1 server: requests with a body of known length, replies as a whole or in parts, connections that are
//! kept, a thread for each.

mod connection;
mod message;
mod server;

pub use message::{Body, Reply, Request};
pub use server::{ListenError, Server, Service};
