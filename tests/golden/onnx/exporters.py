#!/usr/bin/env python3
"""Networks as the exporters of other frameworks write them, with what ONNX Runtime computes of them.

    python3 tests/golden/onnx/exporters.py make tests/golden/onnx/exporters    narrow networks, for the tests
    python3 tests/golden/onnx/exporters.py check PROGRAM [NAME ...]            networks of full width, through `ocelli`

The first writes files of some kB and `expected.json`; the second prints a table: exporter, opset, network, the largest
difference of a logit to ONNX Runtime relative to the largest logit. What is in front of `/` in a name is the exporter; those
that this Python has not are left out, and said so. Needs onnx, onnxruntime, numpy and Pillow, and for `keras` tensorflow and
tf2onnx, for `torch` torch (and onnxscript), for `paddle` paddlepaddle and paddle2onnx, for `mxnet` mxnet 1.9 with numpy 1.23.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
warnings.filterwarnings("ignore")

import numpy
import onnx
import onnxruntime
from light import hashed

MAKERS = {}
SKIPPED = []


LARGE_ALONE = set()


def network(exporter, size=32, classes=5, large=False):
    """A network; its function gets the width of its first layer and its classes. A large one is for the check alone."""

    def register(build):
        if large:
            LARGE_ALONE.add(f"{exporter}/{build.__name__}")
        MAKERS[f"{exporter}/{build.__name__}"] = (exporter, build, size, classes)
        return build

    return register


def numbers(name, count):
    return 2 * hashed(name, count) - 1


# Keras and TensorFlow through tf2onnx.


def layers():
    import keras

    return keras.layers


def relu(x):
    return layers().ReLU()(x)


def conv(x, k, kernel, stride=1, padding="same", activation="relu", bias=True):
    return layers().Conv2D(k, kernel, strides=stride, padding=padding, activation=activation, use_bias=bias)(x)


def norm_relu(x, k, kernel, stride=1, active=True):
    L = layers()
    x = conv(x, k, kernel, stride, activation=None, bias=False)
    x = L.BatchNormalization(epsilon=1.001e-5)(x)
    return relu(x) if active else x


@network("keras")
def resnet(x, width, classes):
    """Bottlenecks and basic blocks, a shortcut with a 1x1 convolution, ZeroPadding2D in front as in keras.applications."""
    L = layers()
    x = L.ZeroPadding2D(3)(x)
    x = L.Conv2D(width, 7, strides=2)(x)
    x = relu(L.BatchNormalization()(x))
    x = L.ZeroPadding2D(1)(x)
    x = L.MaxPooling2D(3, strides=2)(x)
    for i, k in enumerate((width, 2 * width)):
        stride = 1 + i
        shortcut = norm_relu(x, 2 * k, 1, stride, active=False)
        y = norm_relu(norm_relu(x, k, 1, stride), k, 3)
        x = relu(L.Add()([shortcut, norm_relu(y, 2 * k, 1, active=False)]))
        y = norm_relu(norm_relu(x, k, 1), k, 3)
        x = relu(L.Add()([x, norm_relu(y, 2 * k, 1, active=False)]))
    return L.Dense(classes, activation="softmax")(L.GlobalAveragePooling2D()(x))


@network("keras")
def vgg(x, width, classes):
    L = layers()
    for k in (width, width, 2 * width):
        x = conv(conv(x, k, 3), k, 3)
        x = L.MaxPooling2D(2)(x)
    x = L.Flatten()(x)
    x = L.Dense(4 * width, activation="relu")(x)
    x = L.Dense(4 * width, activation="relu")(x)
    return L.Dense(classes, activation="softmax")(x)


@network("keras", size=67)
def alexnet(x, width, classes):
    """Local response normalisation and groups, as in 2012."""
    import tensorflow as tf

    L = layers()
    lrn = L.Lambda(lambda v: tf.nn.local_response_normalization(v, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75))
    x = L.MaxPooling2D(3, 2)(lrn(conv(x, width, 11, 4, "valid")))
    x = L.MaxPooling2D(3, 2)(conv(x, 2 * width, 5))
    groups = [conv(part, width, 3) for part in (x[..., :width], x[..., width:])]
    x = L.Concatenate()(groups)
    x = L.Flatten()(x)
    x = L.Dropout(0.5)(L.Dense(4 * width, activation="relu")(x))
    return L.Dense(classes)(x)


@network("keras", size=63)
def zfnet(x, width, classes):
    L = layers()
    x = L.MaxPooling2D(3, 2, padding="same")(conv(x, width, 7, 2, "valid"))
    x = L.MaxPooling2D(3, 2, padding="same")(conv(x, 2 * width, 5, 2))
    x = conv(conv(x, 3 * width, 3), 2 * width, 3)
    x = L.Flatten()(L.MaxPooling2D(3, 2)(x))
    return L.Dense(classes, activation="softmax")(L.Dense(4 * width, activation="relu")(x))


def inception(x, k):
    L = layers()
    parts = [conv(x, k, 1), conv(conv(x, k, 1), 2 * k, 3), conv(conv(x, k // 2, 1), k, 5)]
    parts.append(conv(L.MaxPooling2D(3, 1, padding="same")(x), k, 1))
    return L.Concatenate()(parts)


@network("keras", size=48)
def googlenet(x, width, classes):
    """With an auxiliary head: the deeper of the outputs is the one with the classes."""
    L = layers()
    x = L.MaxPooling2D(3, 2, padding="same")(conv(x, width, 7, 2))
    x = L.MaxPooling2D(3, 2, padding="same")(conv(conv(x, width, 1), 2 * width, 3))
    x = inception(x, width)
    a = conv(L.AveragePooling2D(3, 2)(x), width, 1)
    a = L.Dense(4 * width, activation="relu")(L.Flatten()(a))
    a = L.Dense(classes, activation="softmax", name="auxiliary")(a)
    x = inception(x, width)
    x = L.Dropout(0.4)(L.GlobalAveragePooling2D()(x))
    return [a, L.Dense(classes, activation="softmax", name="main")(x)]


@network("keras")
def norm_in_odd_places(x, width, classes):
    """Pixels scaled in the network, batch norm behind a ReLU and behind a dense layer: Mul and Add in the file."""
    L = layers()
    x = L.Rescaling(1 / 0.5, offset=-0.25)(x)
    x = L.BatchNormalization()(conv(x, width, 3, 2))
    x = L.BatchNormalization()(L.MaxPooling2D(2)(x))
    x = L.Dense(2 * width, activation="relu")(L.GlobalMaxPooling2D()(x))
    x = L.BatchNormalization()(x)
    return L.Dense(classes)(x)


@network("keras")
def small_dense_layers(x, width, classes):
    L = layers()
    x = L.Flatten()(L.AveragePooling2D(4)(conv(x, width, 3, 2)))
    for k in (8, 4, 6):
        x = L.Dense(k)(x)
    x = L.Dense(7, activation="relu")(x)
    return L.Dense(classes, activation="softmax")(L.Dense(3, use_bias=False)(x))


@network("keras")
def classes_of_a_map(x, width, classes):
    """No dense layer: a 1x1 convolution, the average of each class."""
    L = layers()
    x = conv(conv(x, width, 3, 2), 2 * width, 3, 2)
    x = L.GlobalAveragePooling2D(keepdims=True)(conv(x, classes, 1, activation=None))
    return L.Activation("softmax")(L.Flatten()(x))


@network("keras")
def head_of_a_mobilenet(x, width, classes):
    L = layers()
    x = L.GlobalAveragePooling2D()(conv(x, width, 3, 2))
    x = L.Dropout(0.1)(L.Reshape((1, 1, width))(x))
    x = L.Conv2D(classes, 1)(x)
    return L.Softmax()(L.Reshape((classes,))(x))


@network("keras")
def dense_of_each_pixel(x, width, classes):
    """A dense layer on a map, pixels in one size, their average."""
    L = layers()
    x = L.Dense(2 * width, activation="relu")(conv(x, width, 3, 2))
    x = L.Reshape((256, 2 * width))(x)
    return L.Dense(classes)(L.GlobalAveragePooling1D()(x))


@network("keras")
def colours_turned(x, width, classes):
    """BGR inside the network, means subtracted, asymmetric padding, an average pool with SAME."""
    L = layers()
    x = L.Concatenate()([x[..., 2:], x[..., 1:2], x[..., :1]])
    x = L.Rescaling(2.0, offset=[-0.1, -0.2, -0.3])(x)
    x = L.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = L.AveragePooling2D(3, 2, padding="same")(conv(x, width, 3, 2, "valid"))
    return L.Dense(classes)(L.Flatten()(x))


@network("keras", size=224, classes=1000, large=True)
def applications_resnet50(x, width, classes):
    import keras

    return keras.applications.ResNet50(weights=None, input_tensor=x, classes=classes).output


@network("keras", size=224, classes=1000, large=True)
def applications_vgg16(x, width, classes):
    import keras

    return keras.applications.VGG16(weights=None, input_tensor=x, classes=classes).output


def keras_files(build, name, size, classes, width, opsets, folder):
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.backend.clear_session()
    x = keras.Input((size, size, 3), name="pixels")
    model = keras.Model(x, build(x, width, classes))
    for i, weight in enumerate(model.weights):
        made = numbers(f"{name}.{i}", int(numpy.prod(weight.shape)))
        if "variance" in weight.path or "gamma" in weight.path:
            made = 1 + 0.5 * made
        elif len(weight.shape) > 1:
            made = made * (6 / numpy.prod(weight.shape[:-1])) ** 0.5
        else:
            made = 0.2 + 0.2 * made  # few ReLUs that nothing passes
        weight.assign(made.reshape(weight.shape))
    for opset, batch, first in opsets:
        spec = [tf.TensorSpec((batch, size, size, 3), tf.float32, name="pixels")]
        function = tf.function(lambda v: model(v, training=False), input_signature=spec)
        nchw = ["pixels"] if first else None
        proto, _ = tf2onnx.convert.from_function(function, input_signature=spec, opset=opset, inputs_as_nchw=nchw)
        kind = "nchw" if first else "nhwc"
        path = os.path.join(folder, f"{name.replace('/', '_')}.opset{opset}.{kind}.onnx")
        del proto.metadata_props[:]
        for node in proto.graph.node:
            node.doc_string = ""
        onnx.save(proto, path)
        yield path, f"tf2onnx {tf2onnx.__version__}, {kind}", opset, not first


# PyTorch.


@network("torch", size=32)
def training_left_on(width, classes):
    """An average by Reshape, a flattening by its shape, Gemm without a bias."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, width, 3, stride=2)
            self.norm = nn.BatchNorm2d(width)
            self.last = nn.Linear(width, classes, bias=False)

        def forward(self, x):
            x = self.norm(self.first(x)).relu()
            return self.last(x.view(x.size(0), x.size(1), -1).mean(2))

    return Net()


@network("torch", size=32)
def channels_last_by_hand(width, classes):
    """Permuted to NHWC and back, a linear layer on each pixel, flattened with channels last."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, width, 3, stride=2, padding=1)
            self.pixel = nn.Linear(width, 2 * width)
            self.second = nn.Conv2d(2 * width, 4, 3, stride=2)
            self.last = nn.Linear(4 * 7 * 7, classes)

        def forward(self, x):
            x = self.first(x).permute(0, 2, 3, 1)
            x = self.pixel(x).relu().permute(0, 3, 1, 2)
            return self.last(self.second(x).permute(0, 2, 3, 1).flatten(1))

    return Net()


@network("torch", size=32)
def several_heads(width, classes):
    """Features and logits."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.embed = nn.Linear(width, 7)
            self.last = nn.Linear(width, classes)

        def forward(self, x):
            x = self.body(x)
            return self.embed(x), x, self.last(x.relu())

    return Net()


def torch_files(build, name, size, classes, width, opsets, folder):
    import torch

    model = build(width, classes).eval()
    with torch.no_grad():
        for i, (key, p) in enumerate(model.state_dict().items()):
            made = torch.from_numpy(numbers(f"{name}.{i}", p.numel()).astype("float32").reshape(p.shape))
            p.copy_(1 + 0.5 * made if "var" in key else made + 0.5 * (p.dim() == 1) if p.dim() else p)
    for opset, batch, _ in opsets:
        x = torch.zeros(batch or 2, 3, size, size)
        path = os.path.join(folder, f"{name.replace('/', '_')}.opset{opset}.onnx")
        dynamic = None if batch else {"input": {0: "batch"}}
        # From version 2.9 on the other exporter is the default.
        old = {"dynamo": False} if [int(n) for n in torch.__version__.split(".")[:2]] >= [2, 5] else {}
        torch.onnx.export(model, (x,), path, opset_version=opset, input_names=["input"], dynamic_axes=dynamic, **old)
        yield path, f"torch {torch.__version__.split('+')[0]}", opset, False


# PaddlePaddle.


@network("paddle", size=32)
def paddle_vgg(width, classes):
    from paddle import nn

    return nn.Sequential(
        nn.Conv2D(3, width, 3, padding=1), nn.BatchNorm2D(width), nn.ReLU(), nn.MaxPool2D(2, 2),
        nn.Conv2D(width, width, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(width * 64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, classes), nn.Softmax(),
    )  # fmt: skip


@network("paddle", size=32)
def paddle_residual(width, classes):
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2D(3, width, 3, stride=2, padding=1)
            self.norm = nn.BatchNorm2D(width)
            self.second = nn.Conv2D(width, width, 3, padding=1, bias_attr=False)
            self.pool = nn.AdaptiveAvgPool2D(1)
            self.last = nn.Linear(width, classes)

        def forward(self, x):
            x = nn.functional.relu(self.norm(self.first(x)))
            x = nn.functional.relu(x + self.second(x))
            return self.last(paddle.flatten(self.pool(x), 1))

    return Net()


def paddle_files(build, name, size, classes, width, opsets, folder):
    import paddle

    model = build(width, classes)
    model.eval()
    for i, (key, p) in enumerate(model.state_dict().items()):
        made = numbers(f"{name}.{i}", int(numpy.prod(p.shape))).astype("float32").reshape(p.shape)
        p.set_value(1 + 0.5 * made if "variance" in key else 0.5 * made + 0.5 * (made.ndim == 1))
    for opset, batch, _ in opsets:
        path = os.path.join(folder, f"{name.replace('/', '_')}.opset{opset}")
        spec = [paddle.static.InputSpec([batch, 3, size, size], "float32", "image")]
        paddle.onnx.export(model, path, input_spec=spec, opset_version=opset)
        yield path + ".onnx", f"paddlepaddle {paddle.__version__}", opset, False


# MXNet, whose exporter writes one opset, that of the version of onnx beside it.


@network("mxnet", size=32)
def gluon_residual(width, classes):
    """The blocks of gluon's model zoo, version 1 and 2, and its head."""
    from mxnet.gluon import nn
    from mxnet.gluon.model_zoo.vision import resnet

    net = nn.HybridSequential(prefix="residual_")
    with net.name_scope():
        net.add(nn.BatchNorm(scale=False, center=False), nn.Conv2D(width, 3, 2, 1, use_bias=False))
        net.add(resnet.BasicBlockV1(width, 1, False, width), resnet.BottleneckV1(4 * width, 2, True, width))
        net.add(resnet.BasicBlockV2(4 * width, 1, False, 4 * width), nn.BatchNorm(), nn.Activation("relu"))
        net.add(nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(classes, in_units=4 * width))
    return net


@network("mxnet", size=67)
def gluon_alexnet(width, classes):
    """With local response normalisation, a pooling in ceil mode and dropout."""
    from mxnet.gluon import nn

    net = nn.HybridSequential(prefix="alexnet_")
    with net.name_scope():
        net.add(nn.Conv2D(2 * width, 11, 4, activation="relu"))
        net.add(nn.HybridLambda(lambda F, x: F.LRN(x, alpha=1e-4, beta=0.75, knorm=2, nsize=5)))
        net.add(nn.MaxPool2D(3, 2, ceil_mode=True), nn.Conv2D(4 * width, 5, padding=2, groups=2, activation="relu"))
        net.add(nn.MaxPool2D(3, 2), nn.Flatten(), nn.Dense(16, activation="relu"), nn.Dropout(0.5))
        net.add(nn.Dense(classes))
    return net


@network("mxnet", size=32)
def gluon_concatenation(width, classes):
    """Branches side by side, as GoogLeNet has them, an average over parts of the map, softmax at the end."""
    from mxnet.gluon import nn
    from mxnet.gluon.contrib.nn import HybridConcurrent

    net = nn.HybridSequential(prefix="concatenation_")
    with net.name_scope():
        branches = HybridConcurrent(axis=1)
        with branches.name_scope():
            branches.add(nn.Conv2D(width, 1, activation="relu"), nn.MaxPool2D(3, 1, 1))
        net.add(nn.Conv2D(width, 3, 2), branches, nn.AvgPool2D(5, 5), nn.Flatten(), nn.Dense(classes))
        net.add(nn.HybridLambda(lambda F, x: F.softmax(x)))
    return net


def mxnet_files(build, name, size, classes, width, opsets, folder):
    import mxnet

    model = build(width, classes)
    model.initialize()
    model.hybridize()
    for _, batch, _ in opsets:
        model(mxnet.nd.zeros((batch, 3, size, size)))
        for i, (key, p) in enumerate(model.collect_params().items()):
            made = numbers(f"{name}.{i}", int(numpy.prod(p.shape))).astype("float32").reshape(p.shape)
            made = 1 + 0.5 * made if "var" in key or "gamma" in key else 0.5 * made + 0.5 * (made.ndim == 1)
            p.set_data(mxnet.nd.array(made))
        stem = os.path.join(folder, "exported")
        model.export(stem)
        path = os.path.join(folder, f"{name.replace('/', '_')}.batch{batch}.onnx")
        shapes = [(batch, 3, size, size)]
        mxnet.onnx.export_model(f"{stem}-symbol.json", f"{stem}-0000.params", shapes, [numpy.float32], path)
        for left in (f"{stem}-symbol.json", f"{stem}-0000.params"):
            os.remove(left)
        opset = onnx.load(path).opset_import[0].version
        yield path, f"mxnet {mxnet.__version__}", opset, False


FILES = {"keras": keras_files, "torch": torch_files, "paddle": paddle_files, "mxnet": mxnet_files}
# Opset, batch, and whether the input has its channels first.
SMALL = {
    "keras": [(9, None, False), (18, 1, True)],
    "torch": [(11, None, False), (17, 2, False)],
    "paddle": [(11, None, False), (16, None, False)],
    "mxnet": [(None, 1, False), (None, 2, False)],
}
LARGE = {**SMALL, "keras": [(9, None, False), (13, 1, False), (18, None, False), (13, None, True)]}


def logits(path, x):
    """The output with the classes: the last one that a softmax or a dense layer makes."""
    model = onnx.load(path)
    for node in list(model.graph.node):
        if node.op_type == "Softmax":
            node.op_type = "Identity"
            del node.attribute[:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    shape = session.get_inputs()[0].shape
    batch = shape[0] if isinstance(shape[0], int) else len(x)
    name = session.get_inputs()[0].name
    results = [session.run(None, {name: x[i : i + batch]}) for i in range(0, len(x), batch)]
    return [numpy.concatenate(parts) for parts in zip(*results)]


def files(names, width, opsets, folder):
    for name, (exporter, build, size, classes) in MAKERS.items():
        if (names and name not in names and exporter not in names) or (opsets is SMALL and name in LARGE_ALONE):
            continue
        try:
            which = opsets[exporter][:1] if name in LARGE_ALONE else opsets[exporter]
            yield from (
                (name, size, *made) for made in FILES[exporter](build, name, size, classes, width, which, folder)
            )
        except ImportError as error:
            SKIPPED.append(f"{name}: {error}")


def make(folder, names):
    os.makedirs(folder, exist_ok=True)
    listed = os.path.join(folder, "expected.json")
    expected = json.load(open(listed)) if os.path.exists(listed) else {}
    for name, size, path, exporter, opset, last in files(names, 2, SMALL, folder):
        x = numbers(name, 2 * 3 * size * size).reshape(2, 3, size, size).astype(numpy.float32)
        y = logits(path, numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x)
        outputs = [o.name for o in onnx.load(path).graph.output]
        chosen = {"keras/googlenet": 1, "torch/several_heads": 2}.get(name, 0)
        first, second = y[chosen]
        assert numpy.abs(first - second).max() > 0.01 * numpy.abs(y[chosen]).max(), f"{path} does not look"
        expected[os.path.basename(path)] = {
            "exporter": exporter, "input": name, "outputs": outputs, "chosen": outputs[chosen],
            "softmax": any(n.op_type == "Softmax" for n in onnx.load(path).graph.node),
            "want": [float(v) for v in y[chosen].ravel()],
        }  # fmt: skip
    with open(listed, "w") as f:
        f.write("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(expected.items())) + "\n}\n")
    print(f"{len(expected)} files", *(f"SKIPPED {s}" for s in SKIPPED), sep="\n")


def check(program, names):
    from PIL import Image

    print("| exporter | opset | network | largest difference |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, size, path, exporter, opset, last in files(names, 32, LARGE, folder):
            pixels = (255 * hashed(name, 3 * size * size)).reshape(size, size, 3).astype(numpy.uint8)
            picture = os.path.join(folder, "a.png")
            Image.fromarray(pixels).save(picture)
            x = (pixels / numpy.float32(255)).astype(numpy.float32)[None]
            x = numpy.repeat(x if last else x.transpose(0, 3, 1, 2), 2, axis=0)
            chosen = {"keras/googlenet": 1, "torch/several_heads": 2}.get(name, 0)
            want = logits(path, x)[chosen][0].ravel()
            # The usual order of colours of a network with local response normalisation is another one.
            flags = ["--json", "--logits", "--quiet", "--mean", "0,0,0", "--std", "1,1,1", "--channels", "rgb"]
            flags += ["--resize", f"shorter:{size}"]
            ran = subprocess.run(
                [program, "predict", picture, "--weights", path, *flags], capture_output=True, text=True
            )
            if ran.returncode:
                print(f"| {exporter} | {opset} | {name} | {ran.stderr.strip()} |")
                continue
            got = numpy.array(json.loads(ran.stdout)["logits"])
            off = numpy.abs(got - want).max() / numpy.abs(want).max()
            print(f"| {exporter} | {opset} | {name} | {off:.1e} |", flush=True)
    print(*(f"SKIPPED {s}" for s in SKIPPED), sep="\n")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3:])
    else:
        check(sys.argv[2], sys.argv[3:])
