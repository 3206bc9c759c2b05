//! Episodes, step by step.
use libtest_mimic::Failed;
use crate::Shared;
pub fn episodes(_: &Shared) -> Result<(), Failed> { Ok(()) }
