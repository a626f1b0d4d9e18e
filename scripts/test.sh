#!/usr/bin/env bash
# Every check of the repository, in the order in which it is cheapest to fail. `make test` runs it after setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

SWIFTSHADER=/usr/lib/chromium/vk_swiftshader_icd.json

step() {
    local title=$1
    shift
    printf '\n== %s\n' "$title"
    "$@"
}

# Drivers warn when there is no folder for their sockets.
if [[ -z ${XDG_RUNTIME_DIR:-} ]]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

step 'format' cargo fmt --all --check
step 'lints' cargo clippy --locked --all-targets -- -D warnings
step 'lints of the library alone' cargo clippy --locked --no-default-features --lib -- -D warnings
step 'lints of the library with training' cargo clippy --locked --no-default-features --features train --lib -- -D warnings
step 'documentation' env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
rm -rf target/shaders
step 'tests' env OCELLI_TEST_SHADERS=target/shaders cargo test --locked
step 'operations again, shaders with bounds checks' env OCELLI_TEST_CHECKED=1 cargo test --locked --test all ops::
if [[ -e $SWIFTSHADER ]]; then
    # The name changed; old loaders know only the first, new ones prefer the second.
    step 'operations again, on SwiftShader' \
        env VK_ICD_FILENAMES=$SWIFTSHADER VK_DRIVER_FILES=$SWIFTSHADER cargo test --locked --test all ops::
else
    printf '\n== operations again, on SwiftShader\nskipped: SwiftShader is not at %s (install chromium to run)\n' "$SWIFTSHADER"
fi
step 'shaders by the compilers of all systems' scripts/check_shaders.sh tested
step 'in a browser' scripts/test_web.sh
printf '\nall checks passed in %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
