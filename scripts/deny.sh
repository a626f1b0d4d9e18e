#!/usr/bin/env bash
# Licences, advisories, versions and sources of all dependencies against deny.toml.
#
# Exit codes: 0 nothing against them, 1 something is (or what `cargo deny` itself ends with), 69 there is no cargo-deny.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo 'deny: there is no cargo-deny: cargo install --locked cargo-deny' >&2
    exit 69
fi
cargo deny --locked check
