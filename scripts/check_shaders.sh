#!/usr/bin/env bash
# Compiles every kernel of every network, in every variant, with the shader compilers of all systems that this machine has.
#
#   scripts/check_shaders.sh          uses the installed compilers; prints SKIPPED and the reason for each missing one
#   scripts/check_shaders.sh install  first gets DXC from PyPI, into a folder of the cache
#   scripts/check_shaders.sh tested   compiles the kernels that `cargo test` has written to OCELLI_TEST_SHADERS=target/shaders and has
#                                     validated as SPIR-V: fewer kernels, no bounds checks, and one profile of DXC for each
#
#   language                   compiler                                                        comes from
#   SPIR-V (Vulkan 1.1, 1.3)   spirv-val                                                       package spirv-tools
#   HLSL 6.0, 6.2              DXC; OCELLI_DXC names its library                               PyPI's compushady_lrtu
#   HLSL 5.1                   FXC; OCELLI_FXC names a program that takes "-T PROFILE -E ENTRY FILE"
#   MSL (Metal)                xcrun metal; elsewhere CXX (g++, clang++) reads it as C++       Xcode; a C++ compiler
#
# The shader sources stay in target/shaders, one folder per language. networks.tsv there lists which network uses which kernel.
#
# Exit codes: 0 all that was tried compiles, 1 something does not, 64 wrong arguments.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${HOME:=$(cd ~ && pwd)}"
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ocelli/dxc
LIBRARY=compushady/backends/libdxcompiler_x86_64.so
JOBS=$(getconf _NPROCESSORS_ONLN)

failed=0

say() { printf '%-18s %s\n' "$1" "${*:2}"; }
skip() { say "$1" "SKIPPED: ${*:2}"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Calls "$@" with each file of a list, several at a time; prints what is said of those that fail, and counts.
each() {
    local name=$1 list=$2 said count bad=0
    shift 2
    count=$(wc -l <"$list")
    said=$(mktemp)
    # shellcheck disable=SC2016 # expanded by the inner shell
    xargs -a "$list" -d '\n' -r -P "$JOBS" -n 1 bash -c \
        'out=$("${@:1:$#-1}" "${!#}" 2>&1) || printf "REFUSED %s\n%s\n" "${!#}" "${out:0:600}"' each "$@" >"$said"
    bad=$(grep -c '^REFUSED ' "$said" || true)
    head -n 60 "$said" >&2
    rm -f "$said"
    say "$name" "$count distinct texts, $bad refused"
    if ((bad > 0)); then failed=1; fi
}

# The files of a language, one for each distinct text.
distinct() {
    local list
    list=$(mktemp "$lists/XXXXXX")
    find "$texts/$1" -name "$which.$2" -exec sha256sum {} + | sort | awk '!seen[$1]++ { print $2 }' >"$list"
    echo "$list"
}

spirv() {
    if [[ $which != '*' ]]; then return; fi
    if ! have spirv-val; then
        skip "SPIR-V" "spirv-val is not installed (package spirv-tools)"
        return
    fi
    each "SPIR-V, 1.1" "$(distinct vulkan1.1 spv)" spirv-val --target-env vulkan1.1
    each "SPIR-V, 1.3" "$(distinct vulkan1.3 spv)" spirv-val --target-env vulkan1.3
}

install_dxc() {
    if [[ -e $CACHE/$LIBRARY ]]; then return; fi
    have python3 || return 1
    mkdir -p "$(dirname "$CACHE")"
    python3 -m pip --quiet download --no-deps --only-binary :all: --dest "$CACHE.new" compushady_lrtu || return 1
    # A wheel is a zip file; as a whole or not at all.
    python3 -m zipfile -e "$CACHE.new"/*.whl "$CACHE.new" && rm -rf "$CACHE" && mv "$CACHE.new" "$CACHE"
}

# The files for 6.2 whose text for 6.0 is another one, or none: those in half precision.
only_in_6_2() {
    local file
    # shellcheck disable=SC2086 # a pattern
    for file in "$texts"/cs_6_2/$which.hlsl; do
        # The first line says which profile it is.
        cmp -s <(tail -n +2 "$file") <(tail -n +2 "$texts/cs_6_0/${file##*/}" 2>/dev/null) || echo "$file"
    done
}

dxc() {
    local library=${OCELLI_DXC:-$CACHE/$LIBRARY} profile status said files
    for profile in cs_6_0 cs_6_2; do
        if ! have python3; then
            skip "DXC, $profile" "there is no python3"
        elif [[ ! -e $library ]]; then
            skip "DXC, $profile" "its library is not there (scripts/check_shaders.sh install gets it, or name it in OCELLI_DXC)"
        else
            status=0
            # shellcheck disable=SC2206 # a pattern
            files=("$texts/$profile"/$which.hlsl)
            if [[ $which != '*' && $profile == cs_6_2 ]]; then
                mapfile -t files < <(only_in_6_2)
                say "" "through cs_6_2 only those that are not in cs_6_0"
            fi
            said=$(scripts/dxc.py "$library" "$texts/$profile.times" "${files[@]}") || status=$?
            say "DXC, $profile" "${said:-ended with $status before it was through}"
            if ((status != 0)); then failed=1; fi
        fi
    done
}

fxc_one() {
    local told
    read -r _ told <"$1"
    # shellcheck disable=SC2086 # several arguments
    "$OCELLI_FXC" $told "$1"
}

fxc() {
    if [[ -z ${OCELLI_FXC:-} ]]; then
        skip "FXC, cs_5_1" "OCELLI_FXC names no program; FXC runs on Windows and under Wine only"
        return
    fi
    export -f fxc_one
    each "FXC, cs_5_1" "$(distinct cs_5_1 hlsl)" bash -c 'fxc_one "$1"' fxc
}

metal() {
    local compiler=${CXX:-}
    if have xcrun && xcrun --find metal >/dev/null 2>&1; then
        each "Metal" "$(distinct metal metal)" xcrun metal -std=macos-metal2.4 -fsyntax-only
        return
    fi
    for found in g++ clang++; do
        if [[ -z $compiler ]] && have $found; then compiler=$found; fi
    done
    if [[ -z $compiler ]]; then
        skip "Metal" "there is neither xcrun metal nor a C++ compiler"
        return
    fi
    # Not Apple's compiler: types are checked, against what tests/shaders/metal declares of the standard library. Many files at once,
    # each in a namespace of its own.
    local list batch
    list=$(distinct metal metal)
    split --lines=40 "$list" "$lists/batch-"
    for batch in "$lists"/batch-*; do
        awk 'BEGIN { print "#include <metal_stdlib>" } { print "namespace kernel" NR " {\n#include \"" $0 "\"\n}" }' \
            "$batch" >"$batch.cc"
    done
    printf '%s\n' "$lists"/batch-*.cc >"$lists/batches"
    each "Metal, as C++" "$lists/batches" "$compiler" -std=c++17 -fsyntax-only -w -I tests/shaders/metal
    say "" "of $(wc -l <"$list") distinct texts, 40 in each"
}

which='*'
texts=$PWD/target/shaders
case ${1:-} in
    '') ;;
    tested) which='*.plain' ;;
    install) install_dxc || say "DXC" "cannot be got from PyPI" ;;
    *)
        printf 'unknown argument %s; usage: scripts/check_shaders.sh [install|tested]\n' "$1" >&2
        exit 64
        ;;
esac

lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
if [[ $which == '*' ]]; then
    rm -rf "$texts"
    OCELLI_TEST_SHADERS=$texts OCELLI_TEST_SHADERS_ALL=1 cargo test --quiet --locked --test all -- shaders:: >/dev/null
fi
if [[ ! -e $texts/networks.tsv ]]; then
    skip "kernels" "none are in $texts"
    exit 0
fi
say "kernels" "$(cut -f 5 "$texts/networks.tsv" | sort -u | wc -l) by the tables of the networks," \
    "$(find "$texts/metal" -name '*.plain.metal' | wc -l) with those that a measurement may choose and those of tests"
spirv
dxc
fxc
metal
exit $failed
