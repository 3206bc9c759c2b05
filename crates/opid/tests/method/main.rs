//! The method on a policy so small that a training step takes a fraction of a second: rollouts,
//! re-scoring, advantages, schedules, runs that stop, die or meet faults and go on, and runs that wait for a network.

mod advantages;
mod dying;
mod faults;
mod injection;
mod interrupting;
mod micro;
mod overlapping;
mod rescoring;
mod resuming;
mod rollouts;
mod scheduling;
#[expect(dead_code, reason = "here servers only answer well, or turn all away")]
#[path = "../analyzers/server.rs"]
mod server;
mod zero_weight;
