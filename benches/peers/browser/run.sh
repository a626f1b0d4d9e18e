#!/usr/bin/env bash
# Times Ocelli beside ONNX Runtime Web and TensorFlow.js in headless Chromium (WebGPU on the processor), and prints a table.
# Builds the page and writes the networks first, if they are not there yet. Arguments go to run.mjs.
set -euo pipefail
cd "$(dirname "$0")/../../.."
NETWORKS=target/browser-peers

scripts/web.sh
for folder in web/test benches/peers/browser; do
    if [[ ! -d $folder/node_modules ]]; then (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts); fi
done
mkdir -p "$NETWORKS"
for name in resnet18 alexnet-tv googlenet-tv; do
    if [[ -e $NETWORKS/$name.onnx ]]; then continue; fi
    cargo run --quiet --release --locked --example untrained -- "$name" "$NETWORKS/$name.safetensors"
    cargo run --quiet --release --locked --bin ocelli -- convert "$NETWORKS/$name.safetensors" "$NETWORKS/$name.onnx"
done
exec node benches/peers/browser/run.mjs "$@"
