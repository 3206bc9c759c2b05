//! Advantages: from the scores of finished episodes to the weight of every response token.
//!
//! Everything here is a pure function in f64. A *row* is one step of one episode (a prompt and a
//! response); the rows of one episode form a *trajectory*, the trajectories of one task a *group*.
//! Token sequences hold response tokens only, so there is no padding and no mask.
//!
//! Symbols: `S` score of a row, `t` skill token signal, `w` weight, `A` advantage.

pub mod critical;
pub mod group;
pub mod grpo;
pub mod opid;
pub mod returns;
pub mod reward;
