//! The most memory this process has held, where the system tells (Linux).

/// Starts a new maximum.
pub fn reset_peak() {
    // Without it the figure is that of the whole process so far, which is still an upper bound.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Most bytes resident since [`reset_peak`].
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
