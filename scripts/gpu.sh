#!/usr/bin/env bash
# Measures Ocelli on the GPU of this machine, beside PyTorch where that is installed, within eight minutes.
#
#   scripts/gpu.sh [FLAGS] OUT   writes OUT: results.jsonl, table.md, and the output of each step
#   scripts/gpu.sh pack DIR      puts all that the first form needs into DIR, for a machine without Rust and network
#
#   --budget S          seconds for everything (480)
#   --networks A,B      these networks (resnet50,vgg16,resnet18,alexnet,googlenet,zfnet)
#   --batch-size B      pictures in a step (64)
#   --size S            height and width of the input (that of each network)
#   --seconds S         how long a step is repeated, but five times at least (2)
#   --adapter NAME|N    the adapter, as `ocelli devices` lists it (the best)
#   --tune A,B          these levels of tuning (off,quick,full); off is what PyTorch is measured in turns with
#   --turns N           how often that is repeated if the time suffices (2)
#   --filter F          the tests to run, a part of their names (all of operations and kernels)
#   --quick             small sizes, to try this script on a software adapter
#
# The machine needs bash, GNU coreutils and a driver. The program and the tests are taken from bin/ beside this script (a folder
# that `pack` made), or from the target folder of this repository. Python 3 writes the table; without it run gpu/table.py OUT
# elsewhere. PyTorch is used if that Python (or PYTHON) has it. lib/ beside this script may hold the Vulkan loader.
#
# What is most worth knowing comes first: adapters; the self-test and the tests of all operations; each network in training and
# inference, f32 and f16, without tuning, in turns with PyTorch (f32 without and with TF32, mixed precision); the same with
# `--tune quick` and `--tune full`; a second turn. What the time does not suffice for is named in the table. Caches of kernels and of
# choices start empty, so that the first steps are those of a new user.
#
# Exit codes: 0 done, 1 something failed (the table says what), 64 wrong arguments, 69 no program or no adapter.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
NETWORKS=resnet50,vgg16,resnet18,alexnet,googlenet,zfnet
# A step that cannot have so many seconds is not begun.
LEAST=5

say() { printf 'gpu: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

usage() {
    say "$*; usage: scripts/gpu.sh [FLAGS] OUT, or scripts/gpu.sh pack DIR (the head of the script explains)"
    exit 64
}

# A folder that is made, or that is there and empty.
new_folder() {
    if [[ -e $1 && ! -d $1 ]]; then usage "$1 is a file"; fi
    if [[ -n $(ls -A "$1" 2>/dev/null) ]]; then usage "the folder $1 is not empty"; fi
    mkdir -p "$1" || exit 64
    (cd "$1" && pwd)
}

# --- pack -------------------------------------------------------------------------------------------------------------

# The path of the test binary that cargo has built, from its messages.
test_binary() {
    cargo test --locked --test all --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

pack() {
    if [[ ! -e $root/Cargo.toml ]]; then usage "pack works in a clone of the repository"; fi
    local folder tests loader
    folder=$(new_folder "$1")
    cd "$root"
    cargo build --release --locked --bin ocelli
    tests=$(test_binary)
    mkdir "$folder/bin" "$folder/lib" "$folder/gpu" "$folder/pytorch"
    cp "${CARGO_TARGET_DIR:-target}/release/ocelli" "$folder/bin/ocelli"
    cp "$tests" "$folder/bin/tests"
    if have strip; then strip "$folder/bin/tests"; fi
    cp scripts/gpu.sh "$folder/"
    cp scripts/gpu/table.py "$folder/gpu/"
    cp benches/peers/pytorch/{networks,bench}.py "$folder/pytorch/"
    # A machine may have the driver and not the loader.
    loader=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | sed -n 's/.*libvulkan\.so\.1 .*=> //p' | head -n 1)
    if [[ -n $loader ]]; then cp -L "$loader" "$folder/lib/libvulkan.so.1"; fi
    say "$folder is ready ($(du -sh "$folder" | cut -f 1)): copy it to a machine whose C library is" \
        "$(ldd --version | head -n 1) or newer, and run ./gpu.sh OUT there"
}

# --- what is there ----------------------------------------------------------------------------------------------------

# Sets ocelli, tests, table and peer, where they are.
find_programs() {
    local built=${CARGO_TARGET_DIR:-$root/target} file
    tests=
    if [[ -e $here/bin/ocelli ]]; then
        ocelli=$here/bin/ocelli peer=$here/pytorch
        if [[ -x $here/bin/tests ]]; then tests=$here/bin/tests; fi
    else
        ocelli=$built/release/ocelli peer=$root/benches/peers/pytorch
        # The newest of both profiles.
        for file in "$built"/{debug,release}/deps/all-*; do
            if [[ -x $file && ! -d $file && ( -z $tests || $file -nt $tests ) ]]; then tests=$file; fi
        done
    fi
    table=$here/gpu/table.py
    if ! have timeout; then
        say "timeout of GNU coreutils is missing"
        exit 69
    fi
    if [[ ! -x $ocelli ]]; then
        say "there is no program at $ocelli: cargo build --release, or use a folder that \`scripts/gpu.sh pack DIR\` made"
        exit 69
    fi
    if [[ -e $here/lib/libvulkan.so.1 ]] &&
        [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null) != *libvulkan.so.1* ]]; then
        export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
}

find_python() {
    local name
    for name in ${PYTHON:-python3 python}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
            python=$name
            return
        fi
    done
    python=
}

# --- results ----------------------------------------------------------------------------------------------------------

# A text as a string of JSON.
quoted() {
    local text
    text=$(tr -d '\000-\037\177' <<<"$1")
    text=${text//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# record FIELDS: a line of results; FIELDS are the members of the object.
record() { printf '{%s}\n' "$1" >>"$out/results.jsonl"; }

# record_lines FIELDS: each line of JSON that the last step has printed, as the member "result".
record_lines() {
    local line
    while IFS= read -r line; do
        if [[ $line == \{*\} ]]; then record "$1,\"result\":$line"; fi
    done <"$stdout"
}

leave_out() {
    # The end of the time is told once; the table has the list.
    if [[ $2 != "$told" ]]; then say "left out: $1: $2"; fi
    if [[ $2 == "$over" ]]; then told=$over; fi
    record "\"kind\":\"left_out\",\"step\":$(quoted "$1"),\"why\":$(quoted "$2")"
}

failed=0
fail() {
    say "failed: $1: $2"
    record "\"kind\":\"failed\",\"step\":$(quoted "$1"),\"why\":$(quoted "$2")"
    failed=1
}

# attempt NAME SECONDS COMMAND...: runs a step for at most so long, within the budget. What it prints is in the file $stdout
# afterwards, also if it was stopped; messages are in OUT/logs. Sets took.
attempt() {
    local name=$1 most=$2 left=$((budget - SECONDS)) code=0 begun=$SECONDS
    shift 2
    : >"$stdout"
    took=0
    if ((left < LEAST)); then
        leave_out "$name" "$over"
        return 1
    fi
    if ((most > left)); then most=$left; fi
    printf 'gpu: %3d s: %s\n' "$SECONDS" "$name" >&2
    local log=$out/logs/${name//[^A-Za-z0-9.-]/_}.txt
    timeout -k 5 "$most" "$@" >"$stdout" 2>"$log" </dev/null || code=$?
    took=$((SECONDS - begun))
    case $code in
        0) return ;;
        124 | 137) leave_out "$name" "it was stopped after $most s" ;;
        *) fail "$name" "exit code $code: $(tail -n 1 "$log" | cut -c 1-300)" ;;
    esac
    return 1
}

# --- steps ------------------------------------------------------------------------------------------------------------

# The number in the list of the adapter that is wanted, or of the best one; empty if there is none. Reads the lines of
# `ocelli devices --json`.
choose_adapter() {
    local wanted=${1,,} line kind index name
    for kind in discrete integrated virtual other cpu; do
        while IFS= read -r line; do
            [[ $line =~ \"index\":([0-9]+),\"name\":\"(.*)\",\"kind\":\"([a-z]+)\" ]] || continue
            index=${BASH_REMATCH[1]} name=${BASH_REMATCH[2],,}
            if [[ -z $wanted && ${BASH_REMATCH[3]} != "$kind" ]]; then continue; fi
            if [[ -n $wanted && $wanted != "$index" && $name != *"$wanted"* ]]; then continue; fi
            echo "$index"
            return
        done <"$stdout"
    done
}

# Sets adapter, best (the numbers of the chosen one and of the one that the program takes by itself) and about (its JSON).
adapters() {
    if ! attempt adapters 60 "$ocelli" devices --json; then
        say "the driver, or the Vulkan loader libvulkan.so.1, is missing: $out/logs/adapters.txt says more. In a container of" \
            "NVIDIA's set NVIDIA_DRIVER_CAPABILITIES=all; VK_DRIVER_FILES names the manifest of a driver (nvidia_icd.json)"
        exit 69
    fi
    record_lines '"kind":"adapter"'
    best=$(choose_adapter "")
    adapter=$(choose_adapter "$wanted")
    if [[ -z $adapter ]]; then
        say "there is no adapter \"$wanted\"; \`$ocelli devices\` lists them"
        exit 69
    fi
    about=$(grep "\"index\":$adapter," "$stdout" | head -n 1)
    record "\"kind\":\"chosen\",\"result\":$about"
    profile=(--profile)
    if [[ $about != *'"timestamps":true'* ]]; then
        profile=()
        leave_out "profiles" "the adapter has no timestamps"
    fi
    precisions=(f32 f16)
    if [[ $about != *'"f16":true'* ]]; then
        precisions=(f32)
        leave_out "f16" "the adapter has no half precision"
    fi
    if [[ $about == *'"kind":"cpu"'* && $quick == no ]]; then
        say "this is a software adapter, for which --quick is meant"
    fi
}

selftest() {
    if ! "$ocelli" help 2>/dev/null | grep -q '^ *selftest '; then
        leave_out "self-test" "this version has none"
        return
    fi
    attempt self-test 60 "$ocelli" selftest --json --report "$out/selftest.md" --adapter "$adapter" || true
    record_lines '"kind":"selftest"'
}

# sum WORD: how many tests have passed, failed or been ignored, by the last lines of the harness.
sum() { sed -n "s/^test result:.* \([0-9]*\) $1;.*/\1/p" "$stdout" | tail -n 1; }

operations() {
    if [[ -z $tests ]]; then
        leave_out "tests" "there is no test binary (cargo test --no-run)"
    elif [[ $adapter != "$best" ]]; then
        leave_out "tests" "they run on the best adapter; VK_DRIVER_FILES selects another driver"
    else
        # Within the folder of results, because some tests write files.
        attempt tests "$((budget / 4))" env -C "$out/scratch" "$tests" "${filters[@]}" || true
        cp "$stdout" "$out/logs/tests.stdout.txt"
        # A test that was still running when the time was over has no line.
        local ok bad
        ok=$(sum passed) bad=$(sum failed)
        ok=${ok:-$(grep -c '^test .* ok$' "$stdout" || true)}
        bad=${bad:-$(grep -c '^test .* FAILED$' "$stdout" || true)}
        record "\"kind\":\"tests\",\"passed\":$ok,\"failed\":$bad,\"seconds\":$took"
    fi
}

# Sets peer_device: empty if PyTorch is not measured.
pytorch() {
    peer_device=
    if [[ -z $python ]]; then
        leave_out "PyTorch" "there is no Python 3.8 or newer"
    elif ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
        leave_out "PyTorch" "$python has no torch"
    elif attempt pytorch 60 "$python" -B "$peer/bench.py" --about; then
        record_lines '"kind":"pytorch_about"'
        peer_device=$(sed -n 's/.*"kind": "\([a-z]*\)".*/\1/p' "$stdout")
        if [[ $about == *'"kind":"cpu"'* ]]; then
            peer_device=cpu
        elif [[ $peer_device == cpu ]]; then
            leave_out "PyTorch" "this torch knows no GPU here"
            peer_device=
        fi
    fi
}

# size_flags NETWORK: sets sized.
size_flags() {
    sized=()
    # At 64x64 the last map of AlexNet is smaller than the window of its pooling.
    if [[ -n $size ]]; then
        sized=(--size "$size")
    elif [[ $quick == yes && $1 == alexnet ]]; then
        sized=(--size 67)
    elif [[ $quick == yes ]]; then
        sized=(--size 64)
    fi
}

# bench NETWORK MODE PRECISION TUNE TURN [FLAGS]
bench() {
    local network=$1 mode=$2 precision=$3 tune=$4 turn=$5
    shift 5
    size_flags "$network"
    attempt "$network $mode $precision tune=$tune turn $turn" 120 \
        "$ocelli" bench --arch "$network" --mode "$mode" --precision "$precision" --tune "$tune" --batch-size "$batch" \
        "${sized[@]}" --seconds "$seconds" --adapter "$adapter" --json "$@" || true
    record_lines "\"kind\":\"bench\",\"tune\":\"$tune\",\"turn\":$turn,\"seconds\":$took"
}

# peer NETWORK TURN FLAGS: PyTorch with the same shapes.
peer() {
    local network=$1 turn=$2 counted
    shift 2
    if [[ -z $peer_device ]]; then return; fi
    size_flags "$network"
    if ! grep -q "\"$network\"" "$peer/networks.py"; then
        leave_out "$network in PyTorch" "networks.py has no such network"
        return
    fi
    counted=$("$ocelli" show "$network" --json | sed -n 's/.*"classes":[0-9]*,"parameters":\([0-9]*\).*/\1/p')
    attempt "$network in PyTorch turn $turn" 90 "$python" -B "$peer/bench.py" "$network" --batch-size "$batch" "${sized[@]}" \
        --seconds "$seconds" --device "$peer_device" --parameters "$counted" --limit 60 "$@" || true
    record_lines "\"kind\":\"pytorch\",\"turn\":$turn,\"seconds\":$took"
}

# One after the other, network by network, because clocks change with the temperature.
turn() {
    local turn=$1 network precision mode
    shift
    for network in "${networks[@]}"; do
        for precision in "${precisions[@]}"; do
            for mode in train infer; do bench "$network" $mode "$precision" off "$turn" "$@"; done
            if [[ $precision == f32 ]]; then peer "$network" "$turn"; fi
        done
    done
}

tuned() {
    local tune=$1 precision mode network
    for precision in "${precisions[@]}"; do
        for mode in train infer; do
            for network in "${networks[@]}"; do bench "$network" $mode "$precision" "$tune" 1; done
        done
    done
}

write_table() {
    if [[ -z $python ]]; then
        say "there is no Python for the table: run gpu/table.py $out on another machine"
    elif ! "$python" -B "$table" "$out" >&2; then
        say "the table could not be written"
        failed=1
    fi
}

# --- the program ------------------------------------------------------------------------------------------------------

number() {
    [[ $2 =~ ^(0|[1-9][0-9]{0,5})$ && $2 -ge ${3:-1} ]] || usage "$1 takes a number of at least ${3:-1}, and this is \"$2\""
}

main() {
    budget=480 wanted='' batch='' size='' seconds='' quick=no out=''
    local filter='' listed=$NETWORKS levels=off,quick,full turns=2 level i
    if [[ ${1:-} == pack ]]; then
        if [[ $# != 2 ]]; then usage "pack takes one folder"; fi
        pack "$2"
        return
    fi
    while [[ $# -gt 0 ]]; do
        case $1 in
            --quick) quick=yes ;;
            --budget | --networks | --batch-size | --size | --seconds | --adapter | --tune | --turns | --filter)
                if [[ $# -lt 2 || -z $2 ]]; then usage "$1 takes a value"; fi
                case $1 in
                    --budget) number "$1" "$2" && budget=$2 ;;
                    --networks) listed=$2 ;;
                    --batch-size) number "$1" "$2" && batch=$2 ;;
                    --size) number "$1" "$2" && size=$2 ;;
                    --seconds) number "$1" "$2" 0 && seconds=$2 ;;
                    --adapter) wanted=$2 ;;
                    --tune) levels=$2 ;;
                    --turns) number "$1" "$2" && turns=$2 ;;
                    --filter) filter=$2 ;;
                esac
                shift
                ;;
            -*) usage "unknown flag $1" ;;
            *)
                if [[ -n $out ]]; then usage "one folder, not $out and $1"; fi
                out=$1
                ;;
        esac
        shift
    done
    if [[ -z $out ]]; then usage "the folder for the results is missing"; fi
    if [[ $quick == yes ]]; then batch=${batch:-2} seconds=${seconds:-0}; fi
    batch=${batch:-64} seconds=${seconds:-2}
    filters=(ops:: kernels::)
    if [[ -n $filter ]]; then filters=("$filter"); fi
    IFS=, read -r -a networks <<<"$listed"
    IFS=, read -r -a levels <<<"$levels"
    for level in "${levels[@]}"; do
        if [[ $level != off && $level != quick && $level != full ]]; then usage "\"$level\" is no level of tuning"; fi
    done
    find_programs
    find_python
    # Before anything is measured: a name that is wrong would cost a part of the table.
    local network
    for network in "${networks[@]}"; do
        "$ocelli" show "$network" --json >/dev/null || usage "\"$network\" is no network"
    done
    out=$(new_folder "$out")
    mkdir "$out/logs" "$out/scratch"
    stdout=$out/scratch/stdout
    : >"$stdout"
    SECONDS=0
    over="the $budget s were over" told=''
    # Caches of this program, of Mesa and of NVIDIA's driver.
    export OCELLI_CACHE_DIR=$out/scratch/ocelli
    export MESA_SHADER_CACHE_DIR=$out/scratch/shaders __GL_SHADER_DISK_CACHE_PATH=$out/scratch/shaders
    if [[ -z ${XDG_RUNTIME_DIR:-} ]]; then export XDG_RUNTIME_DIR=$out/scratch; fi
    record "\"kind\":\"run\",\"budget\":$budget,\"batch_size\":$batch,\"quick\":\"$quick\",\"seconds\":$seconds,\
\"version\":$(quoted "$("$ocelli" --version)"),\"system\":$(quoted "$(uname -srm)"),\"date\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\""
    adapters
    selftest
    operations
    pytorch
    for level in "${levels[@]}"; do
        if [[ $level == off ]]; then turn 1 "${profile[@]}"; else tuned "$level"; fi
    done
    if [[ " ${levels[*]} " == *" off "* ]]; then
        for ((i = 2; i <= turns; i++)); do turn "$i"; done
    fi
    record "\"kind\":\"end\",\"seconds\":$SECONDS"
    rm -rf "$out/scratch"
    write_table
    say "$SECONDS s; the results are in $out"
    exit "$failed"
}

main "$@"
