"""Loads parameters of ONNX files that Ocelli wrote into torchvision's networks, by name; compares the logits.

    OCELLI_ONNX_CASES=FOLDER OCELLI_ONNX_ONLY=resnet18 cargo test --test all onnx_out::cases -- --ignored
    python3 tests/golden/onnx_out/in_torchvision.py FOLDER

Needs onnx, torch, torchvision and numpy. Cases are those of check.py; what torchvision has not is left out.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torchvision

# Relative L2 error of the logits.
ALLOWED = 2e-5

NAMES = {"alexnet-tv": "alexnet", "googlenet-tv": "googlenet"}
NAMES |= {f"vgg{n}{bn}": f"vgg{n}{bn.replace('-', '_')}" for n in (11, 13, 16, 19) for bn in ("", "-bn")}
NAMES |= {f"resnet{n}": f"resnet{n}" for n in (18, 34, 50, 101, 152)}


def network(name, classes):
    more = {}
    if name == "googlenet":
        more = {"aux_logits": False, "transform_input": False, "init_weights": False}
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **more).eval()


def main():
    worst, count = 0.0, 0
    for case in sorted(Path(sys.argv[1]).glob("*.json")):
        name = NAMES.get(case.stem.rsplit("-", 2)[0])
        if name is None:
            continue
        sizes = json.loads(case.read_text())["input"]
        x = torch.from_numpy(np.fromfile(case.with_suffix(".input"), "<f4").reshape(sizes))
        ours = np.fromfile(case.with_suffix(".logits"), "<f4").reshape(sizes[0], -1)
        graph = onnx.load(str(case.with_suffix(".onnx"))).graph
        arrays = {t.name: onnx.numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer}
        theirs = network(name, ours.shape[1])
        state = {key: torch.from_numpy(array) for key, array in arrays.items()}
        missing, unexpected = theirs.load_state_dict(state, strict=False)
        missing = [key for key in missing if not key.endswith("num_batches_tracked")]
        assert not missing and not unexpected, (missing, unexpected)
        with torch.no_grad():
            want = theirs(x).numpy().astype(np.float64)
        error = float(np.linalg.norm(ours - want) / np.linalg.norm(want))
        print(f"{case.stem}: {error:.1e}", flush=True)
        worst, count = max(worst, error), count + 1
    print(f"{count} cases with torchvision {torchvision.__version__}, at most {worst:.1e}")
    sys.exit(not (count and worst <= ALLOWED))


main()
