#!/usr/bin/env bash
# Licences, advisories, sources and duplicates of all crates (cargo-deny), and crates nobody uses (cargo-machete), where
# these are installed: cargo install cargo-deny cargo-machete --locked. Advisories need the network; without it all else
# is checked. Called by .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline check licenses bans sources
    cargo deny check advisories || {
        # 1 is an advisory; what else goes wrong is the way to the database.
        [ -d "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" ] && exit 1
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
