#!/usr/bin/env python3
"""Golden values of explanations: gradients of a logit and Grad-CAM in PyTorch, in double precision.

Networks: ResNet-20 and ResNet-56 for CIFAR-10 with published weights, on two pictures each; and four networks of torchvision
with the weights of families.py for 7 classes, on one picture each. Pictures are made of integers, so that the test makes the
same ones. Both kinds are normalised with ImageNet's mean and standard deviation. All networks are in evaluation: batch norm
uses its running statistics, and there is no dropout.

    python3 tests/golden/explain.py FOLDER --out tests/golden/explain.json

FOLDER holds resnet20-cifar10.safetensors and resnet56-cifar10.safetensors. Needs torch, torchvision and Pillow (Debian:
python3-torchvision).

The file has a list `cases`. Of each case:

  network     the name of the variant
  weights     the file of weights, without its ending; null: those of families.py, `tensors` in families.rs
  picture     "waves": `picture` of evaluation.py, which is `picture` in tests/preprocessing.rs;
              other names: the draw of families.py, byte `hash(draw)(place) >> 24` at place (y W + x) 3 + channel
  size        height and width of the picture, which is the input
  classes     the number of classes
  class       the class c with the largest logit, which all that follows explains
  logits      all logits
  saliency    d logit[c] / d x, where x is the normalised input
  guided      guided backpropagation (Springenberg et al., 2015): the gradient of ReLU is dy where dy > 0 and y > 0, else 0
  deconv      DeconvNet (Zeiler and Fergus, 2014): the gradient of ReLU is dy where dy > 0, else 0
  grad_cam    Grad-CAM (Selvaraju et al., 2017): max(0, sum over channels of a A), where A is the last map of convolutions after its
              ReLU, and a the mean over all places of d logit[c] / d A. Neither scaled nor resized. For AlexNet and VGG the map
              comes before the last max pooling

A gradient (the first three) has

  norm        its L2 norm
  sum         the sum of its numbers
  f32         the relative L2 error of PyTorch in f32, of all numbers
  stride      samples are the numbers 0, stride, 2 stride, ... in the order (y, x, channel), which is NHWC without padding
  samples     these numbers

Grad-CAM has `layer` (the name in the Python model), `size` (height and width), `map` (all numbers, row by row) and `f32`.

ReLU comes before max pooling, as in torchvision and in the papers. Networks that pool first have the same logits and the same
gradients, but not the same guided backpropagation: where windows overlap, a number that is the largest of several gets the
sum of what comes back from them, and ReLU drops negative terms before or after that.

The script checks that the gradients are those of finite differences.
"""

import argparse
import contextlib
import json
import os
import platform
import sys

import numpy
import torch
import torch.nn.functional as F
import torchvision

sys.dont_write_bytecode = True
import evaluation
import families
import make

CLASSES = 7
DIGITS = 8
SAMPLES = 200
# Height and width are different, so that a test tells them apart.
SIZE = (96, 64)
# The map of Grad-CAM.
LAYERS = {
    "alexnet-tv": "features.11",
    "vgg11": "features.19",
    "googlenet-tv": "inception5b",
    "resnet18": "layer4",
}
# Variants of the picture, where a ReLU or a maximum of the first one lies within f32's rounding of its kink.
DRAWS = {}
CIFAR = {"resnet20": 3, "resnet56": 9}


# --- networks -----------------------------------------------------------------------------------------------------------


def cifar(name, folder, dtype):
    net = make.ResNet20(10, CIFAR[name])
    state = evaluation.weights(os.path.join(folder, f"{name}-cifar10.safetensors"))
    result = net.load_state_dict(state, strict=False)
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    assert not missing and not result.unexpected_keys, (missing, result.unexpected_keys)
    return net.to(dtype).eval()


def torchvision_network(name, dtype):
    families.CLASSES, families.DTYPE = CLASSES, dtype
    return families.torchvision_network(name).to(dtype).eval()


# --- pictures -----------------------------------------------------------------------------------------------------------


def picture(name, height, width):
    if name == "waves":
        pixels = numpy.asarray(evaluation.picture(height, width)).astype(numpy.float64)
    else:
        pixels = (families.hashes(name, height * width * 3) >> numpy.uint32(24)).astype(numpy.float64)
    x = torch.from_numpy(pixels / 255.0).reshape(1, height, width, 3).permute(0, 3, 1, 2).contiguous()
    mean = torch.tensor(families.MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(families.STD, dtype=torch.float64).view(1, 3, 1, 1)
    return (x - mean) / std


# --- gradients ----------------------------------------------------------------------------------------------------------


class Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rule):
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        ctx.rule = rule
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        kept = {"gradient": y > 0, "guided": (y > 0) & (dy > 0), "deconv": dy > 0}[ctx.rule]
        return torch.where(kept, dy, torch.zeros_like(dy)), None


@contextlib.contextmanager
def rule(name):
    """All ReLUs have this gradient."""
    plain = F.relu
    F.relu = lambda x, inplace=False: Relu.apply(x, name)
    try:
        yield
    finally:
        F.relu = plain


def gradient(net, x, c, name):
    """Of logit c in (H, W, C)."""
    x = x.clone().requires_grad_()
    with rule(name):
        net(x)[0, c].backward()
    return x.grad[0].permute(1, 2, 0).contiguous()


def grad_cam(net, x, c, layer):
    held = []
    hook = net.get_submodule(layer).register_forward_hook(lambda _, __, y: held.append(y))
    with rule("gradient"):
        logit = net(x.clone().requires_grad_())[0, c]
    hook.remove()
    (slopes,) = torch.autograd.grad(logit, held)
    weights = slopes.mean((2, 3), keepdim=True)
    return (weights * held[0]).sum(1).clamp(min=0)[0].detach()


def check(net, x, c, found):
    """Along the gradient the logit rises as the gradient says. A smaller step crosses fewer kinks."""
    direction = found.permute(2, 0, 1).unsqueeze(0) / found.norm()
    step = 1e-6
    with torch.no_grad():
        rise = (net(x + step * direction)[0, c] - net(x - step * direction)[0, c]) / (2 * step)
    error = abs(rise.item() / found.norm().item() - 1)
    assert error < 1e-4, f"finite differences differ by {error}"
    return error


# --- what is kept -------------------------------------------------------------------------------------------------------


def number(x):
    return float(f"{float(x):.{DIGITS}g}")


def error_of(single, double):
    return float(f"{((single.double() - double).norm() / double.norm()).item():.2g}")


def digest(double, single):
    flat = double.flatten()
    # A stride that 3 does not divide visits all channels, and an odd one all columns.
    stride = flat.numel() // SAMPLES
    stride -= 1 - stride % 2
    stride -= 2 if stride % 3 == 0 else 0
    return {
        "norm": number(flat.norm()),
        "sum": number(flat.sum()),
        "f32": error_of(single, double),
        "stride": stride,
        "samples": [number(v) for v in flat[::stride]],
    }


def case(name, weights, draw, size, build, layer):
    x = {dtype: picture(draw, *size).to(dtype) for dtype in (torch.float64, torch.float32)}
    nets = {dtype: build(dtype) for dtype in x}
    double = nets[torch.float64]
    with torch.no_grad():
        logits = double(x[torch.float64])[0]
    c = int(logits.argmax())
    result = {
        "network": name,
        "weights": weights,
        "picture": draw,
        "size": list(size),
        "classes": logits.numel(),
        "class": c,
        "logits": [number(v) for v in logits],
    }

    def both(function):
        return function(double, x[torch.float64]), function(nets[torch.float32], x[torch.float32])

    def gradients(rule_name):
        return both(lambda net, x: gradient(net, x, c, rule_name))

    plain = gradients("gradient")
    off = check(double, x[torch.float64], c, plain[0])
    result["saliency"] = digest(*plain)
    result["guided"] = digest(*gradients("guided"))
    result["deconv"] = digest(*gradients("deconv"))
    cam = both(lambda net, x: grad_cam(net, x, c, layer))
    share = (cam[0] > 0).double().mean().item()
    assert share > 0.3, f"{name}: Grad-CAM is 0 nearly everywhere"
    result["grad_cam"] = {
        "layer": layer,
        "size": list(cam[0].shape),
        "map": [number(v) for v in cam[0].flatten()],
        "f32": error_of(cam[1], cam[0]),
    }
    errors = {key: value["f32"] for key, value in result.items() if isinstance(value, dict)}
    top = sorted(result["logits"])[-2:]
    print(f"{name} {draw}: class {c}, logits {top}, finite differences {off:.1e}, f32 {errors}", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    numpy.seterr(over="ignore")
    torch.set_num_threads(1)
    cases = []
    for name in CIFAR:
        for draw in ("waves", "pixels"):
            build = lambda dtype: cifar(name, args.folder, dtype)
            cases.append(case(name, f"{name}-cifar10", draw, (32, 32), build, "layer3"))
    for name, layer in LAYERS.items():
        build = lambda dtype: torchvision_network(name, dtype)
        cases.append(case(name, None, DRAWS.get(name, "pixels"), SIZE, build, layer))
    made_with = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    # One line a case keeps the file readable in a diff.
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in cases)
    with open(args.out, "w", encoding="utf-8") as file:
        file.write(f'{{"made_with": {json.dumps(made_with)},\n"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
