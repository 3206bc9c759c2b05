//! What the program is made of: licences, sources and build scripts of all crates, from `cargo metadata` alone.
//!
//! `scripts/supply_chain.sh` looks further (advisories, duplicates, crates nobody uses) where cargo-deny and
//! cargo-machete are installed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences that may be passed on with a program under Apache-2.0.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What a build script would say that gets something from elsewhere.
const REACHING: [&str; 10] = [
    "std::net",
    "TcpStream",
    "reqwest",
    "ureq",
    "Command::new(\"curl\"",
    "Command::new(\"wget\"",
    "Command::new(\"git\"",
    "git2::",
    "hyper::",
    "attohttpc",
];

/// All crates that are built on this system: others need not be there.
fn packages() -> Vec<Value> {
    let compiler = output(Command::new("rustc").arg("-vV"));
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let metadata: Value = serde_json::from_str(&output(&mut cargo)).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// What a command that must work says.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Whether an SPDX expression can be met by the licences above.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    let known = |name: &str| LICENCES.contains(&name.trim());
    plain.split(" AND ").all(|part| part.split(" OR ").any(known))
}

#[test]
fn every_licence_and_source_is_known() {
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(
            allowed(licence),
            "{name} is under {licence:?}: see whether that is compatible, and add it to LICENCES"
        );
        let source = package["source"].as_str();
        let known =
            source.is_none_or(|source| source == "registry+https://github.com/rust-lang/crates.io-index");
        assert!(known, "{name} comes from {source:?}");
    }
}

#[test]
fn no_build_script_gets_anything_from_elsewhere() {
    let mut read = 0;
    for package in packages() {
        let of_build = |target: &&Value| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "custom-build"))
        };
        for target in package["targets"].as_array().expect("targets").iter().filter(of_build) {
            // Crates of other systems are not there.
            let Ok(text) = std::fs::read_to_string(Path::new(target["src_path"].as_str().expect("a path")))
            else {
                continue;
            };
            read += 1;
            for word in REACHING {
                assert!(!text.contains(word), "the build script of {} says {word}", package["name"]);
            }
        }
    }
    assert!(read > 10, "{read} build scripts were read");
}

#[test]
fn expressions_are_read() {
    for (expression, is) in [
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression), is, "{expression}");
    }
}
