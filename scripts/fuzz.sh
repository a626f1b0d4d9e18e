#!/usr/bin/env bash
# Fuzzes every reader of files for SECONDS each, one after the other. The first inputs come from fuzz/seeds.py.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
#
# An input that crashes a reader stays in fuzz/artifacts/TARGET. `cargo fuzz run TARGET FILE` runs it again.
#
# Exit codes: 0 nothing was found, 1 something was found, 64 wrong arguments, 69 a tool is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'fuzz: %s\n' "$*" >&2; }

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
    say 'usage: scripts/fuzz.sh SECONDS [TARGET...]'
    exit 64
fi
seconds=$1
shift
targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
for target in "${targets[@]}"; do
    if [[ ! -e fuzz/fuzz_targets/$target.rs ]]; then
        say "there is no target $target"
        exit 64
    fi
done

if ! cargo fuzz --version >/dev/null 2>&1; then
    say 'there is no cargo-fuzz: cargo install --locked cargo-fuzz'
    exit 69
fi
# The compiler's flags for fuzzers are those of a nightly one.
cargo=(cargo +nightly)
if ! command -v rustup >/dev/null; then
    cargo=(env RUSTC_BOOTSTRAP=1 cargo)
elif ! rustup run nightly rustc --version >/dev/null 2>&1; then
    if ! rustup toolchain install nightly --profile minimal --no-self-update; then
        say 'rustup cannot get the nightly toolchain'
        exit 69
    fi
fi

python3 fuzz/seeds.py
found=
for target in "${targets[@]}"; do
    printf '\n== %s\n' "$target"
    # A picture may take 1 GiB, and what watches over memory takes as much again.
    "${cargo[@]}" fuzz run "$target" -- -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 || found="$found $target"
done

if [[ -n $found ]]; then
    say "failed:$found; what ended them is in fuzz/artifacts"
    exit 1
fi
