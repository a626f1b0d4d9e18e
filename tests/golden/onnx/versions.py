#!/usr/bin/env python3
"""Small models for both sides of each version at which an operator changes, with what ONNX Runtime computes.

    python3 tests/golden/onnx/versions.py tests/golden/onnx/versions

writes a file for each form of an operator, and `expected.json`: for which opsets the form is good and what it gives. It
first holds the table in src/exchange/onnx_in/versions.rs against the definitions of the onnx package. A form is run at
both sides of each version in its range; ONNX Runtime begins with opset 7, so that what is older must give what the
form of opset 7 gives. The input is a hash of the operator's name, as in operators.py. Needs onnx, onnxruntime and numpy.
"""

import json
import os
import re
import sys

import numpy
import onnx
import onnxruntime
from light import hashed
from onnx import helper
from operators import Model

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "../../../src/exchange/onnx_in/versions.rs")
NEWEST = onnx.defs.onnx_opset_version()
OLDEST_RUN = 7
FORMS = []


def history():
    """The table of the reader, which must be that of the standard."""
    with open(TABLE) as f:
        rows = re.findall(r'^    \("(\w+)", &\[([\d, ]+)\]\),$', f.read(), re.M)
    ours = {name: [int(v) for v in versions.split(",")] for name, versions in rows}
    theirs = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            theirs.setdefault(schema.name, []).append(schema.since_version)
    for name, versions in ours.items():
        assert versions == sorted(theirs[name]), f"{name}: {versions}, but {sorted(theirs[name])}"
    return ours


def form(op, first=1, last=NEWEST, refused=None, name=None):
    """A form of an operator that is good from one opset to another; or one that must be refused, and why."""

    def register(build):
        FORMS.append((op, name or build.__name__, first, last, refused, build))
        return build

    return register


def tail(m, inputs):
    """A layer that reads each number, in words that mean the same in every version."""
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("head", [inputs, 3]), m.tensor("head.bias", [3])])


def arithmetic(op):
    @form(op, 1, 6, name=f"{op.lower()}_by_axis")
    def by_axis(m):
        m.node(op, [m.x, m.tensor("other", [2], 0.5, 1.5)], broadcast=1, axis=1)
        tail(m, 32)

    @form(op, 7, name=f"{op.lower()}_by_shape")
    def by_shape(m):
        m.node(op, [m.x, m.tensor("other", [2, 1, 1], 0.5, 1.5)])
        tail(m, 32)

    @form(op, 7, refused="it says an axis", name=f"{op.lower()}_by_axis_too_late")
    def too_late(m):
        by_axis(m)


for one in ("Add", "Sub", "Mul", "Div"):
    arithmetic(one)


@form("Sum", 1)
def sum_of_two(m):
    y = m.node("Relu")
    m.node("Sum", ["input", y])
    tail(m, 32)


def norm(m, outputs=1, **attributes):
    names = [("s", 0.5, 1.5), ("b", -0.5, 0.5), ("m", -0.5, 0.5), ("v", 0.5, 1.5)]
    m.conv(2, (1, 1), 2)
    vectors = [m.tensor(n, [2], low, high) for n, low, high in names]
    made = m.node("BatchNormalization", [m.x, *vectors], outputs=outputs, epsilon=0.01, **attributes)
    m.x = made if outputs == 1 else made[0]
    tail(m, 32)


@form("BatchNormalization", 1, 5)
def norm_with_consumed(m):
    norm(m, is_test=1, spatial=1, consumed_inputs=[0, 0, 0, 1, 1])


@form("BatchNormalization", 6, 6)
def norm_in_test(m):
    norm(m, is_test=1, spatial=1)


@form("BatchNormalization", 7, 8)
def norm_spatial(m):
    norm(m, spatial=1)


@form("BatchNormalization", 7)
def norm_plain(m):
    norm(m)


@form("BatchNormalization", 14)
def norm_said_not_to_train(m):
    norm(m, training_mode=0)


@form("BatchNormalization", 1, 6, refused="training mode")
def norm_not_in_test(m):
    norm(m)


@form("BatchNormalization", 7, 13, refused="training mode")
def norm_with_five_results(m):
    norm(m, outputs=5)


@form("BatchNormalization", 14, refused="training mode")
def norm_that_trains(m):
    norm(m, outputs=3, training_mode=1)


@form("BatchNormalization", 7, 8, refused="spatial")
def norm_per_pixel(m):
    norm(m, spatial=0)


@form("Dropout", 1, 6)
def dropout_in_test(m):
    m.node("Dropout", is_test=1, ratio=0.5)
    tail(m, 32)


@form("Dropout", 7, 11)
def dropout_by_attribute(m):
    m.node("Dropout", ratio=0.5)
    tail(m, 32)


@form("Dropout", 12)
def dropout_by_input(m):
    m.node("Dropout", [m.x, m.given("ratio", 0.5, numpy.float32), m.given("training", False, bool)])
    tail(m, 32)


@form("Dropout", 1, 6, refused="training mode")
def dropout_not_in_test(m):
    m.node("Dropout", ratio=0.5)
    tail(m, 32)


@form("Dropout", 12, refused="training mode")
def dropout_that_trains(m):
    m.node("Dropout", [m.x, m.given("ratio", 0.5, numpy.float32), m.given("training", True, bool)])
    tail(m, 32)


@form("Softmax", 1, 12)
def softmax_of_all_behind(m):
    m.conv(3, (4, 4), 2)
    m.node("Softmax", axis=1)
    m.node("Flatten", axis=1)


@form("Softmax", 1, 12)
def softmax_axis_unsaid_old(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [32, 3]), m.tensor("b", [3])])
    m.node("Softmax")


@form("Softmax", 13)
def softmax_axis_unsaid(m):
    softmax_axis_unsaid_old(m)


@form("Softmax", 13)
def softmax_of_one_axis(m):
    m.conv(3, (4, 4), 2)
    m.node("Softmax", axis=1)
    m.node("Flatten", axis=1)


@form("Softmax", 13, refused="along axis 3")
def softmax_of_the_last_axis(m):
    m.conv(3, (4, 4), 2)
    m.node("Softmax")
    m.node("Flatten", axis=1)


@form("LogSoftmax", 1)
def log_softmax(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [32, 3]), m.tensor("b", [3])])
    m.node("LogSoftmax", axis=1)


@form("Sigmoid", 1, 5)
def sigmoid_with_consumed(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [32, 1]), m.tensor("b", [1])])
    m.node("Sigmoid", consumed_inputs=[0])


@form("Sigmoid", 6)
def sigmoid(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [32, 1]), m.tensor("b", [1])])
    m.node("Sigmoid")


@form("Sigmoid", 6, refused="makes a probability of each number by itself")
def sigmoid_of_classes(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [32, 3]), m.tensor("b", [3])])
    m.node("Sigmoid")


@form("Clip", 1, 5)
def clip_with_consumed(m):
    m.node("Clip", min=0.0, consumed_inputs=[0])
    tail(m, 32)


@form("Clip", 6, 10)
def clip_by_attribute(m):
    m.node("Clip", min=0.0)
    tail(m, 32)


@form("Clip", 11)
def clip_by_input(m):
    m.node("Clip", [m.x, m.given("low", 0.0, numpy.float32)])
    tail(m, 32)


@form("Clip", 11, refused="its min is an attribute")
def clip_by_attribute_too_late(m):
    clip_by_attribute(m)


@form("Clip", 6, 10, refused="its min is an input")
def clip_by_input_too_early(m):
    clip_by_input(m)


@form("Clip", 6, 10)
def clip_to_infinity_by_attribute(m):
    m.node("Clip", min=0.0, max=float("inf"))
    tail(m, 32)


@form("Clip", 11)
def clip_to_infinity_by_input(m):
    m.node("Clip", [m.x, m.given("low", 0.0, numpy.float32), m.given("high", float("inf"), numpy.float32)])
    tail(m, 32)


@form("Clip", 6, 10, refused="between -inf and 6")
def clip_from_infinity_by_attribute(m):
    m.node("Clip", min=float("-inf"), max=6.0)
    tail(m, 32)


@form("Clip", 11, refused="between -inf and 6")
def clip_from_infinity_by_input(m):
    m.node("Clip", [m.x, m.given("low", float("-inf"), numpy.float32), m.given("high", 6.0, numpy.float32)])
    tail(m, 32)


@form("Relu", 1, 5)
def relu_with_consumed(m):
    m.node("Relu", consumed_inputs=[0])
    tail(m, 32)


@form("Relu", 6)
def relu(m):
    m.node("Relu")
    tail(m, 32)


@form("Concat", 1, 3)
def concat_axis_unsaid(m):
    y = m.node("Relu")
    m.node("Concat", ["input", y])
    tail(m, 64)


@form("Concat", 1)
def concat(m):
    y = m.node("Relu")
    m.node("Concat", ["input", y], axis=1)
    tail(m, 64)


@form("Concat", 4, refused="along which axis")
def concat_axis_missing(m):
    concat_axis_unsaid(m)


@form("Concat", 11)
def concat_axis_from_the_end(m):
    y = m.node("Relu")
    m.node("Concat", ["input", y], axis=-3)
    tail(m, 64)


@form("Pad", 1, 1)
def pad_old_name(m):
    m.node("Pad", paddings=[0, 0, 1, 0, 0, 0, 0, 1])
    m.conv(2, (3, 3), 2)
    tail(m, 18)


@form("Pad", 2, 10)
def pad_by_attribute(m):
    m.node("Pad", pads=[0, 0, 1, 0, 0, 0, 0, 1])
    m.conv(2, (3, 3), 2)
    tail(m, 18)


@form("Pad", 11)
def pad_by_input(m):
    m.node("Pad", [m.x, m.given("pads", [0, 0, 1, 0, 0, 0, 0, 1])])
    m.conv(2, (3, 3), 2)
    tail(m, 18)


@form("Pad", 18)
def pad_of_axes(m):
    m.node("Pad", [m.x, m.given("pads", [1, 0, 0, 1]), "", m.given("axes", [2, -1])])
    m.conv(2, (3, 3), 2)
    tail(m, 18)


@form("Pad", 2, 10, refused="pads in the mode constant with -inf")
def pad_with_infinity_by_attribute(m):
    m.node("Pad", pads=[0, 0, 1, 0, 0, 0, 0, 1], value=float("-inf"))
    tail(m, 50)


@form("Pad", 11, refused="pads in the mode constant with -inf")
def pad_with_infinity_by_input(m):
    m.node("Pad", [m.x, m.given("pads", [0, 0, 1, 0, 0, 0, 0, 1]), m.given("value", float("-inf"), numpy.float32)])
    tail(m, 50)


@form("Pad", 2, 10, refused="it pads axis 0 of a batch")
def pad_of_the_batch_by_attribute(m):
    m.node("Pad", pads=[1, 0, 0, 0, 0, 0, 0, 0])
    tail(m, 32)


@form("Pad", 11, refused="it pads axis 0 of a batch")
def pad_of_the_batch_by_input(m):
    m.node("Pad", [m.x, m.given("pads", [1, 0, 0, 0, 0, 0, 0, 0])])
    tail(m, 32)


@form("Pad", 11, refused="its pads is an attribute")
def pad_by_attribute_too_late(m):
    pad_by_attribute(m)


@form("ReduceMean", 1, 17)
def mean_by_attribute(m):
    m.conv(3, (1, 1), 2)
    m.node("ReduceMean", axes=[2, 3], keepdims=0)


@form("ReduceMean", 18)
def mean_by_input(m):
    m.conv(3, (1, 1), 2)
    m.node("ReduceMean", [m.x, m.given("axes", [2, 3])], keepdims=0)


@form("ReduceMean", 11, 17)
def mean_from_the_end(m):
    m.conv(3, (1, 1), 2)
    m.node("ReduceMean", axes=[-1, -2], keepdims=0)


@form("ReduceMean", 18, refused="its axes is an attribute")
def mean_by_attribute_too_late(m):
    mean_by_attribute(m)


@form("Reshape", 1, 4)
def reshape_by_attribute(m):
    m.node("Reshape", shape=[0, -1])
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Reshape", 5)
def reshape_by_input(m):
    m.node("Reshape", [m.x, m.given("shape", [0, -1])])
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Reshape", 14)
def reshape_where_zero_is_a_size(m):
    m.node("Reshape", [m.x, m.given("shape", [-1, 32])], allowzero=1)
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Reshape", 5, refused="its shape is an attribute")
def reshape_by_attribute_too_late(m):
    reshape_by_attribute(m)


@form("Shape", 5)
def shape_of_all(m):
    m.node("Shape")
    m.node("Gather", [m.x, m.given("first", [0])])
    m.node("Concat", [m.x, m.given("rest", [-1])], axis=0)
    m.node("Reshape", ["input", m.x])
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Shape", 15)
def shape_of_a_part(m):
    m.node("Shape", start=-4, end=1)
    m.node("Concat", [m.x, m.given("rest", [-1])], axis=0)
    m.node("Reshape", ["input", m.x])
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Slice", 1, 9)
def slice_by_attribute(m):
    m.conv(4, (1, 1), 2)
    m.node("Slice", starts=[1], ends=[-1], axes=[1])
    tail(m, 32)


@form("Slice", 10)
def slice_by_input(m):
    m.conv(4, (1, 1), 2)
    m.node("Slice", [m.x, m.given("from", [1]), m.given("to", [-1]), m.given("axes", [1])])
    tail(m, 32)


@form("Slice", 10)
def slice_by_steps(m):
    m.conv(4, (1, 1), 2)
    cut = {"from": [3], "to": [0], "axes": [1], "step": [-2]}
    m.node("Slice", [m.x, *(m.given(name, values) for name, values in cut.items())])
    tail(m, 32)


@form("Slice", 10, refused="is an attribute")
def slice_by_attribute_too_late(m):
    slice_by_attribute(m)


def halves(m, a, b):
    m.node("Concat", [b, a], axis=1)
    tail(m, 48)


@form("Split", 2, 12)
def split_by_attribute(m):
    m.conv(3, (1, 1), 2)
    halves(m, *m.node("Split", outputs=2, axis=1, split=[2, 1]))


@form("Split", 13)
def split_by_input(m):
    m.conv(3, (1, 1), 2)
    halves(m, *m.node("Split", [m.x, m.given("sizes", [2, 1])], outputs=2, axis=1))


@form("Split", 1, 1)
def split_by_input_at_first(m):
    split_by_input(m)


@form("Split", 18)
def split_unevenly(m):
    m.conv(3, (1, 1), 2)
    halves(m, *m.node("Split", outputs=2, axis=1, num_outputs=2))


@form("Split", 2, 17, refused="equal parts")
def split_unevenly_too_early(m):
    m.conv(3, (1, 1), 2)
    halves(m, *m.node("Split", outputs=2, axis=1))


def axes_of_one(op, attribute, before, behind):
    def build(m):
        m.conv(3, (4, 4), 2)
        before(m)
        if attribute:
            m.node(op, axes=[2, 3])
        else:
            m.node(op, [m.x, m.given("axes", [2, 3])])
        behind(m)

    return build


for one, before, behind in (
    ("Squeeze", lambda m: None, lambda m: None),
    ("Unsqueeze", lambda m: m.node("Flatten", axis=1), lambda m: m.node("Flatten", axis=1)),
):
    for attribute, first, last, refused, name in (
        (True, 1, 12, None, "by_attribute"),
        (False, 13, NEWEST, None, "by_input"),
        (True, 13, NEWEST, "its axes is an attribute", "by_attribute_too_late"),
    ):
        build = axes_of_one(one, attribute, before, behind)
        form(one, first, last, refused, f"{one.lower()}_{name}")(build)


@form("Cast", 1, 5)
def cast_by_name(m):
    m.node("Cast", to="FLOAT")
    tail(m, 32)


@form("Cast", 6)
def cast_by_number(m):
    m.node("Cast", to=onnx.TensorProto.FLOAT)
    tail(m, 32)


@form("Constant", 1)
def constant_tensor(m):
    m.tensor("other", [2])
    y = m.node("Constant", [], value=m.tensors.pop())
    m.node("Conv", ["input", m.tensor("w", [2, 2, 1, 1]), y])
    tail(m, 32)


@form("Constant", 12)
def constant_numbers(m):
    y = m.node("Constant", [], value_floats=[0.25, -0.5])
    m.node("Conv", ["input", m.tensor("w", [2, 2, 1, 1]), y])
    tail(m, 32)


@form("ConstantOfShape", 9)
def constant_of_shape(m):
    value = onnx.numpy_helper.from_array(numpy.array([0.5], numpy.float32))
    y = m.node("ConstantOfShape", [m.given("size", [2])], value=value)
    m.node("Conv", ["input", m.tensor("w", [2, 2, 1, 1]), y])
    tail(m, 32)


@form("Conv", 1)
def conv_same_lower(m):
    m.conv(2, (2, 2), 2, auto_pad="SAME_LOWER", strides=[2, 1])
    tail(m, 16)


@form("Conv", 1)
def conv_with_pads(m):
    m.conv(2, (3, 2), 2, pads=[1, 0, 0, 1], strides=[1, 2])
    tail(m, 12)


@form("MaxPool", 1)
def max_pool(m):
    m.node("MaxPool", kernel_shape=[2, 2], strides=[2, 1], pads=[1, 0, 0, 1])
    tail(m, 16)


@form("MaxPool", 10)
def max_pool_ceil(m):
    m.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    tail(m, 8)


@form("MaxPool", 10)
def max_pool_same(m):
    m.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", dilations=[1, 1])
    tail(m, 8)


@form("MaxPool", 10, refused="its windows have gaps")
def max_pool_with_gaps(m):
    m.node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])
    tail(m, 8)


@form("AveragePool", 1)
def average_pool(m):
    m.node("AveragePool", kernel_shape=[2, 2], strides=[2, 1], pads=[1, 0, 0, 1])
    tail(m, 16)


@form("AveragePool", 7)
def average_with_the_padding(m):
    m.node("AveragePool", kernel_shape=[2, 2], strides=[2, 1], pads=[1, 0, 0, 1], count_include_pad=1)
    tail(m, 16)


@form("AveragePool", 10)
def average_ceil(m):
    m.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    tail(m, 8)


@form("AveragePool", 10)
def average_ceil_with_the_padding(m):
    m.node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1], ceil_mode=1, count_include_pad=1)
    tail(m, 8)


@form("AveragePool", 19, refused="its windows have gaps")
def average_with_gaps(m):
    m.node("AveragePool", kernel_shape=[2, 2], dilations=[2, 2])
    tail(m, 8)


@form("GlobalAveragePool", 1)
def global_average(m):
    m.conv(3, (1, 1), 2)
    m.node("GlobalAveragePool")
    m.node("Flatten", axis=1)


@form("GlobalMaxPool", 1)
def global_max(m):
    m.conv(3, (1, 1), 2)
    m.node("GlobalMaxPool")
    m.node("Flatten", axis=1)


@form("ReduceMax", 1, 17)
def max_by_attribute(m):
    m.conv(3, (1, 1), 2)
    m.node("ReduceMax", axes=[2, 3], keepdims=0)


@form("ReduceMax", 18)
def max_by_input(m):
    m.conv(3, (1, 1), 2)
    m.node("ReduceMax", [m.x, m.given("axes", [2, 3])], keepdims=0)


@form("ReduceMax", 18, refused="its axes is an attribute")
def max_by_attribute_too_late(m):
    max_by_attribute(m)


def function(op):
    @form(op, 6, name=op.lower())
    def build(m):
        bias = m.node(op, [m.tensor("b", [2], 0.5, 1.5)])
        m.node("Conv", ["input", m.tensor("w", [2, 2, 1, 1]), bias])
        tail(m, 32)


for one in ("Neg", "Reciprocal", "Sqrt"):
    function(one)


@form("Expand", 8)
def expand(m):
    bias = m.node("Expand", [m.tensor("b", [1]), m.given("size", [2])])
    m.node("Conv", ["input", m.tensor("w", [2, 2, 1, 1]), bias])
    tail(m, 32)


@form("ReduceProd", 5)
def product_of_sizes(m):
    m.node("ReduceProd", [m.given("sizes", [2, 4, 4])], keepdims=1)
    m.node("Concat", [m.given("batch", [0]), m.x], axis=0)
    m.node("Reshape", ["input", m.x])
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Flatten", 1)
def flatten(m):
    tail(m, 32)


@form("Flatten", 11)
def flatten_from_the_end(m):
    m.node("Flatten", axis=-3)
    m.node("Gemm", [m.x, m.tensor("head", [32, 3]), m.tensor("head.bias", [3])])


@form("Gather", 1)
def gather(m):
    m.node("Gather", [m.x, m.given("which", [1, 0, 1])], axis=1)
    tail(m, 48)


@form("Gather", 11)
def gather_from_the_end(m):
    m.node("Gather", [m.x, m.given("which", [-1, 0, -1])], axis=1)
    tail(m, 48)


@form("Gemm", 1, 6)
def gemm_broadcast(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [3, 32]), m.tensor("b", [3])], transB=1, alpha=0.5, beta=2.0, broadcast=1)


@form("Gemm", 7)
def gemm(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [3, 32]), m.tensor("b", [3])], transB=1, alpha=0.5, beta=2.0)


@form("Gemm", 11)
def gemm_without_bias(m):
    m.node("Flatten", axis=1)
    m.node("Gemm", [m.x, m.tensor("w", [3, 32])], transB=1)


@form("Identity", 1)
def identity(m):
    m.node("Identity")
    tail(m, 32)


@form("LRN", 1)
def lrn(m):
    m.node("LRN", size=3, alpha=0.5, beta=0.6, bias=1.5)
    tail(m, 32)


@form("MatMul", 1)
def matmul(m):
    m.node("Flatten", axis=1)
    m.node("MatMul", [m.x, m.tensor("w", [32, 3])])


@form("Transpose", 1)
def transpose(m):
    m.node("Flatten", axis=1)
    x = m.x
    m.node("Transpose", [m.tensor("w", [3, 32])], perm=[1, 0])
    m.node("Gemm", [x, m.x, m.tensor("b", [3])])


def made(op, name, opset, build):
    # All forms of an operator on the same numbers.
    m = Model(op, channels=2, size=4, opset=opset, ir=3 if opset < 9 else 13, classes=3)
    m.listed = opset < 9
    build(m)
    model = m.proto()
    model.producer_name = "versions.py"
    return model


def run(op, model):
    x = (2 * hashed(op, 64) - 1).reshape(2, 2, 4, 4).astype(numpy.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    logits = onnx.ModelProto.FromString(model.SerializeToString())
    for node in list(logits.graph.node):  # what the softmax or the sigmoid reads
        if "oftmax" in node.op_type or node.op_type == "Sigmoid":
            node.op_type = "Identity"
            del node.attribute[:]
    [y] = onnxruntime.InferenceSession(logits.SerializeToString(), options).run(None, {"input": x})
    return y.ravel()


def main(folder):
    os.makedirs(folder, exist_ok=True)
    expected, ran, of_twin, newer = {}, 0, [], 0
    versions = history()
    numbers = {}
    for op, name, first, last, refused, build in FORMS:
        sides = {v for since in versions[op] for v in (since - 1, since) if first <= v <= last}
        opsets = sorted(sides | {first, last})
        model = made(op, name, opsets[-1] if opsets[-1] < 9 else max(opsets[0], 9), build)
        found = {"opsets": opsets}
        if refused:
            found["refused"] = refused
        else:
            results = []
            for opset in opsets:
                at = made(op, name, opset, build)
                if opset < OLDEST_RUN:
                    continue
                try:
                    onnx.checker.check_model(at)
                    results.append(run(op, at))
                    ran += 1
                except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
                    assert "Opset" in str(error) or "opset" in str(error), f"{name} {opset}: {error}"
                    newer += 1
                except Exception as error:
                    raise SystemExit(f"{name} of opset {opset}: {error}")
            for y in results[1:]:
                assert numpy.abs(y - results[0]).max() <= 1e-6, f"{name}: its opsets do not agree"
            if results:
                numbers.setdefault(op, results[0])
                found["want"] = [float(v) for v in results[0]]
            else:
                of_twin.append((op, name))
        expected[name] = found
        with open(os.path.join(folder, f"{name}.onnx"), "wb") as f:
            f.write(model.SerializeToString())
    twins = {"concat_axis_unsaid": "concat", "split_by_input_at_first": "split_by_input"}
    for op, name in of_twin:
        twin = expected.get(twins.get(name, ""), {}).get("want")
        expected[name]["want"] = twin or [float(v) for v in numbers[op]]
    with open(os.path.join(folder, "expected.json"), "w") as f:
        f.write("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items()) + "\n}\n")
    covered = {op for op, *_ in FORMS}
    assert covered == set(versions), f"no form of {set(versions) - covered}"
    print(f"{len(expected)} forms of {len(versions)} operators, {ran} runs; {len(of_twin)} forms older than "
          f"opset {OLDEST_RUN}, {newer} runs newer than ONNX Runtime")


if __name__ == "__main__":
    main(sys.argv[1])
