//! Skills: advice drawn from finished episodes, and where it is used.

pub mod analyzer;
pub mod bank;
pub mod critical;
pub mod excerpt;
mod fault;
pub mod goal;
pub mod hindsight;
mod household;
pub mod inquiry;
pub mod literal;
pub mod noisy;
pub mod openai;
pub mod phrases;
pub mod policy;
pub mod replay;
pub mod reply;
pub mod rescore;
mod research;
pub mod route;
pub mod schedule;
pub mod shift;
mod shopping;
pub mod usage;
