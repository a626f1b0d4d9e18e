#!/usr/bin/env bash
# The page and the library in a real browser, where one is installed: builds web/dist, makes networks and what they say
# natively, and compares in headless Chromium. Installs the compiler for WebAssembly; says SKIPPED and why where anything is missing.
#
#   scripts/test_web.sh        all of it
#   scripts/test_web.sh build  builds web/dist and gets what the test needs, no more
#
# Exit codes: 0 right or skipped, 64 wrong arguments, 1 something is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
    '' | build) ;;
    *)
        printf 'unknown argument %s; usage: scripts/test_web.sh [build]\n' "$1" >&2
        exit 64
        ;;
esac

skip() {
    printf 'SKIPPED %s: %s\n' "the browser" "$*"
    exit 0
}

if ! command -v "${CHROMIUM:-chromium}" >/dev/null; then skip "there is no chromium"; fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then skip "there is no node with npm"; fi
if ! scripts/web.sh install; then skip "there is no compiler for WebAssembly"; fi
if [[ ! -d web/test/node_modules/playwright-core ]]; then
    (cd web/test && npm ci --silent --no-audit --no-fund) || skip "npm cannot get playwright-core"
fi

scripts/web.sh
if [[ ${1:-} == build ]]; then exit; fi
OCELLI_TEST_BROWSER=$PWD/target/browser cargo test --quiet --locked --test all -- browser::
node web/test/end_to_end.mjs web/dist target/browser
node web/test/served.mjs "${CARGO_TARGET_DIR:-target}/debug/ocelli" web/dist target/browser
