#!/usr/bin/env bash
# Builds the documentation of the library with each set of features. A link to an item that the set lacks is an error.
#
# Exit codes: 0 all are correct, 1 one is not; the others are built nevertheless.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=

document() {
    printf '\n== cargo doc --lib %s\n' "$*"
    RUSTDOCFLAGS="${RUSTDOCFLAGS:+$RUSTDOCFLAGS }-D warnings" cargo doc --locked --no-deps --lib "$@" || failed="$failed; $*"
}

document --no-default-features
for features in resize train pth; do
    document --no-default-features --features "$features"
done
# The default features are all of them.
document --all-features

if [[ -n $failed ]]; then
    printf 'docs: wrong with %s\n' "${failed#; }" >&2
    exit 1
fi
