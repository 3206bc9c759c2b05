//! Skills: advice drawn from finished episodes, and where it is used.

pub mod route;
