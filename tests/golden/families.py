#!/usr/bin/env python3
"""Golden values: a variant of each family in PyTorch, in double precision, for the tests to compare with.

Networks that torchvision has are torchvision's; the others are written down here, in the order of their papers' tables.
Weights and pixels are hashes of names and places, which the test computes too, so that no file of weights is needed. The
masks of dropout are computed as in shaders/dropout.wgsl, so that dropout is part of the comparison.

For each network: the logits of two pictures in evaluation, the loss in training (that of auxiliary classifiers counts 0.3
in the gradient), and of the gradient of every parameter its norm and a few entries; and by how much of that norm the
gradient of PyTorch in f32 differs, where that is worth a word: a ReLU or a maximum that goes the other way in the last bit
moves a gradient by more than rounding does.

    python3 tests/golden/families.py --out tests/golden/families.json [NETWORK ...]

Needs torch and torchvision (Debian: python3-torchvision). With names it makes only those and keeps the rest of the file.
"""

import argparse
import json
import os
import platform

import numpy
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

CLASSES = 100
BATCH_SIZE = 2
LABELS = [3, 77]
KEY = [1, 2, 3, 4]
MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
DIGITS = 9
NOTABLE = 2e-4  # errors of f32 below this are not kept
DTYPE = torch.float64
# Pictures of another draw, where a ReLU of the first one lies within f32's rounding of its kink.
DRAWS = {"vgg16-1x1": "pixels 6", "vgg16-bn": "pixels 6"}
# Where millions of activations with batch norm go through maxima, some are sure to lie within f32's rounding of another one
# of their window. There they are sparse: zero but for one in a hundred, so that few windows have two that are not. In
# GoogLeNet those are all but the units before another one of the same branch, and what no maximum comes after.
SPARSE = {
    "vgg16-bn": lambda layer: True,
    "googlenet-tv": lambda layer: not (".0." in layer or layer.startswith(("conv2", "aux", "inception5b"))),
}


# --- numbers that the test computes too ---------------------------------------------------------------------------------


def fnv1a(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def hashes(name, count):
    """The finaliser of MurmurHash3 over the places, seeded by the name."""
    h = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(0x9E3779B9) + numpy.uint32(fnv1a(name))
    h ^= h >> numpy.uint32(16)
    h *= numpy.uint32(0x85EBCA6B)
    h ^= h >> numpy.uint32(13)
    h *= numpy.uint32(0xC2B2AE35)
    h ^= h >> numpy.uint32(16)
    return h


def tensor(name, shape, norm=False, sparse=False):
    """A parameter: uniform in a range that its name and shape decide, rounded to f32.

    The shift of a batch norm (`norm`) is large against its scale, on either side: few activations come near the kink of
    ReLU, where the last bits decide. With shifts around 0 the gradients of PyTorch in f32 leave those in f64 by 2%. If
    activations are to be sparse it is two and a half times the scale below 0; the running mean is low, so that more of them
    are positive in evaluation.
    """
    count = int(numpy.prod(shape))
    _, _, kind = name.rpartition(".")
    if len(shape) > 1:
        fan_in = count // shape[0]
        low, high = -((6.0 / fan_in) ** 0.5), (6.0 / fan_in) ** 0.5
    elif norm and sparse and kind != "running_var":
        low, high = {"weight": (1.9, 2.1), "bias": (-5.2, -4.8), "running_mean": (-4.0, -1.0)}[kind]
    elif kind == "running_var":
        low, high = 0.5, 1.5
    elif kind == "weight":
        low, high = 0.15, 0.25
    else:
        low, high = -0.1, 0.1
    unit = (hashes(name, count) >> numpy.uint32(8)).astype(numpy.float64) / 2.0**24
    values = low + (high - low) * unit
    if norm and not sparse and kind == "bias":
        # What a residual is added to stays positive.
        negative = (unit < 0.25) & ("layer" not in name or "bn1" in name)
        values = numpy.where(negative, -1.0 - unit, 1.0 + unit)
    values = values.astype(numpy.float32)
    return torch.from_numpy(values.reshape(shape)).to(DTYPE)


def pictures(size, draw):
    pixels = (hashes(draw, BATCH_SIZE * size * size * 3) >> numpy.uint32(24)).astype(numpy.float64)
    x = torch.from_numpy(pixels / 255.0).view(BATCH_SIZE, size, size, 3).permute(0, 3, 1, 2).contiguous()
    mean = torch.tensor(MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float64).view(1, 3, 1, 1)
    return ((x - mean) / std).to(DTYPE)


def pcg4d(v):
    v = [x * numpy.uint32(1664525) + numpy.uint32(1013904223) for x in v]
    for last in (False, True):
        v[0] = v[0] + v[1] * v[3]
        v[1] = v[1] + v[2] * v[0]
        v[2] = v[2] + v[0] * v[1]
        v[3] = v[3] + v[1] * v[2]
        if not last:
            v = [x ^ (x >> numpy.uint32(16)) for x in v]
    return v


def dropout(x, rate, layer):
    """x is (N, C, H, W) or (N, C); the mask goes by vec4s of channels of NHWC. Channels are a multiple of 4 here."""
    n, c = x.shape[:2]
    h, w = x.shape[2:] if x.dim() == 4 else (1, 1)
    place = numpy.arange(n * h * w * c // 4, dtype=numpy.uint32)
    same = numpy.zeros_like(place)
    key = [numpy.uint32(k) for k in KEY]
    words = pcg4d([same + key[0], same + (key[1] ^ numpy.uint32(layer)), place ^ key[2], same + key[3]])
    keep = numpy.stack(words, axis=-1) >= numpy.uint32(int(numpy.float32(rate).astype(numpy.float64) * 2**32))
    mask = torch.from_numpy(keep.reshape(n, h, w, c).astype(numpy.float64)).permute(0, 3, 1, 2)
    return x * mask.to(DTYPE).reshape(x.shape) / (1.0 - float(numpy.float32(rate)))


# --- networks that torchvision lacks, as functions of the input and a source of parameters -----------------------------


class Source:
    """Hands out parameters by name, and keeps them."""

    def __init__(self, training):
        self.training = training
        self.parameters = {}
        self.dropouts = 0

    def __call__(self, name, *shape):
        if name not in self.parameters:
            norm = name.rpartition(".")[0] + ".running_mean" in self.parameters
            self.parameters[name] = tensor(name, shape, norm).requires_grad_("running" not in name)
        return self.parameters[name]

    def conv(self, name, x, filters, kernel, stride=1, pad=0, groups=1, bias=True):
        w = self(f"{name}.weight", filters, x.shape[1] // groups, kernel, kernel)
        b = self(f"{name}.bias", filters) if bias else None
        return F.conv2d(x, w, b, stride, pad, groups=groups)

    def linear(self, name, x, units):
        x = x.flatten(1)
        return F.linear(x, self(f"{name}.weight", units, x.shape[1]), self(f"{name}.bias", units))

    def norm(self, name, x):
        c = x.shape[1]
        mean, var = self(f"{name}.running_mean", c), self(f"{name}.running_var", c)
        gamma, beta = self(f"{name}.weight", c), self(f"{name}.bias", c)
        return F.batch_norm(x, mean.clone(), var.clone(), gamma, beta, self.training)

    def dropout(self, x, rate):
        if not self.training:
            return x
        self.dropouts += 1
        return dropout(x, rate, self.dropouts)


def head(p, x, units):
    for name, count in zip(("fc6", "fc7"), units):
        x = p.dropout(F.relu(p.linear(name, x, count)), 0.5)
    return p.linear("fc8", x, CLASSES)


def lrn(x, alpha, k):
    return F.local_response_norm(x, 5, alpha, 0.75, k)


def alexnet(p, x, pool_first=False):
    alpha, k = (1e-4, 1.0) if pool_first else (5e-4, 2.0)
    x = F.relu(p.conv("conv1", x, 96, 11, 4))
    x = lrn(F.max_pool2d(x, 3, 2), alpha, k) if pool_first else F.max_pool2d(lrn(x, alpha, k), 3, 2)
    x = F.relu(p.conv("conv2", x, 256, 5, 1, 2, 2))
    x = lrn(F.max_pool2d(x, 3, 2), alpha, k) if pool_first else F.max_pool2d(lrn(x, alpha, k), 3, 2)
    x = F.relu(p.conv("conv3", x, 384, 3, 1, 1))
    x = F.relu(p.conv("conv4", x, 384, 3, 1, 1, 2))
    x = F.max_pool2d(F.relu(p.conv("conv5", x, 256, 3, 1, 1, 2)), 3, 2)
    return head(p, x, (4096, 4096))


def zfnet(p, x):
    x = lrn(F.max_pool2d(F.relu(p.conv("conv1", x, 96, 7, 2, 1)), 3, 2, ceil_mode=True), 5e-4, 2.0)
    x = lrn(F.max_pool2d(F.relu(p.conv("conv2", x, 256, 5, 2)), 3, 2, ceil_mode=True), 5e-4, 2.0)
    x = F.relu(p.conv("conv3", x, 384, 3, 1, 1))
    x = F.relu(p.conv("conv4", x, 384, 3, 1, 1))
    x = F.max_pool2d(F.relu(p.conv("conv5", x, 256, 3, 1, 1)), 3, 2, ceil_mode=True)
    return head(p, x, (4096, 4096))


def zfnet512(p, x):
    x = F.max_pool2d(lrn(F.relu(p.conv("conv1", x, 96, 7, 2)), 5e-4, 2.0), 3, 2)
    x = F.max_pool2d(lrn(F.relu(p.conv("conv2", x, 256, 5, 2)), 5e-4, 2.0), 3, 2)
    for i in (3, 4, 5):
        x = F.relu(p.conv(f"conv{i}", x, 512, 3, 1, 1))
    return head(p, F.max_pool2d(x, 2, 2), (4096, 1024))


def vgg(p, x, layers):
    """Layers as in table 1 of the paper: (filters, kernel), "LRN", "M" for pooling; places as torchvision counts them."""
    place = 0
    for layer in layers:
        if layer == "M":
            x = F.max_pool2d(x, 2, 2)
        elif layer == "LRN":
            x = lrn(x, 5e-4, 2.0)
        else:
            x = F.relu(p.conv(f"features.{place}", x, layer[0], layer[1], 1, layer[1] // 2))
            place += 1
        place += 1
    for name in ("classifier.0", "classifier.3"):
        x = p.dropout(F.relu(p.linear(name, x, 4096)), 0.5)
    return p.linear("classifier.6", x, CLASSES)


def blocks(columns, extra=None):
    layers = []
    for i, column in enumerate(columns):
        layers += [(f, k) for f, k in column]
        if extra and i == 0:
            layers.append(extra)
        layers.append("M")
    return layers


VGG_A = [[(64, 3)], [(128, 3)], [(256, 3)] * 2, [(512, 3)] * 2, [(512, 3)] * 2]
VGG_C = [[(64, 3)] * 2, [(128, 3)] * 2] + [[(f, 3), (f, 3), (f, 1)] for f in (256, 512, 512)]

INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(p, x):
    def unit(name, x, *conv):
        return F.relu(p.conv(name, x, *conv))

    def auxiliary(name, x):
        x = unit(f"{name}.conv", F.avg_pool2d(x, 5, 3), 128, 1)
        x = p.dropout(F.relu(p.linear(f"{name}.fc1", x, 1024)), 0.7)
        return p.linear(f"{name}.fc2", x, CLASSES)

    pool = lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = lrn(pool(unit("conv1", x, 64, 7, 2, 3)), 1e-4, 1.0)
    x = unit("conv3", unit("conv2", x, 64, 1), 192, 3, 1, 1)
    x = pool(lrn(x, 1e-4, 1.0))
    extra = []
    for stage, (one, r3, c3, r5, c5, proj) in INCEPTION.items():
        if stage in ("4a", "5a"):
            x = pool(x)
        name = f"inception{stage}"
        branches = [
            unit(f"{name}.branch1", x, one, 1),
            unit(f"{name}.branch2.1", unit(f"{name}.branch2.0", x, r3, 1), c3, 3, 1, 1),
            unit(f"{name}.branch3.1", unit(f"{name}.branch3.0", x, r5, 1), c5, 5, 1, 2),
            unit(f"{name}.branch4.1", F.max_pool2d(x, 3, 1, 1), proj, 1),
        ]
        x = torch.cat(branches, 1)
        if stage in ("4a", "4d") and p.training:
            extra.append(auxiliary("aux1" if stage == "4a" else "aux2", x))
    x = p.dropout(x.mean((2, 3)), 0.4)
    return [p.linear("fc", x, CLASSES)] + extra


def resnet_v1(p, x, counts):
    """The stride is in the first 1x1 of a bottleneck."""
    x = F.relu(p.norm("bn1", p.conv("conv1", x, 64, 7, 2, 3, bias=False)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), counts), 1):
        for i in range(count):
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = F.relu(p.norm(f"{name}.bn1", p.conv(f"{name}.conv1", x, width, 1, stride, bias=False)))
            y = F.relu(p.norm(f"{name}.bn2", p.conv(f"{name}.conv2", y, width, 3, 1, 1, bias=False)))
            y = p.norm(f"{name}.bn3", p.conv(f"{name}.conv3", y, 4 * width, 1, bias=False))
            if i == 0:
                x = p.norm(f"{name}.downsample.1", p.conv(f"{name}.downsample.0", x, 4 * width, 1, stride, bias=False))
            x = F.relu(x + y)
    return p.linear("fc", x.mean((2, 3)), CLASSES)


def preresnet(p, x, count, bottleneck):
    def active(name, x):
        return F.relu(p.norm(name, x))

    x = p.conv("conv1", x, 16, 3, 1, 1, bias=False)
    for stage, width in enumerate((16, 32, 64), 1):
        for i in range(count):
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            first = active(f"{name}.bn1", x)
            if bottleneck:
                y = p.conv(f"{name}.conv1", first, width, 1, stride, bias=False)
                y = p.conv(f"{name}.conv2", active(f"{name}.bn2", y), width, 3, 1, 1, bias=False)
                y = p.conv(f"{name}.conv3", active(f"{name}.bn3", y), 4 * width, 1, bias=False)
                if i == 0:
                    x = p.conv(f"{name}.downsample", first, 4 * width, 1, stride, bias=False)
            else:
                y = p.conv(f"{name}.conv1", first, width, 3, stride, 1, bias=False)
                y = p.conv(f"{name}.conv2", active(f"{name}.bn2", y), width, 3, 1, 1, bias=False)
                more = width - x.shape[1]
                x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, more // 2, more // 2))
            x = x + y
    return p.linear("fc", active("bn", x).mean((2, 3)), CLASSES)


OURS = {
    "alexnet": (227, alexnet),
    "caffenet": (227, lambda p, x: alexnet(p, x, pool_first=True)),
    "zfnet": (224, zfnet),
    "zfnet512": (224, zfnet512),
    "vgg11-lrn": (224, lambda p, x: vgg(p, x, blocks(VGG_A, "LRN"))),
    "vgg16-1x1": (224, lambda p, x: vgg(p, x, blocks(VGG_C))),
    "googlenet": (224, googlenet),
    "resnet50-v1": (224, lambda p, x: resnet_v1(p, x, (3, 4, 6, 3))),
    "preresnet110": (32, lambda p, x: preresnet(p, x, 18, False)),
    "preresnet164": (32, lambda p, x: preresnet(p, x, 18, True)),
}

TORCHVISION = {
    "alexnet-tv": torchvision.models.alexnet,
    "vgg11": torchvision.models.vgg11,
    "vgg16-bn": torchvision.models.vgg16_bn,
    "googlenet-tv": lambda **kw: torchvision.models.googlenet(aux_logits=True, init_weights=False, **kw),
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
}


class Dropout(nn.Module):
    """AlexNet's first one comes behind the flattening of a map of 6x6, whose layout our mask goes by."""

    def __init__(self, rate, layer, maps):
        super().__init__()
        self.rate, self.layer, self.maps = rate, layer, maps

    def forward(self, x):
        if not self.training:
            return x
        return dropout(x.unflatten(1, (-1, *self.maps)), self.rate, self.layer).flatten(1)


def replace_dropout(module):
    """Numbers dropouts in the order in which our graph makes them: GoogLeNet's auxiliary classifiers come first."""
    found = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Dropout)]
    found.sort(key=lambda pair: pair[0] == "dropout")
    for layer, (name, old) in enumerate(found, 1):
        parent, _, last = name.rpartition(".")
        maps = (6, 6) if name == "classifier.0" else (1, 1)
        setattr(module.get_submodule(parent), last, Dropout(old.p, layer, maps))


def torchvision_network(name):
    model = TORCHVISION[name](weights=None, num_classes=CLASSES).to(DTYPE)
    replace_dropout(model)
    sparse = SPARSE.get(name, lambda layer: False)
    with torch.no_grad():
        state = model.state_dict()
        for key, value in state.items():
            if not key.endswith("num_batches_tracked"):
                layer, _, _ = key.rpartition(".")
                norm = f"{layer}.running_mean" in state
                value.copy_(tensor(key, tuple(value.shape), norm, sparse(layer)))
    return model


# --- what is kept -------------------------------------------------------------------------------------------------------


def number(x):
    return float(f"{float(x):.{DIGITS}g}")


def digest(gradient, single):
    """Norm, error of f32 (0 if it is small), and three entries with their places in PyTorch's layout."""
    flat = gradient.flatten()
    places = sorted({0, flat.numel() // 3, flat.numel() - 1})
    norm = flat.norm().item()
    error = (single.double().flatten() - flat).norm().item() / max(norm, 1e-30)
    error = float(f"{error:.2g}") if NOTABLE < error < 1 else 0
    return [number(norm), error] + [[i, number(flat[i])] for i in places]


def outputs_of(result):
    """The network's logits, then those of auxiliary classifiers."""
    if isinstance(result, (list, tuple)):
        return list(result)
    return [result]


def compute(name, dtype):
    """Logits, loss, gradients by name."""
    global DTYPE
    DTYPE = dtype
    draw = DRAWS.get(name, "pixels")
    if name in OURS:
        size, function = OURS[name]
        held = {}

        def run(training):
            source = Source(training)
            source.parameters = held
            return outputs_of(function(source, pictures(size, draw)))

        parameters = lambda: {k: v for k, v in held.items() if v.requires_grad}
    else:
        size, model = 224, torchvision_network(name)
        run = lambda training: outputs_of(model.train(training)(pictures(size, draw)))
        parameters = lambda: dict(model.named_parameters())
    with torch.no_grad():
        logits = run(False)[0]
    labels = torch.tensor(LABELS)
    losses = [F.cross_entropy(x, labels) for x in run(True)]
    (losses[0] + 0.3 * sum(losses[1:])).backward()
    return size, logits, losses[0], {k: v.grad.detach() for k, v in sorted(parameters().items())}


def values(name):
    size, logits, loss, gradients = compute(name, torch.float64)
    single = compute(name, torch.float32)[3]
    return {
        "size": size,
        "draw": DRAWS.get(name, "pixels"),
        "logits": [number(x) for x in logits.flatten()],
        "loss": number(loss),
        "gradients": {k: digest(v, single[k]) for k, v in gradients.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("networks", nargs="*")
    args = parser.parse_args()
    numpy.seterr(over="ignore")
    result = {}
    if args.networks and os.path.exists(args.out):
        with open(args.out, encoding="utf-8") as file:
            result = json.load(file)
    result["made_with"] = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    for name in args.networks or [*TORCHVISION, *OURS]:
        result[name] = values(name)
        print(f"{name}: loss {result[name]['loss']}, {len(result[name]['gradients'])} parameters", flush=True)
        # One line a network keeps the file readable in a diff.
        lines = [f'{json.dumps(k)}: {json.dumps(v, separators=(",", ":"))}' for k, v in sorted(result.items())]
        with open(args.out, "w", encoding="utf-8") as file:
            file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
