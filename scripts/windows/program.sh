#!/usr/bin/env bash
# What scripts/test_windows.sh runs in its Debian: the program for Windows against that for Linux, on the same driver.
#
#   program.sh OCELLI.exe OCELLI FOLDER [quick]   FOLDER is made anew; quick: one network, Direct3D 12 alone
#
# Exit codes: 0 right, 1 a check failed.
set -euo pipefail
windows=$1 linux=$2 folder=$3 how=${4:-all}
docs=$PWD/docs
failed=0

check() {
    local title=$1
    shift
    # In a shell of its own, which ends with the first fault: where a function is a condition it would go on.
    set +e
    (set -e && "$@") >"$folder/log" 2>&1
    local code=$?
    set -e
    if [[ $code == 0 ]]; then
        printf 'ok      %s\n' "$title"
    else
        printf 'FAILED  %s\n' "$title"
        sed 's/^/        /' "$folder/log"
        failed=1
    fi
}

through() {
    local backend=$1
    shift
    WGPU_BACKEND=$backend wine "$windows" "$@"
}

# The adapters that it lists.
devices() {
    through vulkan devices --json | grep '"backend":"Vulkan"'
    through dx12 devices --json | grep '"backend":"Dx12"'
}

# The two files have as many numbers, each within 1e-5 of the other, relative to 1 or to itself if that is larger.
near() {
    paste <(grep -o '[-0-9.e]*[0-9]' "$1") <(grep -o '[-0-9.e]*[0-9]' "$2") | awk '
        NF != 2 { exit 2 }
        { off = $1 - $2; if (off < 0) off = -off; size = $1 < 0 ? -$1 : $1; if (size > 1) off /= size; if (off > worst) worst = off }
        END { print NR " numbers, " worst " off"; exit !(NR > 0 && worst <= 1e-5) }'
}

logits() { sed -n 's/.*"logits":\[\([^]]*\)\].*/\1/p'; }

# Two steps of training by Linux, then the same picture by all three.
predicts() {
    local arch=$1 size=$2 weights=$folder/$1/last.safetensors picture=$docs/demo.png
    "$linux" --quiet train --arch "$arch" --size "$size" --data "$folder/data" --out "$folder/$arch" --batch-size 2 --steps 2 --tune off
    "$linux" --quiet predict "$picture" --weights "$weights" --logits --json --tune off | logits >"$folder/of_linux"
    through vulkan --quiet predict "$picture" --weights "$weights" --logits --json --tune off | logits >"$folder/of_vulkan"
    through dx12 --quiet predict "$picture" --weights "$weights" --logits --json --tune off | logits >"$folder/of_dx12"
    cmp "$folder/of_linux" "$folder/of_vulkan"
    near "$folder/of_linux" "$folder/of_dx12" | tee -a "$folder/errors"
}

# The arguments of a short run that writes to a folder.
short_run() {
    printf '%s\n' --quiet train --arch resnet20 --size 8 --data "$folder/data" --out "$folder/$1" --batch-size 2 --epochs 6 --seed 3 \
        --tune off
}

# Killed when it has a checkpoint, and resumed, it ends with the bits of a run that was not.
resumes() {
    local backend=$1 pid whole parts
    mapfile -t whole < <(short_run "whole-$backend")
    mapfile -t parts < <(short_run "parts-$backend")
    through "$backend" "${whole[@]}"
    WGPU_BACKEND=$backend wine "$windows" "${parts[@]}" &
    pid=$!
    for _ in {1..3000}; do
        if [[ -e $folder/parts-$backend/checkpoint.safetensors ]]; then break; fi
        sleep 0.02
    done
    # wine becomes the program.
    kill -KILL "$pid"
    wait "$pid" || true
    if [[ $(wc -l <"$folder/parts-$backend/metrics.csv") -ge 7 ]]; then
        echo "killed too late"
        return 1
    fi
    through "$backend" "${parts[@]}" --resume
    cmp "$folder/whole-$backend/last.safetensors" "$folder/parts-$backend/last.safetensors"
    cmp "$folder/whole-$backend/best.safetensors" "$folder/parts-$backend/best.safetensors"
}

# A dxcompiler.dll that cannot be used is said, and FXC compiles.
refuses_dxc() {
    mkdir -p "$folder/beside"
    cp "$windows" "$folder/beside/ocelli.exe"
    cp "$(dirname "$windows")/d3dcompiler_47.dll" "$folder/beside/"
    # A library without the functions of DXC.
    cp "$folder/beside/d3dcompiler_47.dll" "$folder/beside/dxcompiler.dll"
    WGPU_BACKEND=dx12 wine "$folder/beside/ocelli.exe" devices --json | grep '"dxc_refused":true'
    WGPU_BACKEND=dx12 wine "$folder/beside/ocelli.exe" bench --arch resnet20 --mode infer --size 8 --batch-size 1 --seconds 0 \
        --tune off 2>&1 | grep 'dxcompiler.dll that was found'
}

rm -rf "$folder"
for class in demo web-desk-light web-phone-dark; do
    for part in train val; do
        mkdir -p "$folder/data/$part/$class"
        for copy in 1 2 3; do cp "$docs/$class.png" "$folder/data/$part/$class/$copy.png"; done
    done
done

check 'Vulkan and Direct3D 12 have an adapter' devices
while read -r arch size; do
    if [[ $how == quick && $arch != resnet20 ]]; then continue; fi
    check "$arch predicts: Vulkan as Linux to the bit, Direct3D 12 within 1e-5" predicts "$arch" "$size"
done <<'LIST'
resnet20 8
preresnet110 8
resnet18 32
resnet50 32
alexnet 67
zfnet 67
vgg11 32
vgg11-bn 32
googlenet 32
googlenet-tv 32
LIST
check 'FXC takes the place of a DXC that cannot be used' refuses_dxc
check 'a run through Direct3D 12 is killed and resumed to the same bits' resumes dx12
if [[ $how != quick ]]; then
    check 'a run through Vulkan is killed and resumed to the same bits' resumes vulkan
fi
exit "$failed"
