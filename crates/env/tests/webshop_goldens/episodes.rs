//! Episodes, step by step.
use crate::Shared;
use libtest_mimic::Failed;
pub fn episodes(_: &Shared) -> Result<(), Failed> {
    Ok(())
}
