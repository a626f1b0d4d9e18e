#!/usr/bin/env python3
"""Small models, one for each operator and each trap of reading it, with what ONNX Runtime computes.

    python3 tests/golden/onnx/operators.py tests/golden/onnx/operators

writes a file for each case and `expected.json`. The input of a case is a hash of its name, as in light.py, between -1 and
1. Needs onnx, onnxruntime and numpy (PyPI).
"""

import json
import os
import sys

import numpy
import onnx
import onnxruntime
from light import hashed
from onnx import TensorProto, helper, numpy_helper

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Model:
    """Nodes one after another; the last result is `x`."""

    def __init__(self, name, channels=5, size=9, batch="N", opset=13, ir=8, classes=6):
        self.name, self.shape, self.opset, self.ir = name, [batch, channels, size, size], opset, ir
        self.nodes, self.tensors, self.classes = [], [], classes
        self.listed = False
        self.x = "input"

    def tensor(self, name, shape, low=-0.5, high=0.5, dtype=numpy.float32):
        values = low + (high - low) * hashed(f"{self.name}.{name}", int(numpy.prod(shape)))
        self.tensors.append(numpy_helper.from_array(values.reshape(shape).astype(dtype), name))
        return name

    def given(self, name, values, dtype=numpy.int64):
        self.tensors.append(numpy_helper.from_array(numpy.array(values, dtype=dtype), name))
        return name

    def node(self, op, inputs=None, outputs=1, **attributes):
        inputs = [self.x] if inputs is None else inputs
        made = [f"v{len(self.nodes)}"] + [f"v{len(self.nodes)}_{i}" for i in range(1, outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, name=f"n{len(self.nodes)}", **attributes))
        self.x = made[0]
        return self.x if outputs == 1 else made

    def conv(self, k, kernel, c, bias=True, name="conv", **attributes):
        w = self.tensor(f"{name}.weight", [k, c, *kernel])
        b = [self.tensor(f"{name}.bias", [k])] if bias else []
        return self.node("Conv", [self.x, w, *b], kernel_shape=list(kernel), **attributes)

    def head(self, inputs):
        """All numbers of the map in a row, and a layer that reads each."""
        self.node("Flatten", axis=1)
        w, b = self.tensor("head.weight", [self.classes, inputs]), self.tensor("head.bias", [self.classes])
        return self.node("Gemm", [self.x, w, b], transB=1)

    def proto(self):
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.shape)]
        if self.listed:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.tensors]
        output = helper.make_tensor_value_info(self.x, TensorProto.FLOAT, [None, None])
        graph = helper.make_graph(self.nodes, self.name, inputs, [output], self.tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.ir, producer_name="operators.py")


@case
def conv_uneven_pads(m):
    m.conv(6, (3, 4), 5, strides=[2, 2], pads=[2, 0, 1, 3])
    m.head(6 * 5 * 5)


@case
def conv_more_before(m):
    m.conv(4, (4, 3), 5, strides=[3, 1], pads=[3, 2, 0, 0])
    m.head(4 * 3 * 9)


@case
def conv_same_upper(m):
    m.conv(4, (4, 3), 5, strides=[2, 2], auto_pad="SAME_UPPER")
    m.head(4 * 25)


@case
def conv_same_lower(m):
    m.conv(4, (2, 5), 5, strides=[1, 2], auto_pad="SAME_LOWER")
    m.head(4 * 45)


@case
def conv_valid(m):
    m.conv(4, (3, 3), 5, auto_pad="VALID")
    m.head(4 * 49)


@case
def conv_groups(m):
    m.shape[1] = 6
    m.conv(10, (3, 3), 3, group=2, pads=[1, 1, 1, 1], bias=False)
    m.head(10 * 81)


@case
def conv_over_the_whole_map(m):
    m.conv(7, (9, 9), 5)
    m.node("Relu")
    m.conv(6, (1, 1), 7, name="last")
    m.node("Flatten", axis=1)


@case
def conv_with_bias_added(m):
    m.conv(8, (3, 3), 5, bias=False)
    m.node("Add", [m.x, m.tensor("bias", [1, 8, 1, 1])])
    m.node("Relu")
    m.head(8 * 49)


@case
def conv_with_unfused_norm(m):
    m.conv(8, (3, 3), 5)
    m.node("Mul", [m.tensor("scale", [8, 1, 1]), m.x])
    m.node("Add", [m.x, m.tensor("shift", [1, 8, 1, 1])])
    m.node("Relu")
    m.head(8 * 49)


@case
def conv_in_half(m):
    m.node("Cast", [m.tensor("half", [4, 5, 3, 3], dtype=numpy.float16)], to=TensorProto.FLOAT)
    m.node("Conv", ["input", m.x, m.tensor("bias", [4])])
    m.head(4 * 49)


@case
def max_pool_uneven(m):
    m.node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 1, 1, 0])
    m.head(5 * 4 * 5)


@case
def max_pool_ceil(m):
    m.shape[2:] = [8, 8]
    m.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    m.head(5 * 16)


@case
def average_without_padding(m):
    m.opset = 9
    m.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 2])
    m.head(5 * 4 * 5)


@case
def average_with_padding(m):
    m.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 2], count_include_pad=1)
    m.head(5 * 4 * 5)


@case
def average_ceil(m):
    m.shape[2:] = [8, 8]
    m.opset = 22
    m.ir = 10
    m.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    m.head(5 * 16)


@case
def average_same(m):
    m.node("AveragePool", kernel_shape=[4, 4], strides=[2, 2], auto_pad="SAME_UPPER")
    m.head(5 * 25)


@case
def lrn(m):
    m.shape[1] = 9
    m.node("LRN", size=3, alpha=0.5, beta=0.6, bias=1.5)
    m.head(9 * 81)


@case
def batch_norm(m):
    m.opset = 7
    m.conv(6, (3, 3), 5, bias=False)
    vectors = [("s", 0.5, 1.5), ("b", -0.5, 0.5), ("m", -0.5, 0.5), ("v", 0.5, 1.5)]
    m.node("BatchNormalization", [m.x, *(m.tensor(n, [6], low, high) for n, low, high in vectors)], epsilon=0.01)
    m.node("Relu")
    m.head(6 * 49)


@case
def gemm_plain(m):
    m.node("GlobalAveragePool")
    m.node("Reshape", [m.x, m.given("shape", [0, -1])])
    m.node("Gemm", [m.x, m.tensor("w", [5, 6]), m.tensor("b", [1, 6])], alpha=2.5, beta=0.5)


@case
def gemm_number_as_bias(m):
    m.node("Flatten")
    m.node("Gemm", [m.x, m.tensor("w", [6, 405]), m.given("b", 0.75, numpy.float32)], transB=1)


@case
def matmul_then_add(m):
    m.node("Flatten")
    m.node("Transpose", [m.tensor("w", [11, 405])], perm=[1, 0])
    m.node("MatMul", [m.nodes[0].output[0], m.x])
    m.node("Add", [m.tensor("b", [11]), m.x])
    m.node("Relu")
    m.node("MatMul", [m.x, m.tensor("last", [11, 6])])


@case
def sum_of_three(m):
    a = m.conv(4, (3, 3), 5, name="a")
    m.x = "input"
    b = m.conv(4, (3, 3), 5, name="b")
    m.x = "input"
    c = m.conv(4, (3, 3), 5, name="c", bias=False)
    m.node("Sum", [a, b, c])
    m.node("Sum", [m.x])
    m.head(4 * 49)


@case
def concat_of_branches(m):
    a = m.conv(4, (1, 1), 5, name="a")
    m.x = "input"
    m.conv(3, (3, 3), 5, name="b", pads=[1, 1, 1, 1])
    b = m.node("Relu")
    c = m.node("MaxPool", ["input"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    m.node("Concat", [a, b, c], axis=1)
    m.head(12 * 81)


@case
def dropout_with_mask(m):
    m.opset = 9
    m.x, _ = m.node("Dropout", outputs=2, ratio=0.5)
    m.head(405)


@case
def dropout_by_input(m):
    m.node("Dropout", [m.x, m.given("ratio", 0.3, numpy.float32)])
    m.head(405)


@case
def reshape_by_shape(m):
    m.opset = 11
    m.node("Shape")
    m.node("Gather", [m.x, m.given("zero", 0)], axis=0)
    m.node("Unsqueeze", axes=[0])
    m.node("Concat", [m.x, m.given("rest", [-1])], axis=0)
    m.node("Reshape", ["input", m.x])
    m.node("Gemm", [m.x, m.tensor("w", [6, 405]), m.tensor("b", [6])], transB=1)


@case
def reshape_of_a_fixed_batch(m):
    m.shape[0] = 2
    m.node("Reshape", [m.x, m.given("shape", [2, -1])])
    m.node("Gemm", [m.x, m.tensor("w", [6, 405]), m.tensor("b", [6])], transB=1)


@case
def squeeze_by_attribute(m):
    m.opset = 11
    m.node("GlobalAveragePool")
    m.node("Squeeze", axes=[2, 3])
    m.node("Gemm", [m.x, m.tensor("w", [6, 5]), m.tensor("b", [6])], transB=1)


@case
def squeeze_by_input(m):
    m.node("GlobalAveragePool")
    m.node("Squeeze", [m.x, m.given("axes", [-1, -2])])
    m.node("Unsqueeze", [m.x, m.given("more", [2])])
    m.node("Squeeze", [m.x, m.given("less", [2])])
    m.node("Gemm", [m.x, m.tensor("w", [6, 5]), m.tensor("b", [6])], transB=1)


@case
def softmax_that_flattens(m):
    m.opset = 11
    m.conv(6, (9, 9), 5)
    m.node("Softmax")
    m.node("Reshape", [m.x, m.given("shape", [-1, 6])])


@case
def softmax_along_an_axis(m):
    m.conv(6, (9, 9), 5)
    m.node("LogSoftmax", axis=1)
    m.node("Flatten")


@case
def relu_by_bounds(m):
    m.opset = 9
    m.conv(4, (3, 3), 5)
    m.node("Clip", min=0.0)
    m.head(4 * 49)


@case
def relu_by_input(m):
    m.conv(4, (3, 3), 5)
    m.node("Clip", [m.x, m.given("low", 0.0, numpy.float32)])
    m.head(4 * 49)


@case
def mean_by_attribute(m):
    m.conv(4, (3, 3), 5)
    m.node("ReduceMean", axes=[2, 3], keepdims=0)
    m.node("Gemm", [m.x, m.tensor("w", [6, 4]), m.tensor("b", [6])], transB=1)


@case
def mean_by_input(m):
    m.opset = 18
    m.conv(4, (3, 3), 5)
    m.node("ReduceMean", [m.x, m.given("axes", [-1, -2])])
    m.head(4)


@case
def pad_then_conv(m):
    m.node("Pad", [m.x, m.given("pads", [0, 0, 1, 2, 0, 0, 0, 1])])
    m.conv(4, (3, 3), 5, strides=[2, 2], pads=[0, 0, 1, 0])
    m.head(4 * 5 * 5)


@case
def pad_then_max(m):
    m.opset = 10
    m.conv(4, (1, 1), 5)
    m.node("Relu")
    m.node("Pad", pads=[0, 0, 0, 1, 0, 0, 1, 1])
    m.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    m.head(4 * 4 * 5)


@case
def pad_then_average(m):
    m.node("Pad", [m.x, m.given("pads", [0, 0, 1, 1, 0, 0, 1, 1]), m.given("value", 0.0, numpy.float32)])
    m.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2])
    m.head(5 * 25)


def every_second(m):
    cut = {"from": [0, 0], "to": [9999, 9999], "axes": [2, 3], "step": [2, 2]}
    m.node("Slice", [m.x, *(m.given(name, values) for name, values in cut.items())])


@case
def shortcut_without_parameters(m):
    m.conv(4, (1, 1), 5, name="first")
    x = m.node("Relu")
    y = m.conv(8, (3, 3), 4, strides=[2, 2], pads=[1, 1, 1, 1])
    m.x = x
    every_second(m)
    s = m.node("Pad", [m.x, m.given("pads", [0, 2, 0, 0, 0, 2, 0, 0])])
    m.node("Add", [s, y])
    m.node("Relu")
    m.head(8 * 25)


@case
def shortcut_with_channels_behind(m):
    y = m.conv(8, (3, 3), 5, strides=[2, 2], pads=[1, 1, 1, 1])
    m.x = "input"
    every_second(m)
    s = m.node("Pad", [m.x, m.given("pads", [0, 0, 0, 0, 0, 3, 0, 0])])
    m.node("Add", [y, s])
    m.head(8 * 25)


@case
def every_second_pixel(m):
    every_second(m)
    m.conv(4, (3, 3), 5)
    m.head(4 * 9)


@case
def channels_taken(m):
    m.conv(7, (1, 1), 5)
    a, b = m.node("Split", [m.x, m.given("sizes", [3, 4])], outputs=2, axis=1)
    m.x = b
    m.node("Slice", [m.x, m.given("from", [3]), m.given("to", [-9]), m.given("axes", [1]), m.given("step", [-2])])
    m.node("Concat", [m.x, a], axis=1)
    m.head(5 * 81)


@case
def input_scaled(m):
    m.shape[1] = 3
    m.node("Sub", [m.x, m.tensor("mean", [1, 3, 1, 1])])
    m.node("Div", [m.x, m.tensor("std", [3, 1, 1], 0.5, 1.5)])
    m.node("Mul", [m.x, m.given("times", 2.0, numpy.float32)])
    m.conv(4, (3, 3), 3, pads=[1, 1, 1, 1])
    m.head(4 * 81)


@case
def input_normalised(m):
    m.shape[1] = 3
    vectors = [("s", 0.5, 1.5), ("b", -0.5, 0.5), ("m", -0.5, 0.5), ("v", 0.5, 1.5)]
    m.node("BatchNormalization", [m.x, *(m.tensor(n, [3], low, high) for n, low, high in vectors)])
    m.conv(4, (3, 3), 3, pads=[1, 1, 1, 1])
    m.head(4 * 81)


@case
def input_in_another_order(m):
    m.shape[1] = 3
    m.node("Gather", [m.x, m.given("order", [2, 1, 0])], axis=1)
    m.node("Sub", [m.x, m.tensor("mean", [1, 3, 1, 1])])
    m.conv(4, (3, 3), 3, pads=[1, 1, 1, 1])
    m.head(4 * 81)


@case
def input_channel_by_channel(m):
    m.shape[1] = 3
    m.opset = 11
    parts = []
    for i in range(3):
        m.x = "input"
        m.node("Gather", [m.x, m.given(f"i{i}", i)], axis=1)
        m.node("Unsqueeze", axes=[1])
        m.node("Mul", [m.x, m.given(f"times{i}", 0.5 + i, numpy.float32)])
        parts.append(m.node("Add", [m.x, m.given(f"plus{i}", 0.25 * i, numpy.float32)]))
    m.node("Concat", parts, axis=1)
    m.conv(4, (3, 3), 3, pads=[1, 1, 1, 1])
    m.head(4 * 81)


@case
def weights_listed_as_inputs(m):
    m.opset, m.ir, m.listed = 8, 3, True
    m.conv(4, (3, 3), 5)
    m.node("Relu")
    m.head(4 * 49)


@case
def weights_shared(m):
    w = m.tensor("w", [5, 5, 3, 3])
    m.node("Conv", [m.x, w], pads=[1, 1, 1, 1])
    m.node("Relu")
    x = m.x
    alias = m.node("Identity", [w])
    m.node("Conv", [x, alias], pads=[1, 1, 1, 1])
    m.head(405)


@case
def classes_of_a_map(m):
    m.conv(6, (3, 3), 5)
    m.node("Relu")
    m.node("GlobalAveragePool")
    m.node("Flatten")


@case
def as_cntk_writes(m):
    """Weights of a dense layer in the sizes of the map, biases of [C, 1, 1], pixels divided in the network."""
    m.shape[1] = 3
    m.node("Div", [m.x, m.given("by", 2.0, numpy.float32)])
    m.conv(4, (3, 3), 3, auto_pad="SAME_UPPER", bias=False)
    m.node("Add", [m.x, m.tensor("plus", [4, 1, 1])])
    m.node("Relu")
    m.node("MaxPool", kernel_shape=[3, 3], strides=[3, 3], auto_pad="NOTSET", pads=[0, 0, 0, 0])
    x = m.node("Reshape", [m.x, m.given("row", [-1, 36])])
    w = m.node("Reshape", [m.tensor("w", [4, 3, 3, 6]), m.given("matrix", [36, 6])])
    m.node("MatMul", [x, w])
    m.node("Add", [m.x, m.tensor("b", [1, 6])])


@case
def softmax_as_mxnet_writes(m):
    """Batch norm in front of all, dropout, a global pooling with a kernel of its own, a flattening by Reshape."""
    m.shape[1] = 3
    m.opset = 9
    vectors = [("s", 0.5, 1.5), ("b", -0.5, 0.5), ("m", -0.5, 0.5), ("v", 0.5, 1.5)]
    m.node("BatchNormalization", [m.x, *(m.tensor(n, [3], low, high) for n, low, high in vectors)], epsilon=2e-5)
    m.conv(4, (3, 3), 3, pads=[1, 1, 1, 1], dilations=[1, 1], group=1, strides=[1, 1])
    m.node("Relu")
    m.node("Dropout", ratio=0.5)
    m.node("GlobalAveragePool")
    m.node("Reshape", [m.x, m.given("row", [0, -1])])
    m.node("Gemm", [m.x, m.tensor("w", [6, 4]), m.tensor("last", [6])], transB=1, alpha=1.0, beta=1.0)
    m.node("Softmax", axis=1)


def main(folder):
    os.makedirs(folder, exist_ok=True)
    expected = {}
    for name, build in CASES.items():
        m = Model(name)
        build(m)
        model = m.proto()
        onnx.checker.check_model(model)
        onnx.save(model, os.path.join(folder, f"{name}.onnx"))
        shape = [2, *m.shape[1:]]
        x = (2 * hashed(name, int(numpy.prod(shape))) - 1).reshape(shape).astype(numpy.float32)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        logits = model
        for node in list(logits.graph.node):  # what the softmax reads
            if "oftmax" in node.op_type:
                node.op_type = "Identity"
                del node.attribute[:]
        [y] = onnxruntime.InferenceSession(logits.SerializeToString(), options).run(None, {"input": x})
        expected[name] = [float(v) for v in y.ravel()]
    with open(os.path.join(folder, "expected.json"), "w") as f:
        f.write("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items()) + "\n}\n")
    print(len(expected), "cases")


if __name__ == "__main__":
    main(sys.argv[1])
