//! The most memory this process has held, where the system tells (Linux).

use crate::memory::Memory;

/// Starts a new maximum.
pub fn reset_peak() {
    // Without it the figure is that of the whole process so far, which is still an upper bound.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Most bytes resident since [`reset_peak`].
pub fn peak() -> Option<u64> {
    Some(Memory::now()?.peak)
}
