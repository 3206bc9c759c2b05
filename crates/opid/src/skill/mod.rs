//! Skills: advice drawn from finished episodes, and where it is used.

pub mod analyzer;
pub mod goal;
pub mod hindsight;
mod household;
pub mod phrases;
pub mod rescore;
pub mod route;
