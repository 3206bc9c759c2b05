//! The `opid` program: one file per command.

fn main() {}
