#!/usr/bin/env python3
"""Golden values of preprocessing: Pillow and torchvision's transforms on pictures that the tests make themselves, and
block means of photographs.

Needs torch, torchvision and Pillow. Without --photos the photographs in the JSON file are left as they are.

    python3 tests/golden/preprocessing.py --photos FOLDER

With --prepared FOLDER, which the test `preprocessing` fills where OCELLI_PREPARED names it, the full pixels of the
photographs are compared and the mean and largest differences printed. With --ocelli PROGRAM the top-1 of a network with
the same random weights is compared too.
"""

import argparse
import glob
import json
import os
import subprocess
import tempfile

import numpy
import torch
import torchvision
from PIL import Image
from torchvision import transforms

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "preprocessing.json")
# Height and width of a picture; how it is resized; height and width of the input.
CASES = [
    ((37, 53), "shorter:29", (24, 24)),
    ((211, 300), "shorter:64", (56, 56)),
    ((300, 211), "shorter:65", (56, 48)),
    ((20, 16), "shorter:32", (28, 28)),
    ((500, 33), "shorter:40", (32, 32)),
    ((24, 31), "shorter:24", (28, 20)),
    ((90, 130), "squash:64", (57, 57)),
]
BLOCKS = 8


def picture(height, width):
    """Smooth waves with an edge, in integers only."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.int64)
    red = (x * x * 3 + y * 7) // 5 % 256
    green = (x * 11 + y * y * 2) // 7 % 256
    blue = numpy.where((x // 9 + y // 6) % 2 == 0, 230, 20)
    return Image.fromarray(numpy.stack([red, green, blue], axis=2).astype(numpy.uint8), "RGB")


def prepare(image, rule, size):
    kind, side = rule.split(":")
    side = int(side)
    how = side if kind == "shorter" else (side, side)
    steps = transforms.Compose([transforms.Resize(how), transforms.CenterCrop(size)])
    return numpy.asarray(steps(image))


def blocks(pixels):
    height, width, _ = pixels.shape
    step = (height // BLOCKS, width // BLOCKS)
    cut = pixels[: step[0] * BLOCKS, : step[1] * BLOCKS].astype(numpy.float64)
    means = cut.reshape(BLOCKS, step[0], BLOCKS, step[1], 3).mean(axis=(1, 3))
    return [round(float(v), 3) for v in means.flatten()]


def synthetic():
    out = []
    for (height, width), rule, size in CASES:
        pixels = prepare(picture(height, width), rule, size)
        out.append({"height": height, "width": width, "resize": rule, "size": size, "rgb": pixels.flatten().tolist()})
    return out


def photos(folder):
    paths = sorted(p for p in glob.glob(os.path.join(folder, "*")) if p.lower().endswith((".jpg", ".jpeg", ".png")))
    return {os.path.basename(p): prepare(Image.open(p).convert("RGB"), "shorter:256", (224, 224)) for p in paths}


def compare(pixels, prepared):
    for name, theirs in pixels.items():
        ours = numpy.fromfile(os.path.join(prepared, name + ".rgb"), numpy.uint8).reshape(224, 224, 3)
        difference = numpy.abs(ours.astype(int) - theirs.astype(int))
        print(f"{name}: mean difference {difference.mean():.4f} of 255, largest {difference.max()}")


def top1(pixels, folder, program):
    torch.manual_seed(3)
    network = torchvision.models.resnet18(weights=None, num_classes=1000).eval()
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    normalize = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    with tempfile.TemporaryDirectory() as place:
        weights = os.path.join(place, "resnet18.pth")
        batch = torch.stack([normalize(p) for p in pixels.values()])
        # The statistics of these pictures, so that the network tells them apart.
        network.train()
        with torch.no_grad():
            for _ in range(20):
                network(batch)
        network.eval()
        torch.save(network.state_dict(), weights)
        with torch.no_grad():
            logits = network(batch)
        files = [os.path.join(folder, name) for name in pixels]
        command = [program, "predict", "--weights", weights, "--json", "--logits", *files]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    agree = 0
    for name, theirs, line in zip(pixels, logits, lines):
        ours = torch.tensor(json.loads(line)["logits"])
        same = int(theirs.argmax()) == int(ours.argmax())
        agree += same
        error = float((ours - theirs).norm() / theirs.norm())
        print(f"{name}: class {int(theirs.argmax())}, ours {int(ours.argmax())}, logits differ by {error:.2e}")
    print(f"top-1 agrees on {agree} of {len(pixels)}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--photos")
    arguments.add_argument("--prepared")
    arguments.add_argument("--ocelli")
    arguments = arguments.parse_args()
    golden = {"torchvision": torchvision.__version__, "pillow": Image.__version__, "pictures": synthetic()}
    if arguments.photos:
        pixels = photos(arguments.photos)
        golden["photos"] = {name: blocks(p) for name, p in pixels.items()}
        if arguments.prepared:
            compare(pixels, arguments.prepared)
        if arguments.ocelli:
            top1(pixels, arguments.photos, arguments.ocelli)
    elif os.path.exists(HERE):
        with open(HERE) as file:
            golden["photos"] = json.load(file).get("photos", {})
    with open(HERE, "w") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


main()
