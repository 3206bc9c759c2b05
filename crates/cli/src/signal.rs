//! Ctrl-C, and the signal that schedulers send before they end a program.

use anyhow::Context;
use opid::interrupt::Interrupt;

/// What programs exit with that a Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Makes the first signal a wish to stop cleanly, and the second an end at once.
///
/// # Errors
/// The system does not let signals be caught.
pub fn catch() -> anyhow::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let shared = interrupt.clone();
    let handler = move || {
        if shared.is_set() {
            // A checkpoint that is half written stays beside its place, and is not taken for one.
            std::process::exit(i32::from(INTERRUPTED));
        }
        shared.set();
        eprintln!("stopping at the next clean place; again to stop at once");
    };
    ctrlc::set_handler(handler)
        .context("cannot catch interrupts, which would lose what was learnt since a checkpoint")?;
    Ok(interrupt)
}
