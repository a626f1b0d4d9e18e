#!/usr/bin/env bash
# Shows what the compiler of a GPU makes of the kernels of networks. No GPU is needed: Mesa's drivers compile for chips that are
# not there. benches/README.md explains the table.
#
#   scripts/isa.sh --arch resnet50 [--batch-size 32] [--chip navi21] [--mode train|infer] [--f16] [--json] [--assembly DIR]
#   scripts/isa.sh --list              the chips
#
# Where the drivers of this system are older than Mesa 25, or for a chip of NVIDIA, it uses those of a Debian 13 in
# $OCELLI_ISA_DIR, or ocelli/isa in the cache (0.6 GB), which it makes first; for that it needs debootstrap, and root or sudo.
#
# Exit codes: 0 measured, 1 it could not be measured, 2 wrong arguments, 69 something is missing.
set -euo pipefail
called_from=$PWD
cd "$(dirname "$0")/.."

OLDEST_MESA=25
: "${HOME:=$(cd ~ && pwd)}"
dir=${OCELLI_ISA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ocelli/isa}
root=$dir/debian
program=${CARGO_TARGET_DIR:-target}/debug/ocelli-isa

say() { printf 'isa: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi; }

# --- arguments --------------------------------------------------------------------------------------------------------

# The chip decides the driver, and a folder the driver writes to may lie outside of its root.
chip=navi21 folder='' rest=()
while (($#)); do
    case $1 in
        --chip | --assembly)
            if (($# < 2)); then say "$1 needs a value"; exit 2; fi
            if [[ $1 == --chip ]]; then chip=$2; else folder=$2; fi
            shift
            ;;
        --chip=*) chip=${1#*=} ;;
        --assembly=*) folder=${1#*=} ;;
        *) rest+=("$1") ;;
    esac
    shift
done

cargo build --locked --quiet -p ocelli-isa

# What needs no driver, and errors of the arguments.
for argument in "${rest[@]}"; do
    case $argument in --list | -h | --help) exec "$program" "${rest[@]}" ;; esac
done
maker=$("$program" --chip "$chip" --maker)

# --- the driver -------------------------------------------------------------------------------------------------------

# What selects the chip, as words of `env`.
selection() {
    case $maker in
        amd) echo "RADV_FORCE_FAMILY=$chip VK_DRIVER_FILES=$1 VK_ICD_FILENAMES=$1" ;;
        nvidia)
            local number
            case $chip in
                ga104) number=0x174 ;;
                tu104) number=0x164 ;;
                *) say "no number of the chipset is known for $chip"; exit 69 ;;
            esac
            echo "LD_PRELOAD=$2 NOUVEAU_CHIPSET=$number VK_DRIVER_FILES=$1"
            ;;
    esac
}

# Only for AMD: the driver of this system, if it is new enough.
of_system() {
    local manifest version
    if [[ $maker != amd ]]; then return 1; fi
    for manifest in /usr/share/vulkan/icd.d/radeon_icd*.json /etc/vulkan/icd.d/radeon_icd*.json; do
        if [[ ! -e $manifest ]]; then continue; fi
        # shellcheck disable=SC2046 # words
        version=$(env $(selection "$manifest") "$program" --chip "$chip" --driver 2>/dev/null) || continue
        if [[ $version =~ Mesa\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= OLDEST_MESA)); then
            echo "$manifest"
            return
        fi
    done
    return 1
}

make_root() {
    if [[ -e $root/.ready ]]; then return; fi
    if ! have debootstrap; then say "install debootstrap: the drivers here are older than Mesa $OLDEST_MESA"; exit 69; fi
    if [[ $(id -u) != 0 ]] && ! have sudo; then say "making a Debian 13 in $root needs root or sudo"; exit 69; fi
    say "making a Debian 13 with Mesa's drivers in $root, which takes some minutes"
    mkdir -p "$dir"
    as_root rm -rf "$root.part"
    if ! as_root debootstrap --variant=minbase --include=libvulkan1,mesa-vulkan-drivers,mesa-drm-shim trixie "$root.part" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$dir/debootstrap.log" 2>&1; then
        say "debootstrap failed: see $dir/debootstrap.log"
        exit 69
    fi
    as_root touch "$root.part/.ready"
    # As a whole or not at all.
    as_root rm -rf "$root"
    as_root mv "$root.part" "$root"
}

if manifest=$(of_system); then
    cd "$called_from"
    # shellcheck disable=SC2046 # words
    exec env $(selection "$manifest") "$OLDPWD/$program" --chip "$chip" ${folder:+--assembly "$folder"} "${rest[@]}"
fi

make_root
case $maker in
    amd) manifest=/usr/share/vulkan/icd.d/radeon_icd.json shim= ;;
    nvidia) manifest=/usr/share/vulkan/icd.d/nouveau_icd.json shim=/usr/lib/x86_64-linux-gnu/libnouveau_noop_drm_shim.so ;;
esac
for file in "$manifest" $shim; do
    # The manifest has the architecture in its name in some versions.
    if [[ ! -e $root$file ]]; then say "$root has no $file; remove the folder to make it anew"; exit 69; fi
done
work=$(as_root mktemp -d "$root/tmp/isa.XXXXXX")
trap 'as_root rm -rf "$work"' EXIT
as_root cp "$program" "$work/isa"
inside=${work#"$root"}
status=0
# The drivers tell of what the machine lacks, on standard error.
# shellcheck disable=SC2046 # words
as_root chroot "$root" env $(selection "$manifest" "$shim") "$inside/isa" --chip "$chip" ${folder:+--assembly "$inside/out"} \
    "${rest[@]}" 2> >(grep -v -e 'Unknown DRM_IOCTL' -e 'invalid pci bus info' -e 'not a conformant Vulkan' >&2) || status=$?
if [[ -n $folder && -d $work/out ]]; then
    cd "$called_from"
    mkdir -p "$folder"
    as_root cp -r "$work/out/." "$folder"
fi
exit $status
