#!/usr/bin/env bash
# Installs what this repository needs on Debian or Ubuntu with Rust. Prints nothing if nothing is missing.
#
#   scripts/setup.sh [gpu] [data] [browser] [shaders]
#
#   (always)     cargo, and a C linker for it
#   gpu          the Vulkan loader; Mesa's software adapter if there is no GPU
#   data         the images of Fashion-MNIST
#   browser      Chromium, whose SwiftShader is also a second driver, and Node.js with npm, for the tests in a browser. If they
#                cannot be installed, a message says so and those tests are skipped; this is not an error
#   shaders      the SPIR-V validator and the Vulkan validation layer; also skipped if they cannot be installed
#
# Exit codes: 0 ready, 64 wrong arguments, 69 something is missing that must be installed by hand.
set -euo pipefail

# Without a home some services run.
: "${HOME:=$(cd ~ && pwd)}"

say() { printf 'setup: %s\n' "$*" >&2; }

# --- what this machine has --------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

have_loader() {
    # ldconfig is not in everybody's PATH.
    [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null) == *libvulkan.so.1* ]]
}

# The Vulkan driver manifests that the loader would find, one a line.
icd_files() {
    local listed=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}} folder file
    if [[ -n $listed ]]; then
        # The loader then looks nowhere else.
        tr ':' '\n' <<<"$listed" | while read -r file; do
            if [[ -e $file ]]; then echo "$file"; fi
        done
        return
    fi
    for folder in "${XDG_DATA_HOME:-$HOME/.local/share}" /etc /usr/local/share /usr/share; do
        for file in "$folder"/vulkan/icd.d/*.json; do
            if [[ -e $file ]]; then echo "$file"; fi
        done
    done
}

have_device() {
    local node
    for node in /dev/dri/renderD* /dev/nvidia0; do
        if [[ -e $node ]]; then return 0; fi
    done
    return 1
}

# A manifest alone does not mean an adapter: a driver may be installed where its device is not (containers).
have_adapter() {
    local files
    files=$(icd_files)
    if [[ -z $files ]]; then return 1; fi
    if [[ -n ${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}} ]]; then return 0; fi # chosen by hand
    if [[ $files == *lvp_icd* ]]; then return 0; fi                         # Mesa's software adapter
    have_device
}

have_validation_layer() {
    local folder
    for folder in "${XDG_DATA_HOME:-$HOME/.local/share}" /etc /usr/local/share /usr/share; do
        if [[ -e $folder/vulkan/explicit_layer.d/VkLayer_khronos_validation.json ]]; then return 0; fi
    done
    return 1
}

data_folders() {
    if [[ -n ${OCELLI_DATA:-} ]]; then echo "$OCELLI_DATA/fashion-mnist"; fi
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/ocelli/fashion-mnist"
    echo /usr/share/datasets/fashion-mnist
}

DATA_FILES=(train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz)

have_data() {
    local folder file
    while read -r folder; do
        for file in "${DATA_FILES[@]}"; do
            if [[ ! -e $folder/$file ]]; then continue 2; fi
        done
        return 0
    done < <(data_folders)
    return 1
}

# --- what is missing --------------------------------------------------------------------------------------------------

# Debian packages that are missing for "$@" (gpu, data, browser, shaders), one a line.
missing_packages() {
    local what
    if ! have cc; then printf '%s\n' gcc libc6-dev; fi
    for what in "$@"; do
        case $what in
            gpu)
                if ! have_loader; then echo libvulkan1; fi
                if ! have_adapter; then echo mesa-vulkan-drivers; fi
                ;;
            data)
                if ! have_data; then echo dataset-fashion-mnist; fi
                ;;
            browser)
                # Where CHROMIUM names another one the tests look for no other.
                if [[ -z ${CHROMIUM:-} ]] && ! have chromium; then echo chromium; fi
                # The packages of others have npm in that of Node.js.
                if ! have node; then echo nodejs; fi
                if ! have npm; then echo npm; fi
                ;;
            shaders)
                if ! have spirv-val; then echo spirv-tools; fi
                if ! have_validation_layer; then echo vulkan-validationlayers; fi
                ;;
        esac
    done
}

explain_cargo() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml")
    say "cargo is not in PATH: install Rust ${wanted:-1.85} or newer, from the distribution or with rustup"
    if [[ -x $HOME/.cargo/bin/cargo ]]; then say "(there is one in ~/.cargo/bin: add that folder to PATH)"; fi
}

explain_data() {
    say "put these files of Fashion-MNIST into ${XDG_CACHE_HOME:-~/.cache}/ocelli/fashion-mnist (or set OCELLI_DATA to"
    say "the folder above): ${DATA_FILES[*]}"
}

# --- installing -------------------------------------------------------------------------------------------------------

# Runs apt-get as root, without questions.
apt() {
    local command=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@")
    if [[ $(id -u) != 0 ]]; then command=(sudo "${command[@]}"); fi
    "${command[@]}" >/dev/null
}

# What to run by hand, and the end.
give_up() {
    say "$1; run"
    say "  sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}"
    exit 69
}

install_packages() {
    local packages=("$@") package try
    if [[ $(id -u) != 0 ]] && ! have sudo; then give_up "packages are missing and this is not root"; fi
    say "installing ${packages[*]}"
    for try in 1 2; do
        # One broken source among several fails an update: the packages may be found all the same.
        apt update || say "apt-get update failed"
        for package in "${packages[@]}"; do
            if [[ -n $(apt-cache show "$package" 2>/dev/null) ]]; then continue; fi
            say "apt does not know the package $package"
            if [[ $try == 1 ]]; then continue 2; fi
            say "on Ubuntu it may be in universe: sudo apt-get install software-properties-common &&" \
                "sudo add-apt-repository universe, then run this again"
            if [[ $package == dataset-fashion-mnist ]]; then explain_data; fi
            exit 69
        done
        # Without recommendations: the loader recommends a software adapter, which a machine with a GPU does not need.
        if apt install -y --no-install-recommends "${packages[@]}"; then return; fi
    done
    give_up "apt-get install failed"
}

# For other systems: says what is needed and goes on, for it may be there under another name.
explain_packages() {
    local package
    say "this is no Debian or Ubuntu; please see to it that there is"
    for package in "$@"; do
        case $package in
            gcc) say "  a C compiler called cc, which Rust links with" ;;
            libc6-dev) ;;
            libvulkan1) say "  the Vulkan loader, libvulkan.so.1" ;;
            mesa-vulkan-drivers) say "  a Vulkan driver for your GPU, or Mesa's software adapter lavapipe" ;;
            dataset-fashion-mnist) explain_data ;;
        esac
    done
}

# --- the program ------------------------------------------------------------------------------------------------------

# What only some tests need, as far as it can be had without a question: "browser" or "shaders", and what is skipped without it.
ready_if_easy() {
    local packages
    mapfile -t packages < <(missing_packages "$1")
    if [[ ${#packages[@]} == 0 ]]; then return; fi
    if have apt-get && { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }; then
        say "installing ${packages[*]}"
        if apt install -y --no-install-recommends "${packages[@]}" 2>/dev/null; then return; fi
        # The lists of packages may be old or missing.
        apt update || say "apt-get update failed"
        if apt install -y --no-install-recommends "${packages[@]}"; then return; fi
    fi
    say "$2 skipped, for they need ${packages[*]}"
}

# Installs the packages that are missing for "$@", or says which.
make_ready() {
    local packages
    mapfile -t packages < <(missing_packages "$@")
    if [[ ${#packages[@]} == 0 ]]; then return; fi
    if [[ " ${packages[*]} " == *" mesa-vulkan-drivers "* && -e /dev/nvidia0 ]]; then
        say "there is an NVIDIA device but no Vulkan driver for it (in a container: NVIDIA_DRIVER_CAPABILITIES=all);" \
            "a software adapter takes its place"
    fi
    if have apt-get; then
        install_packages "${packages[@]}"
    else
        explain_packages "${packages[@]}"
    fi
}

main() {
    local what browser=no shaders=no needed=()
    for what in "$@"; do
        case $what in
            gpu | data) needed+=("$what") ;;
            browser) browser=yes ;;
            shaders) shaders=yes ;;
            *)
                say "unknown argument $what; usage: scripts/setup.sh [gpu] [data] [browser] [shaders]"
                exit 64
                ;;
        esac
    done
    if ! have cargo; then
        explain_cargo
        exit 69
    fi
    make_ready "${needed[@]}"
    if [[ $browser == yes ]]; then ready_if_easy browser "the tests in a browser (on Ubuntu Chromium is a snap) are"; fi
    if [[ $shaders == yes ]]; then ready_if_easy shaders "some checks of shaders are"; fi
}

# When sourced, only the functions are defined.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
