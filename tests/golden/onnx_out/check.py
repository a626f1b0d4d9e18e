"""Runs ONNX files that Ocelli wrote in ONNX Runtime and compares the logits.

    OCELLI_ONNX_CASES=FOLDER cargo test --test all onnx_out::cases -- --ignored
    python3 tests/golden/onnx_out/check.py FOLDER [--delete]

Needs onnx, onnxruntime and numpy. A case NAME is NAME.onnx, NAME.input (f32, [batch, 3, H, W]), NAME.logits
(f32) and NAME.json. With --delete the files of a case that agrees are removed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

# Relative L2 error of the logits.
ALLOWED = 2e-5
# Pictures must differ by this part of their logits, or a wrong layer might not show.
SPREAD = 1e-3


def relative(got, want):
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def run(path, x, optimised):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input"]
    assert session.get_inputs()[0].shape[0] == "batch"
    return [session.run(["logits"], {"input": part})[0] for part in (x, x[:1])]


def check(case):
    sizes = json.loads(case.read_text())["input"]
    x = np.fromfile(case.with_suffix(".input"), "<f4").reshape(sizes)
    ours = np.fromfile(case.with_suffix(".logits"), "<f4").reshape(sizes[0], -1).astype(np.float64)
    path = case.with_suffix(".onnx")
    onnx.checker.check_model(str(path), full_check=True)
    props = {p.key: p.value for p in onnx.load(str(path), load_external_data=False).metadata_props}
    assert props["ocelli.case"] == case.stem, props
    errors = []
    for optimised in (True, False):
        batch, one = run(path, x, optimised)
        assert batch.shape == ours.shape, (batch.shape, ours.shape)
        errors += [relative(ours, batch), relative(ours[:1], one)]
    spread = relative(ours[0], ours[1])
    return max(errors), spread


def main():
    folder = Path(sys.argv[1])
    failed, worst, count = [], 0.0, 0
    for case in sorted(folder.glob("*.json")):
        error, spread = check(case)
        good = error <= ALLOWED and spread >= SPREAD
        verdict = "" if good else "  WRONG"
        print(f"{case.stem}: {error:.1e}, pictures differ by {spread:.2g}{verdict}", flush=True)
        worst, count = max(worst, error), count + 1
        if not good:
            failed.append(case.stem)
        elif "--delete" in sys.argv:
            for ending in (".onnx", ".input", ".logits", ".json"):
                case.with_suffix(ending).unlink()
    version = onnxruntime.__version__
    print(f"{count} cases with ONNX Runtime {version}, at most {worst:.1e}, {len(failed)} wrong")
    sys.exit(bool(failed) or count == 0)


main()
