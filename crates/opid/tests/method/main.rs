//! The method on a policy so small that a training step takes a fraction of a second: rollouts,
//! re-scoring, advantages, schedules, and runs that stop and go on.

mod advantages;
mod injection;
mod micro;
mod rescoring;
mod resuming;
mod rollouts;
mod scheduling;
mod zero_weight;
