#!/usr/bin/env bash
# Checks that the version in Cargo.toml fits the changes of the public interface since the last release. The last release is the
# newest tag of the form v1.2.3 before this commit.
#
# Exit codes: 0 it fits, or there is no release yet, 1 a change needs a higher version, 69 cargo-semver-checks is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(git rev-parse --is-shallow-repository) == true ]]; then
    echo 'semver: this clone is shallow, so its tags may be missing: git fetch --unshallow --tags' >&2
    exit 1
fi
if ! released=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
    echo 'SKIPPED the check of versions: there is no tag v*, so nothing has been released'
    exit 0
fi
if ! cargo semver-checks --version >/dev/null 2>&1; then
    echo 'semver: there is no cargo-semver-checks: cargo install --locked cargo-semver-checks' >&2
    exit 69
fi
printf '== against %s\n' "$released"
cargo semver-checks --package ocelli --baseline-rev "$released"
