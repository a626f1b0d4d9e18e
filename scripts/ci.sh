#!/usr/bin/env bash
# Runs the tests of one system as the workflows do. A failed step leaves its output in target/ci, one file per step.
#
#   scripts/ci.sh linux     make test: every check, through Vulkan on Mesa's software adapter, on SwiftShader, and in Chromium
#   scripts/ci.sh macos     lints, tests, and the operations again with bounds checks in the shaders, through Metal
#   scripts/ci.sh windows   the same through Direct3D 12; gets DXC, and WARP, the software adapter, from Microsoft
#   scripts/ci.sh           the one of these that fits this system
#
# WGPU_BACKEND selects another interface to the GPU. The script must run under bash 3.2, the version of macOS.
#
# Exit codes: 0 all passed, 1 a step failed, 64 wrong arguments.
set -euo pipefail
cd "$(dirname "$0")/.."

# README.md says from which version on DXC can be used; since then one file of it is enough.
DXC=https://github.com/microsoft/DirectXShaderCompiler/releases/download/v1.8.2505.1/dxc_2025_07_14.zip
WARP=https://www.nuget.org/api/v2/package/Microsoft.Direct3D.WARP/1.0.17

out=target/ci
built=${CARGO_TARGET_DIR:-target}/debug
failed=

say() { printf 'ci: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# step NAME COMMAND...: goes on after a failure, so that one run tells all of them.
step() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    if "$@" 2>&1 | tee "$out/$name.txt"; then
        rm "$out/$name.txt"
    else
        failed="$failed $name"
    fi
}

end() {
    if [[ -z $failed ]]; then
        printf '\nci: all passed\n'
        exit 0
    fi
    about >"$out/system.txt" 2>&1
    say "failed:$failed; what they said is in $out"
    exit 1
}

about() {
    uname -a
    rustc --version --verbose || true
    cargo --version || true
    env | grep '^\(OCELLI\|VK\|WGPU\)_' || true
    "$built/ocelli" devices || true
}

# Toolchains of the smallest profile lack them.
provide_components() {
    if ! have rustup; then return; fi
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

# unpack URL FILE FOLDER: one file of a zip archive.
# shellcheck disable=SC2329 # called by a step
unpack() {
    local archive
    archive=$(mktemp)
    curl --fail --silent --show-error --location --retry 5 --output "$archive" "$1" &&
        unzip -q -o -j "$archive" "$2" -d "$3" &&
        rm "$archive"
}

# Beside the program, and beside the tests: there Windows looks first.
# shellcheck disable=SC2329 # called by a step
provide_libraries() {
    mkdir -p "$built/deps" || return
    if [[ ! -e $built/dxcompiler.dll ]]; then unpack "$DXC" bin/x64/dxcompiler.dll "$built" || return; fi
    if [[ ! -e $built/d3d10warp.dll ]]; then unpack "$WARP" build/native/bin/x64/d3d10warp.dll "$built" || return; fi
    cp "$built/dxcompiler.dll" "$built/d3d10warp.dll" "$built/deps/"
}

# What of `make test` is not of Linux alone. Formatting, documentation and the page are the same everywhere.
tests() {
    step lints cargo clippy --locked --all-targets -- -D warnings
    step build cargo test --locked --no-run
    if [[ $failed == *build* ]]; then return; fi
    step adapters "$built/ocelli" devices
    step tests cargo test --locked --no-fail-fast
    step operations env OCELLI_TEST_CHECKED=1 cargo test --locked --test all -- ops:: kernels::
}

case ${1:-$(uname -s)} in
    linux | Linux) system=linux ;;
    macos | Darwin) system=macos ;;
    windows | MINGW* | MSYS*) system=windows ;;
    *)
        say "unknown system ${1:-$(uname -s)}; usage: scripts/ci.sh [linux|macos|windows]"
        exit 64
        ;;
esac

rm -rf "$out"
mkdir -p "$out"
provide_components
case $system in
    linux) step checks make test ;;
    macos) tests ;;
    windows)
        export WGPU_BACKEND=${WGPU_BACKEND:-dx12}
        step libraries provide_libraries
        tests
        ;;
esac
end
