#!/usr/bin/env bash
# Licences, advisories, sources and duplicates of all crates (cargo-deny), and crates nobody uses (cargo-machete), where
# these are installed: cargo install cargo-deny cargo-machete --locked. Advisories need the network; without it all else
# is checked. Called by .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check licenses bans sources
    cargo deny check advisories || {
        # With a database it is an advisory; without one, the way to the database is what went wrong.
        databases="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs"
        [ -n "$(find "$databases" -mindepth 1 -maxdepth 1 -type d 2>/dev/null)" ] && exit 1
        echo "supply chain: the database of advisories cannot be reached; advisories are not checked"
    }
else
    echo "supply chain: no cargo-deny; licences, sources and build scripts are checked by cargo test -p opid-hostile"
fi
if cargo machete --version >/dev/null 2>&1; then
    cargo machete
else
    echo "supply chain: no cargo-machete; unused crates are not looked for"
fi
