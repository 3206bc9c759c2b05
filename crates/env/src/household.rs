//! Household games in the manner of ALFWorld, made up on the fly.

pub mod statistics;
