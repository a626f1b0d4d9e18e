#!/usr/bin/env bash
# Type-checks the library and the program with the oldest Rust that Cargo.toml promises (rust-version), in target/msrv. rustup
# installs that version.
#
# Exit codes: 0 it compiles, 1 it does not, or a package promises another version, 69 that Rust cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'msrv: %s\n' "$*" >&2; }

promised() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$1"; }

version=$(promised Cargo.toml)
for manifest in web/Cargo.toml web/bindgen/Cargo.toml; do
    if [[ $(promised "$manifest") != "$version" ]]; then
        say "$manifest promises Rust $(promised "$manifest"), Cargo.toml $version"
        exit 1
    fi
done

cargo=(cargo)
if [[ $(rustc --version 2>/dev/null) != "rustc $version."* ]]; then
    if ! command -v rustup >/dev/null; then
        say "this is $(rustc --version), and there is no rustup to get Rust $version"
        exit 69
    fi
    if ! rustup toolchain install "$version" --profile minimal --no-self-update; then
        say "rustup cannot get Rust $version"
        exit 69
    fi
    cargo=(cargo "+$version")
fi

check() {
    printf '\n== Rust %s: cargo check %s\n' "$version" "$*"
    "${cargo[@]}" check --locked --target-dir target/msrv "$@"
}

check --lib --bins
check --lib --no-default-features
check --lib --no-default-features --features train,pth
