#!/usr/bin/env bash
# Type-checks the library and the program for other systems. Nothing is linked, so only the Rust compiler is needed.
#
#   scripts/check_targets.sh [TARGET...]   all targets below, or the given ones; prints ok or the first error for each
#
# The standard library of a target comes from rustup. If its server cannot be reached, it is built from source (rust-src).
#
# Exit codes: 0 all are ok, 1 one is not, 69 nothing to check with.
set -euo pipefail
cd "$(dirname "$0")/.."

PROGRAM=(x86_64-pc-windows-gnu x86_64-pc-windows-msvc aarch64-pc-windows-msvc x86_64-apple-darwin aarch64-apple-darwin
    x86_64-unknown-linux-musl aarch64-unknown-linux-gnu)
# There is no terminal, but there are apps.
LIBRARY=(aarch64-linux-android)

sysroot=$(rustc --print sysroot)
failed=0

have_target() { [[ -d $sysroot/lib/rustlib/$1/lib ]]; }
have_source() { [[ -e $sysroot/lib/rustlib/src/rust/library/Cargo.lock ]]; }

# Gets the standard library of a target, or its source.
provide() {
    if have_target "$1" || ! command -v rustup >/dev/null; then return 0; fi
    if timeout 300 rustup target add "$1" >/dev/null 2>&1 || have_source; then return 0; fi
    timeout 300 rustup component add rust-src >/dev/null 2>&1 || true
}

# check TARGET WHAT CARGO'S-ARGUMENTS...
check() {
    local target=$1 what=$2 output
    local command=(cargo check --locked --quiet --message-format short --target "$target" --target-dir target/targets)
    shift 2
    provide "$target"
    if ! have_target "$target"; then
        if ! have_source; then
            printf '%-28s %-8s no standard library: run `rustup target add %s` or `rustup component add rust-src`\n' \
                "$target" "$what" "$target"
            failed=69
            return
        fi
        command=(env RUSTC_BOOTSTRAP=1 "${command[@]}" -Zbuild-std)
    fi
    if output=$(RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-D warnings" "${command[@]}" "$@" 2>&1); then
        printf '%-28s %-8s ok\n' "$target" "$what"
    else
        printf '%-28s %-8s %s\n' "$target" "$what" "$(grep -m 1 error <<<"$output" || tail -n 1 <<<"$output")"
        failed=1
    fi
}

wanted() { [[ ${#only[@]} == 0 || " ${only[*]} " == *" $1 "* ]]; }

only=("$@")
for target in "${only[@]}"; do
    if [[ " ${PROGRAM[*]} ${LIBRARY[*]} " != *" $target "* ]]; then PROGRAM+=("$target"); fi
done
for target in "${PROGRAM[@]}"; do
    if wanted "$target"; then check "$target" program --lib --bins; fi
done
for target in "${LIBRARY[@]}"; do
    if wanted "$target"; then check "$target" library --lib --no-default-features --features train,pth; fi
done
exit "$failed"
