//! Losses of single tokens with their derivatives, and how tokens are averaged.
//!
//! Everything is a pure function in f64 of one token's log-probabilities and advantage; a trainer
//! multiplies the derivative by the token's weight ([`aggregate`]) and feeds it to the model.

pub mod aggregate;
pub mod kl;
pub mod logits;
pub mod policy;
