#!/usr/bin/env python3
"""Weights between torchvision and this program, both ways, through every format.

For a variant of each family that torchvision has: random weights, saved there as .pth (zip and legacy), safetensors and
ONNX (by both exporters of PyTorch), are given to `ocelli predict`; then `ocelli convert` makes files of every format of
them, which torchvision and ONNX Runtime read back. Prints the relative L2 difference of the logits each time, and ends with
1 if one is above 2e-5. Needs torch, torchvision, onnx, onnxscript, onnxruntime and safetensors.

    cargo build --release
    python3 tests/golden/exchange.py target/release/ocelli [NETWORK ...]
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings

import numpy
import onnxruntime
import safetensors.torch
import torch
import torchvision
from PIL import Image

LIMIT = 2e-5
# torchvision's name, ours.
NETWORKS = [("alexnet", "alexnet-tv"), ("vgg11", "vgg11"), ("vgg11_bn", "vgg11-bn"), ("googlenet", "googlenet-tv"),
            ("resnet18", "resnet18"), ("resnet50", "resnet50")]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def network(name):
    torch.manual_seed(sum(map(ord, name)))
    more = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    made = getattr(torchvision.models, name)(weights=None, num_classes=100, **more)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.6, 1.2)
                module.bias.uniform_(-0.2, 0.2)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.7, 1.5)
    return made.eval()


def picture(path):
    numbers = numpy.random.default_rng(7)
    coarse = numbers.integers(0, 256, (14, 14, 3), dtype=numpy.uint8)
    image = Image.fromarray(coarse, "RGB").resize((224, 224), Image.BICUBIC)
    image.save(path)
    x = torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1)[None].double() / 255
    return ((x - torch.tensor(MEAN)[None, :, None, None]) / torch.tensor(STD)[None, :, None, None]).float()


def run(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def predict(program, weights, png):
    flags = ["--json", "--logits", "--preprocessing", "torchvision", "--resize", "cover"]
    # The input of a graph with transform_input is the normalised picture all the same.
    return torch.tensor(json.loads(run(program, "predict", png, "--weights", weights, *flags))["logits"]).double()


def export(made, x, path, dynamo):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(made, (x,), path, dynamo=dynamo, **({"external_data": False, "verbose": False} if dynamo else {}))


def main():
    program, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    worst = 0.0
    for theirs, ours in NETWORKS:
        if wanted and theirs not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            at = lambda name: os.path.join(folder, name)
            x = picture(at("x.png"))
            made = network(theirs)
            with torch.no_grad():
                logits = made.double()(x.double())[0]
            made = made.float()
            state = made.state_dict()
            torch.save(state, at("zip.pth"))
            torch.save(state, at("legacy.pth"), _use_new_zipfile_serialization=False)
            safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, at("a.safetensors"))
            for name, dynamo in [("legacy.onnx", False), ("dynamo.onnx", True)]:
                export(made, x, at(name), dynamo)

            def line(what, got):
                nonlocal worst
                error = float((got - logits).norm() / logits.norm())
                worst = max(worst, error)
                print(f"{ours:14} {what:34} {error:.1e}", flush=True)

            for name in ["zip.pth", "legacy.pth", "a.safetensors", "legacy.onnx", "dynamo.onnx"]:
                line(f"from {name}", predict(program, at(name), at("x.png")))
                known = json.loads(run(program, "inspect", at(name), "--json"))["network"].get("name")
                # Exporters fold batch norm into convolutions; a VGG then is one without.
                if known not in ([ours, ours.removesuffix("-bn")] if name.endswith(".onnx") else [ours]):
                    raise RuntimeError(f"{name} of {theirs} is taken for {known}")
            for source in ["zip.pth", "dynamo.onnx"]:
                for to in ["back.pth", "back.safetensors", "back.onnx"]:
                    run(program, "convert", at(source), at(to), "--force")
                    if to.endswith(".onnx"):
                        session = onnxruntime.InferenceSession(at(to), providers=["CPUExecutionProvider"])
                        got = torch.from_numpy(session.run(None, {"input": x.numpy()})[0][0])
                    else:
                        load = torch.load if to.endswith(".pth") else safetensors.torch.load_file
                        bare = json.loads(run(program, "inspect", at(to), "--json"))["network"]["name"]
                        other = network(dict((b, a) for a, b in NETWORKS)[bare])
                        other.load_state_dict(load(at(to)), strict=True)
                        with torch.no_grad():
                            got = other(x)[0]
                    line(f"{source} to {to}", got.double())
    print(f"worst {worst:.1e}, allowed {LIMIT}")
    sys.exit(worst > LIMIT)


main()
