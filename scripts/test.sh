#!/usr/bin/env bash
# Every check of the repository. `make test` runs it after setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

SWIFTSHADER=/usr/lib/chromium/vk_swiftshader_icd.json

step() {
    local title=$1
    shift
    printf '\n== %s\n' "$title"
    "$@"
}

# --- beside the tests -------------------------------------------------------------------------------------------------
# Tests leave a good part of two processors idle. What needs no watching runs meanwhile, with what they leave.

beside=
told=

begin_beside() {
    told=$(mktemp)
    set -m # a process group, so that all of it can be ended
    nice -n 19 bash scripts/test.sh --beside >"$told" 2>&1 &
    beside=$!
    set +m
}

finish_beside() {
    local status=0
    wait "$beside" || status=$?
    beside=
    cat "$told"
    return $status
}

end() {
    if [[ -n $beside ]]; then kill -- "-$beside" 2>/dev/null || true; fi
    rm -rf "$told" "$runtime"
}

beside_the_tests() {
    # One pass for both: what needs the checks fails with any driver.
    local title='operations again, shaders with bounds checks' driver=()
    if [[ -e $SWIFTSHADER ]]; then
        # The name changed; old loaders know only the first, new ones prefer the second.
        title+=', on SwiftShader'
        driver=("VK_ICD_FILENAMES=$SWIFTSHADER" "VK_DRIVER_FILES=$SWIFTSHADER")
    else
        printf '\nskipped: a second driver, for SwiftShader is not at %s (install chromium to run)\n' "$SWIFTSHADER"
    fi
    step "$title" env OCELLI_TEST_CHECKED=1 "${driver[@]}" cargo test --locked --test all -- ops:: kernels::
    step 'the page for browsers' scripts/test_web.sh build
}

# Drivers warn when there is no folder for their sockets.
runtime=
if [[ -z ${XDG_RUNTIME_DIR:-} ]]; then
    runtime=$(mktemp -d)
    export XDG_RUNTIME_DIR=$runtime
fi

if [[ ${1:-} == --beside ]]; then
    beside_the_tests
    exit
fi

# --- in the order in which it is cheapest to fail ---------------------------------------------------------------------

trap end EXIT

step 'format' cargo fmt --all --check
step 'lints' cargo clippy --locked --workspace --all-targets -- -D warnings
step 'lints of the library alone' cargo clippy --locked --no-default-features --lib -- -D warnings
step 'lints of the library with training' cargo clippy --locked --no-default-features --features train --lib -- -D warnings
step 'documentation' env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
step 'building the tests' cargo test --locked --no-run
rm -rf target/shaders
begin_beside
step 'tests' env OCELLI_TEST_SHADERS=target/shaders cargo test --locked
finish_beside
step 'shaders by the compilers of all systems' scripts/check_shaders.sh tested
step 'in a browser' scripts/test_web.sh
printf '\nall checks passed in %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
