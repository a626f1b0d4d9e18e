#!/usr/bin/env python3
"""Inputs to start fuzzing from, written to fuzz/corpus/TARGET: what earlier runs have found (tests/golden/fuzz), small files of the
tests, and for checkpoints one of a run, without its checksums and with small tensors.

    fuzz/seeds.py [CHECKPOINT.safetensors]
    fuzz/seeds.py keep TARGET   stores up to 300 small inputs of fuzz/corpus/TARGET as tests/golden/fuzz/TARGET.zip
"""

import gzip
import hashlib
import json
import struct
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "tests/golden"
TARGETS = ["checkpoint", "idx", "onnx", "picture", "pth", "safetensors"]
# Of larger files a fuzzer changes little in ten minutes.
LARGEST = 16 << 10
MOST_KEPT = 300
LARGEST_KEPT = 2 << 10


def put(target, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    if len(content) <= LARGEST:
        (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)


def idx(dims, content, kind=8):
    return struct.pack(">BBBB", 0, 0, kind, len(dims)) + b"".join(struct.pack(">I", d) for d in dims) + bytes(content)


def data_sets():
    pixels = [i * 7 % 256 for i in range(3 * 4 * 5)]
    for labels, images in [
        (idx([3], [0, 9, 4]), idx([3, 4, 5], pixels)),
        (idx([1], [0]), idx([1, 1, 1], [255])),
        (idx([3], [0, 9]), idx([3, 4, 5], pixels)),
        (idx([2], [0, 10]), idx([2, 2, 2], pixels[:8])),
        (idx([0], []), idx([0, 4, 5], [])),
        (idx([2], [1, 2]), idx([2, 2, 2], pixels[:8], kind=9)),
        (idx([2], [1, 2]), idx([2, 1 << 31, 2], pixels[:8])),
    ]:
        for wrap in (bytes, gzip.compress):
            put("idx", struct.pack(">H", len(wrap(labels))) + wrap(labels) + wrap(images))


def small_checkpoint(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    strings = {k: v for k, v in header["__metadata__"].items() if not k.startswith("ocelli.crc32.")}
    names = [name for name in header if name != "__metadata__"][:3]
    tensors = {n: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} for i, n in enumerate(names)}
    text = json.dumps({"__metadata__": strings, **tensors}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    put("checkpoint", struct.pack("<Q", len(text)) + text + bytes(8 * len(names)))


def seeds(checkpoint):
    for target in TARGETS:
        found = GOLDEN / "fuzz" / f"{target}.zip"
        if found.exists():
            with zipfile.ZipFile(found) as archive:
                for name in archive.namelist():
                    put(target, archive.read(name))
    with zipfile.ZipFile(GOLDEN / "pictures/corpus.zip") as archive:
        for name in archive.namelist():
            if not name.endswith(".txt"):
                put("picture", archive.read(name))
    for target, pattern in [("onnx", "onnx/**/*.onnx"), ("pth", "pth/*.pth")]:
        for path in sorted(GOLDEN.glob(pattern)):
            put(target, path.read_bytes())
    data_sets()
    if checkpoint:
        small_checkpoint(checkpoint)


def keep(target):
    inputs = sorted((p.read_bytes() for p in (HERE / "corpus" / target).iterdir()), key=lambda b: (len(b), b))
    inputs = [content for content in inputs if len(content) <= LARGEST_KEPT]
    # Of all sizes, not only the smallest.
    count = min(len(inputs), MOST_KEPT)
    kept = [inputs[i * len(inputs) // count] for i in range(count)]
    with zipfile.ZipFile(GOLDEN / "fuzz" / f"{target}.zip", "w") as archive:
        for i, content in enumerate(kept):
            # Without a date, so that the same inputs give the same archive; stored, which is all that the tests can unpack.
            archive.writestr(zipfile.ZipInfo(str(i)), content)
    print(f"{target}: {count} of {len(inputs)} inputs")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "keep" and sys.argv[2] in TARGETS:
        keep(sys.argv[2])
    elif len(sys.argv) <= 2 and sys.argv[1:] != ["keep"]:
        seeds(*sys.argv[1:] or [None])
    else:
        sys.exit(__doc__)
