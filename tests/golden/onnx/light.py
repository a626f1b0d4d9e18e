#!/usr/bin/env python3
"""Golden values: the five light models of the onnx package with other weights, by ONNX Runtime.

Each weight of a light model is one number repeated, so that its output says little. Here every floating-point tensor is
refilled with numbers that are a hash of its name and the place in it; the tests fill theirs by the same rule. The
softmax at the end is taken off. The input is `arange(n) / n`, as in the package's own tests.

Needs onnx, onnxruntime and numpy (PyPI):

    python3 tests/golden/onnx/light.py tests/golden/onnx/light tests/golden/onnx/light.json
"""

import json
import os
import sys

import numpy

STEP = 20  # every so many classes a logit is kept
# Low and high end of vectors by the end of their names: scales, means and variances of batch norm, then biases.
RANGES = [
    ("bn_s_0", 0.2, 0.6),
    ("bn_rm_0", -0.2, 0.2),
    ("bn_riv_0", 0.5, 1.5),
    (".weight", 0.8, 1.2),
    (".running_mean", -0.2, 0.2),
    (".running_var", 0.5, 1.5),
    ("", -0.1, 0.1),
]


def hashed(name, count):
    """The finaliser of MurmurHash3 over the places, seeded by the FNV-1a of the name; in [0, 1)."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 % 2**32
    h = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(0x9E3779B9) + numpy.uint32(seed)
    h = (h ^ (h >> 16)) * numpy.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * numpy.uint32(0xC2B2AE35)
    return ((h ^ (h >> 16)) >> 8).astype(numpy.float32) / numpy.float32(1 << 24)


def tensor(name, shape):
    """What the tests put into the tensor too, computed in f32 in the same order."""
    count = int(numpy.prod(shape))
    if len(shape) > 1:
        rows = next((size for size in shape if size != 1), 1)  # the FC weight of Inception is [1, 1, 1000, 1024]
        high = numpy.float32((6.0 / (count // rows)) ** 0.5)
        low = -high
    else:
        low, high = next((numpy.float32(l), numpy.float32(h)) for end, l, h in RANGES if name.endswith(end))
    return (low + (high - low) * hashed(name, count)).reshape(shape).astype(numpy.float32)


def refilled(model):
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    float32 = onnx.TensorProto.FLOAT
    # A single number is a constant of the graph's arithmetic, not a weight.
    weights = {t.name: list(t.dims) for t in graph.initializer if t.data_type == float32 and t.dims}
    nodes = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0].endswith("__SHAPE"):
            weights[node.output[0]] = [int(d) for d in shapes[node.input[0]]]
        else:
            nodes.append(node)
    kept = [t for t in graph.initializer if t.name not in weights]
    kept += [numpy_helper.from_array(tensor(name, shape), name) for name, shape in weights.items()]
    if nodes[-1].op_type == "Softmax":
        graph.output[0].name = nodes.pop().input[0]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return model


def main(folder, out):
    import onnx
    import onnxruntime

    golden = {}
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".onnx"):
            continue
        model = refilled(onnx.load(os.path.join(folder, file)))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        taken = session.get_inputs()
        names = {t.name for t in model.graph.initializer}
        [x] = [i for i in taken if i.name not in names]
        count = int(numpy.prod(x.shape))
        data = (numpy.arange(count, dtype=numpy.float32) / numpy.float32(count)).reshape(x.shape)
        [logits] = session.run(None, {x.name: data})
        logits = logits.astype(numpy.float64).ravel()
        golden[file] = {
            "norm": float(numpy.sqrt((logits**2).sum())),
            "logits": [[i, float(logits[i])] for i in range(0, len(logits), STEP)],
        }
        print(file, golden[file]["norm"], logits.std(), logits.mean())
    with open(out, "w") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
