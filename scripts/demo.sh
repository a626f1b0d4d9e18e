#!/usr/bin/env bash
# Trains a small ResNet on images of clothes, measures it on held-out images after each epoch, and classifies some of those.
# `make demo` runs it after setup.sh and a release build. It writes only to runs/demo.
set -euo pipefail
cd "$(dirname "$0")/.."

# A learning rate and a batch for a short run: no time to vary the pictures.
ARCH=resnet20
LIMIT=3000     # pictures of each split
EPOCHS=3
BATCH_SIZE=16
LR=0.03
SCHEDULE=cosine
AUGMENT=none
SEED=1
PICTURES=6     # classified at the end

out=runs/demo
ocelli=${CARGO_TARGET_DIR:-target}/release/ocelli

title() { printf '\n== %s\n' "$*"; }

if [[ ! -x $ocelli ]]; then
    echo "demo: $ocelli is not there; run make demo, or cargo build --release first" >&2
    exit 69
fi
if [[ -z ${XDG_RUNTIME_DIR:-} ]]; then # drivers warn without one
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi
rm -rf "$out"

title "Training $ARCH on $LIMIT pictures of Fashion-MNIST, $EPOCHS times each"
start=$SECONDS
"$ocelli" train --arch "$ARCH" --data fashion-mnist --out "$out" --epochs "$EPOCHS" --limit "$LIMIT" \
    --batch-size "$BATCH_SIZE" --lr "$LR" --schedule "$SCHEDULE" --augment "$AUGMENT" --seed "$SEED"
echo "trained in $((SECONDS - start)) s"

title "Classifying $PICTURES held-out pictures; their file names say what they show"
cargo run --quiet --release --locked --example held_out_pictures -- "$out/pictures" "$PICTURES" >/dev/null
"$ocelli" --quiet predict "$out"/pictures/*.png --weights "$out/best.safetensors" --top 3

title "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
cat <<END
weights   $out/best.safetensors
run       $out (configuration, metrics, checkpoint)
pictures  $out/pictures
Measure it on all 10,000 held-out pictures, or try one of your own:
  $ocelli eval --weights $out/best.safetensors --data fashion-mnist
  $ocelli predict PICTURE.png --weights $out/best.safetensors --top 3
END
