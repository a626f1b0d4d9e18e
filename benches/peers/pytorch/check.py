#!/usr/bin/env python3
"""Shows that networks.py has our networks: as many parameters, and the same logits from the same weights.

    cargo build --release && cargo build --release --example untrained
    python3 benches/peers/pytorch/check.py [NETWORK ...]

Needs torch. Ocelli writes first weights and classifies a picture of noise; PyTorch loads the weights, every tensor by its
name, and computes the same in double precision.
"""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import torch

from networks import NETWORKS, parameters

TARGET = pathlib.Path(__file__).resolve().parents[3] / "target/release"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of the largest logit. Ours are computed in f32.
TOLERANCE = 1e-4


def ocelli(*arguments, program="ocelli"):
    return subprocess.run([TARGET / program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def picture(path, size):
    """Writes noise as an uncompressed BMP, and returns it as 3 x size x size bytes."""
    noise = random.Random(size)
    rows = [[[noise.randrange(256) for _ in range(3)] for _ in range(size)] for _ in range(size)]
    padding = b"\0" * (-3 * size % 4)
    # Rows from below, pixels as blue, green, red.
    data = b"".join(b"".join(bytes(pixel[::-1]) for pixel in row) + padding for row in reversed(rows))
    info = struct.pack("<IiiHHIIiiII", 40, size, size, 1, 24, 0, len(data), 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + info + data)
    return torch.tensor(rows, dtype=torch.float64).permute(2, 0, 1)


def weights(path):
    """The tensors of a safetensors file in f32."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + at for at in entry["data_offsets"])
            tensors[name] = torch.frombuffer(data[begin:end], dtype=torch.float32).reshape(entry["shape"]).double()
    return tensors


def check(name):
    size, build = NETWORKS[name]
    model = build(1000, size).double().eval()
    ours = json.loads(ocelli("show", name, "--json"))["parameters"]
    if parameters(model) != ours:
        return f"{parameters(model)} parameters in PyTorch, {ours} here"
    with tempfile.TemporaryDirectory() as folder:
        file, image = pathlib.Path(folder, "w.safetensors"), pathlib.Path(folder, "noise.bmp")
        pixels = picture(image, size)
        ocelli(name, file, program="examples/untrained")
        logits = json.loads(ocelli("predict", image, "--weights", file, "--logits", "--json", "--quiet"))["logits"]
        state = weights(file)
    # Auxiliary classifiers are not used in an inference, and counts of batches have no effect.
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.startswith("aux") and not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        return f"names differ: {missing} {unexpected}"
    mean, std = (torch.tensor(x, dtype=torch.float64).view(3, 1, 1) for x in (MEAN, STD))
    with torch.no_grad():
        theirs = model(((pixels / 255 - mean) / std).unsqueeze(0))[0]
    error = (theirs - torch.tensor(logits, dtype=torch.float64)).abs().max() / theirs.abs().max()
    print(f"{name}: {ours} parameters, logits off by {error:.1e} of the largest", flush=True)
    return None if error < TOLERANCE else f"logits off by {error:.1e}"


def main():
    faults = {name: fault for name in sys.argv[1:] or NETWORKS if (fault := check(name))}
    for name, fault in faults.items():
        print(f"{name}: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
