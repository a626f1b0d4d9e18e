#!/usr/bin/env bash
# Tests the Windows program on Linux, through Vulkan and Direct3D 12. MinGW builds it. Wine runs it in a folder with Debian 13.
# Wine's Direct3D 12 computes with Mesa's software adapter. Microsoft's FXC compiles the shaders.
#
#   scripts/test_windows.sh            installs what is missing, builds, runs everything
#   scripts/test_windows.sh quick      the program only, a few minutes; prints SKIPPED and the reason if Wine is not installed
#   scripts/test_windows.sh install    installs what is missing
#   scripts/test_windows.sh program    the program only, with each family of networks
#   scripts/test_windows.sh operations the operations and plans through Direct3D 12, with a table of their largest errors
#   scripts/test_windows.sh system     the tests of files, locks, paths and stopping
#   scripts/test_windows.sh shaders    every kernel in HLSL 5.1 through FXC: how many it refuses, how long it takes for each network
#   scripts/test_windows.sh run PROGRAM.exe ARGUMENTS...   runs any program in this Wine, in the current folder
#
# Wine and Debian are in one folder: $OCELLI_WINDOWS_DIR, or ocelli/windows in the cache (2.5 GB). Builds are in target/windows.
# Mounts and processes have their own namespaces. To stop a run early, send SIGKILL to its `unshare` process.
#
# Exit codes: 0 passed or skipped, 1 a check failed, 64 wrong arguments, 69 something is missing.
set -euo pipefail
called_from=$PWD
cd "$(dirname "$0")/.."

TARGET=x86_64-pc-windows-gnu
OUT=target/windows/build
WORK=target/windows/work
PACKAGES=(wine wine64 libwine xvfb mesa-vulkan-drivers libvulkan1)

: "${HOME:=$(cd ~ && pwd)}"
dir=${OCELLI_WINDOWS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ocelli/windows}
root=$dir/debian
compiler=$dir/d3dcompiler_47.dll

say() { printf 'windows: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo --preserve-env=WGPU_BACKEND,OCELLI_TEST_ERRORS "$@"; fi; }

# --- what it needs ----------------------------------------------------------------------------------------------------

have_target() { [[ -d $(rustc --print sysroot)/lib/rustlib/$TARGET/lib ]]; }
have_source() { [[ -e $(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock ]]; }

# What is missing, one a line.
missing() {
    if ! have x86_64-w64-mingw32-gcc; then echo "gcc-mingw-w64-x86-64"; fi
    if ! have_target && ! have_source; then echo "Rust's target $TARGET, or rust-src"; fi
    if [[ ! -e $root/.ready ]]; then echo "Debian 13 with Wine in $root"; fi
    if [[ ! -e $compiler ]]; then echo "Microsoft's FXC in $compiler"; fi
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >/dev/null; }

install_rust() {
    if have_target || have_source || ! have rustup; then return 0; fi
    timeout 300 rustup target add "$TARGET" >/dev/null 2>&1 || timeout 300 rustup component add rust-src >/dev/null 2>&1 || true
}

install_debian() {
    if [[ -e $root/.ready ]]; then return; fi
    say "making a Debian 13 with Wine in $root, which takes some minutes"
    as_root rm -rf "$root.part"
    as_root debootstrap --variant=minbase trixie "$root.part" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$dir/debootstrap.log" 2>&1
    as_root chroot "$root.part" env DEBIAN_FRONTEND=noninteractive sh -c \
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends ${PACKAGES[*]} && apt-get clean" \
        >"$dir/apt.log" 2>&1
    as_root touch "$root.part/.ready"
    # As a whole or not at all.
    as_root rm -rf "$root"
    as_root mv "$root.part" "$root"
}

# Microsoft's own file, as the package webgpu brings it.
install_compiler() {
    local folder
    if [[ -e $compiler ]]; then return; fi
    folder=$(mktemp -d)
    (cd "$folder" && npm pack --silent webgpu >/dev/null && tar -xzf webgpu-*.tgz package/dist/win32-x64/d3dcompiler_47.dll)
    mv "$folder/package/dist/win32-x64/d3dcompiler_47.dll" "$compiler.part"
    mv "$compiler.part" "$compiler"
    rm -rf "$folder"
}

install() {
    local left
    mkdir -p "$dir"
    if have apt-get; then
        have x86_64-w64-mingw32-gcc || apt install -y --no-install-recommends gcc-mingw-w64-x86-64 || true
        have debootstrap || [[ -e $root/.ready ]] || apt install -y --no-install-recommends debootstrap || true
    fi
    install_rust
    install_debian || say "debootstrap failed, see $dir/debootstrap.log and $dir/apt.log"
    install_compiler || say "npm cannot get the package webgpu"
    left=$(missing)
    if [[ -n $left ]]; then
        say "missing: ${left//$'\n'/; }"
        exit 69
    fi
}

# --- building ---------------------------------------------------------------------------------------------------------

# cargo for Windows: with rustup's standard library, or the one that is built from its source.
cross() {
    local command=(cargo "$1" --locked --target "$TARGET" --target-dir "$OUT")
    shift
    # Set to nothing it would build all anew.
    if ! have_target; then command=(env RUSTC_BOOTSTRAP=1 "${command[@]}" -Zbuild-std); fi
    "${command[@]}" "$@"
}

build_program() {
    cross build --bin ocelli
    cargo build --locked --bin ocelli
    mkdir -p "$WORK"
    cp "${CARGO_TARGET_DIR:-target}/debug/ocelli" "$WORK/ocelli"
    # It must lie beside the program, and beside the tests.
    cp "$compiler" "$OUT/$TARGET/debug/"
    mkdir -p "$OUT/$TARGET/debug/deps"
    cp "$compiler" "$OUT/$TARGET/debug/deps/"
}

# All that is run: the program, and the tests.
build_all() {
    install
    build_program
    TESTS=$(build_tests)
}

# Prints the path of the test binary.
build_tests() {
    cross test --no-run --test all --message-format=json | sed -n 's/.*"executable":"\([^"]*\.exe\)".*/\1/p' | grep /all- | tail -n 1
}

# --- running ----------------------------------------------------------------------------------------------------------

# Within the namespaces: mounts, Xvfb, the command.
# shellcheck disable=SC2016
OUTSIDE='
    root=$1 repository=$2 folder=$3 inside=$4
    shift 4
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mkdir -p "$root/$repository" "$root/$folder"
    mount --bind "$repository" "$root/$repository"
    if ! mountpoint -q "$root/$folder" && [ ! -e "$root/$folder/." -o -z "$(ls -A "$root/$folder")" ]; then
        mount --bind "$folder" "$root/$folder"
    fi
    exec chroot "$root" /bin/bash -c "$inside" inside "$folder" "$@"
'
# shellcheck disable=SC2016
INSIDE='
    Xvfb :9 -screen 0 320x240x24 -nolisten tcp >/dev/null 2>&1 &
    for _ in {1..100}; do if [[ -e /tmp/.X11-unix/X9 ]]; then break; fi; sleep 0.1; done
    # Its server ends at once where TMPDIR is set.
    unset TMPDIR
    export HOME=/root DISPLAY=:9 XDG_RUNTIME_DIR=/tmp WINEPREFIX=/opt/wine WINEDEBUG=${WINEDEBUG:--all}
    export WINEDLLOVERRIDES="d3dcompiler_47=n;mscoree,mshtml="
    # A folder in which paths without a drive are those of Linux.
    export TMP="Z:\\tmp" TEMP="Z:\\tmp"
    if [[ ! -d $WINEPREFIX ]]; then wineboot -i >/dev/null 2>&1; wineserver -w; fi
    cd "$1" && shift
    "$@"
    code=$?
    wineserver -k 2>/dev/null
    exit $code
'

# Runs a command in the Debian, in this repository.
inside() { inside_of "$PWD" "$@"; }

inside_of() {
    local folder=$1
    shift
    # unshare waits for its child where it is asked to end, and takes it along where it is killed.
    as_root unshare --mount --pid --fork --kill-child bash -euc "$OUTSIDE" outside \
        "$root" "$PWD" "$folder" "$INSIDE" "$@"
}

PROGRAM=$OUT/$TARGET/debug/ocelli.exe
failed=0

step() {
    local title=$1
    shift
    printf '\n== Windows: %s\n' "$title"
    "$@" || failed=1
}

# program [quick]
program() { inside bash scripts/windows/program.sh "$PROGRAM" "$WORK/ocelli" "$WORK/run" "$@"; }

# What a test binary prints without the names of the tests that passed.
tests() { inside wine "$TESTS" --test-threads 2 "$@"; }

# The largest error of each operation in units of what the rule allows.
table() {
    printf '\nlargest error by the rule, through Direct3D 12\n'
    awk '{ split($1, part, "::"); key = part[2] " " $2; if ($3 > worst[key]) worst[key] = $3; n[key]++ }
        END { for (key in n) printf "%-28s %8d comparisons %.2f\n", key, n[key], worst[key] }' "$1" | sort
}

operations() {
    local code=0
    rm -f "$WORK/errors"
    OCELLI_TEST_ERRORS=$WORK/errors WGPU_BACKEND=dx12 tests ops:: kernels:: plans:: || code=$?
    table "$WORK/errors"
    return "$code"
}

# Every kernel of the networks through FXC, and what its distinct kernels take for each network on a GPU, in f32.
shaders() {
    local texts=$WORK/shaders said=$WORK/fxc.txt
    rm -rf "$texts"
    mkdir -p "$texts"
    OCELLI_TEST_SHADERS=$PWD/$texts cargo test --quiet --locked --test all -- shaders:: >/dev/null
    x86_64-w64-mingw32-gcc -O1 -Wall -Wextra -o "$WORK/fxc.exe" scripts/windows/fxc.c
    cp "$compiler" "$WORK/"
    # The first line of each file says how it is compiled.
    awk 'FNR == 1 { print FILENAME, $5, $3 }' "$texts"/cs_5_1/*.hlsl >"$WORK/list"
    inside wine "$WORK/fxc.exe" "$WORK/list" >"$said" || true
    awk '/^FAILED/ { print; bad++; for (i = 0; i < 3 && getline > 0; i++) print "  " $0 } /^ok/ { good++ }
        END { print good + 0 " texts compile, " bad + 0 " are refused" }' "$said"
    per_network "$texts/networks.tsv" "$said"
    ! grep -q '^FAILED' "$said" && grep -q '^ok' "$said"
}

# NETWORKS.TSV WHAT-FXC-SAID: network, training or inference, kernels, seconds of the processor.
per_network() {
    awk -F '\t' '
        FILENAME == ARGV[1] { if ($3 == "Tiled" && $4 == "F32" && !seen[$0]++) { of[$5] = of[$5] "\n" $1 " " $2 } next }
        split($0, word, " ") == 3 && word[1] == "ok" && sub(/\.plain\.hlsl$/, "", word[3]) {
            sub(/.*\//, "", word[3])
            count = split(of[word[3]], users, "\n")
            for (i = 2; i <= count; i++) { kernels[users[i]]++; ms[users[i]] += word[2] }
        }
        END { for (user in kernels) printf "%-26s %4d kernels %6.1f s\n", user, kernels[user], ms[user] / 1000 }' "$@" | sort
}

# The tests of what differs between systems; the rest of them knows no system.
SYSTEM=(cli:: data:: exchange:: portable:: pth:: serve:: training:: weights::)

case ${1:-all} in
    install) install ;;
    quick)
        left=$(missing)
        if [[ -n $left ]]; then
            printf 'SKIPPED Windows and Direct3D 12: missing: %s (make test-windows installs it)\n' "${left//$'\n'/; }"
            exit 0
        fi
        build_program
        step 'the program' program quick
        ;;
    all)
        build_all
        step 'the program' program
        step 'kernels by FXC' shaders
        step 'operations and plans through Direct3D 12' operations
        step 'files, locks, paths, stopping' tests "${SYSTEM[@]}"
        ;;
    program)
        install
        build_program
        step 'the program' program
        ;;
    operations)
        build_all
        step 'operations and plans through Direct3D 12' operations
        ;;
    system)
        build_all
        step 'files, locks, paths, stopping' tests "${SYSTEM[@]}"
        ;;
    shaders)
        install
        step 'kernels by FXC' shaders
        ;;
    run)
        shift
        install
        inside_of "$called_from" wine "$@"
        ;;
    *)
        say "unknown argument $1; usage: scripts/test_windows.sh [quick | install | program | operations | system | shaders | run PROGRAM ARGUMENTS...]"
        exit 64
        ;;
esac
exit "$failed"
