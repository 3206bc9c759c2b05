//! One target of `opid-hostile`, the one that this program is named after, for cargo-fuzz.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static RUN: OnceLock<fn(&[u8])> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        // A panic of a library that is made an error is none: only one that gets out of the target ends the program,
        // which libFuzzer's own hook does for each.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        let target = opid_hostile::targets().into_iter().find(|target| target.name == env!("CARGO_BIN_NAME"));
        target.expect("the program is named after a target").run
    });
    run(bytes);
});
