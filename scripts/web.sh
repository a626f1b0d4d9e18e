#!/usr/bin/env bash
# Builds the page and the package for browsers into web/dist, which any static server can serve.
#
#   scripts/web.sh          installs the tools for WebAssembly if they are missing, and builds
#   scripts/web.sh install  only installs the tools
#
# Rust's WebAssembly target comes from rustup. If its server cannot be reached, Debian's Rust for Firefox is used instead. It is
# unpacked into a folder of the cache, because it cannot be installed beside rustup's Rust.
#
# Exit codes: 0 done, 64 wrong arguments, 69 something is missing, 1 it does not build or is too large.
set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=wasm32-unknown-unknown
OUT=web/dist
LLVM=22
PACKAGES=(rustc-web libstd-rust-web-dev libstd-rust-web-1.96 rust-web-src)
MAX_BYTES=$((2 * 1000 * 1000))
MAX_COMPRESSED=$((800 * 1000))

: "${HOME:=$(cd ~ && pwd)}"
debian=${XDG_CACHE_HOME:-$HOME/.cache}/ocelli/rust-web
linker=/usr/lib/llvm-$LLVM/bin/wasm-ld

say() { printf 'web: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- the compiler -----------------------------------------------------------------------------------------------------

have_target() { [[ -d $(rustc --print sysroot)/lib/rustlib/$TARGET/lib ]]; }
have_debian() { [[ -x $debian/usr/bin/rustc && -d $debian/usr/lib/rustlib/src && -x $linker ]]; }

# Runs apt-get as root, without questions.
apt() {
    local command=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@")
    if [[ $(id -u) != 0 ]]; then command=(sudo "${command[@]}"); fi
    "${command[@]}" >/dev/null
}

install_debian() {
    local folder package
    for package in apt-get dpkg; do
        if ! have $package; then return 1; fi
    done
    say "unpacking Debian's Rust for WebAssembly into $debian"
    if [[ ! -x $linker ]]; then
        apt install -y --no-install-recommends lld-$LLVM llvm-$LLVM || return 1
    fi
    folder=$(mktemp -d)
    if ! (cd "$folder" && apt-get -qq download "${PACKAGES[@]}" 2>/dev/null); then
        rm -rf "$folder"
        return 1
    fi
    mkdir -p "$folder/root" "$(dirname "$debian")"
    for package in "$folder"/*.deb; do
        if ! dpkg -x "$package" "$folder/root"; then
            rm -rf "$folder"
            return 1
        fi
    done
    # As a whole or not at all.
    rm -rf "$debian"
    mv "$folder/root" "$debian"
    rm -rf "$folder"
    have_debian
}

install_compiler() {
    if have_target || have_debian; then return; fi
    if have rustup; then
        say "adding Rust's target $TARGET"
        if timeout 120 rustup target add "$TARGET" >/dev/null 2>&1; then return; fi
        say "rustup cannot reach its server"
    fi
    if ! install_debian; then
        say "there is no compiler for WebAssembly: run \`rustup target add $TARGET\`, or on Debian or Ubuntu install" \
            "lld-$LLVM and llvm-$LLVM and see to it that apt knows ${PACKAGES[*]}"
        exit 69
    fi
}

compile() {
    # Every browser that has WebGPU has these.
    local -x RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-C target-feature=+simd128"
    local arguments=(build --locked --profile web --package ocelli-web --target "$TARGET" --target-dir target/web)
    if have_target; then
        cargo "${arguments[@]}"
        return
    fi
    # Debian has the standard library as source, and its own tools do not know the version of rustup's cargo.
    RUSTC_BOOTSTRAP=1 RUSTC=$debian/usr/bin/rustc \
        LD_LIBRARY_PATH=$debian/usr/lib/x86_64-linux-gnu:$debian/usr/lib \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        cargo "${arguments[@]}" -Zbuild-std=std,panic_abort
}

# --- the folder -------------------------------------------------------------------------------------------------------

# Binaryen is not necessary: an old one may not know what a new compiler writes.
optimise() {
    local features=(--enable-bulk-memory --enable-mutable-globals --enable-nontrapping-float-to-int --enable-sign-ext
        --enable-reference-types --enable-multivalue --enable-simd)
    if ! have wasm-opt; then return; fi
    if wasm-opt -Os "${features[@]}" "$1" -o "$1.smaller" 2>/dev/null; then
        mv "$1.smaller" "$1"
    else
        rm -f "$1.smaller"
    fi
}

build() {
    local module=$OUT/wasm/ocelli_web_bg.wasm bytes compressed file
    compile
    rm -rf "$OUT"
    mkdir -p "$OUT/wasm"
    cargo run --quiet --locked --package ocelli-bindgen -- target/web/$TARGET/web/ocelli_web.wasm "$OUT/wasm"
    optimise "$module"
    for file in web/page/* web/ocelli.js web/ocelli.d.ts web/source.js web/worker.js web/layers.js web/explain.js \
        web/package.json; do
        cp -r "$file" "$OUT/"
    done
    bytes=$(wc -c <"$module")
    compressed=$(gzip -9 <"$module" | wc -c)
    printf 'web: %s, WebAssembly of %d kB, %d kB compressed\n' "$OUT" $((bytes / 1000)) $((compressed / 1000))
    if ((bytes > MAX_BYTES || compressed > MAX_COMPRESSED)); then
        say "that is more than $((MAX_BYTES / 1000)) kB, or $((MAX_COMPRESSED / 1000)) kB compressed"
        exit 1
    fi
}

case ${1:-build} in
    install) install_compiler ;;
    build)
        install_compiler
        build
        ;;
    *)
        say "unknown argument $1; usage: scripts/web.sh [install]"
        exit 64
        ;;
esac
