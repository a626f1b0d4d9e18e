#!/usr/bin/env bash
# Checks licences, advisories, versions and sources of all dependencies against deny.toml.
#
# Exit codes: 0 all are allowed, 1 one is not (or the exit code of `cargo deny`), 69 cargo-deny is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo 'deny: there is no cargo-deny: cargo install --locked cargo-deny' >&2
    exit 69
fi
cargo deny --locked check
