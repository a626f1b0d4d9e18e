#!/usr/bin/env bash
# Tests the page and the library in headless Chromium, if it is installed. Builds web/dist, computes results of networks natively,
# and compares them with the browser's. Installs the compiler for WebAssembly. If something is missing, prints SKIPPED and the reason.
#
#   scripts/test_web.sh        runs everything
#   scripts/test_web.sh build  only builds web/dist and installs what the test needs
#
# Exit codes: 0 passed or skipped, 1 a test failed, 64 wrong arguments.
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
