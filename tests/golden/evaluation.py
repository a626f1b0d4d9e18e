#!/usr/bin/env python3
"""Golden probabilities of several views, scales and networks: torchvision's Resize and TenCrop, and the ResNets of CIFAR in f64.

Needs torch, torchvision, Pillow and the files of weights resnet20-cifar10 and resnet56-cifar10, which are not part of the result.

    python3 tests/golden/evaluation.py FOLDER
"""

import json
import os
import struct
import sys

import numpy
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import transforms

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "evaluation.json")
# Height and width. The shorter side is that of ten crops for an input of 32 (37), or is scaled.
PICTURES = [(37, 53), (46, 37), (50, 41)]
NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def picture(height, width):
    """Waves with an edge, in integers only."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.int64)
    red = (x * x * 3 + y * 7) // 5 % 256
    green = (x * 11 + y * y * 2) // 7 % 256
    blue = numpy.where((x // 9 + y // 6) % 2 == 0, 230, 20)
    return Image.fromarray(numpy.stack([red, green, blue], axis=2).astype(numpy.uint8), "RGB")


def weights(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header, data = json.loads(file.read(size)), file.read()
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            numbers = numpy.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
            found[name] = torch.from_numpy(numbers.astype(numpy.float64))
    return found


def network(w, blocks, x):
    def conv(name, x, stride=1):
        return F.conv2d(x, w[name + ".weight"], stride=stride, padding=1)

    def norm(name, x):
        parts = [w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    x = F.relu(norm("bn1", conv("conv1", x)))
    for layer in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(name + ".bn1", conv(name + ".conv1", x, stride)))
            y = norm(name + ".bn2", conv(name + ".conv2", y))
            if stride == 2:
                more = x.shape[1] // 2
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
            x = F.relu(y + x)
    return F.linear(x.mean((2, 3)), w["linear.weight"], w["linear.bias"])


def many(scaled):
    """The 36 views of a scale: Szegedy et al. 2014, section 7. Of three squares the corners, the centre and the whole, all mirrored."""
    found = []
    for image in (scaled, transforms.functional.hflip(scaled)):
        width, height = image.size
        side, rest = min(width, height), max(width, height) - min(width, height)
        for offset in (0, int(round(rest / 2)), rest):
            left, top = (offset, 0) if width >= height else (0, offset)
            square = image.crop((left, top, left + side, top + side))
            found += transforms.FiveCrop(32)(square) + (transforms.Resize((32, 32))(square),)
    return found


def views(image, crops, scales):
    found = []
    for side in scales:
        scaled = transforms.Resize(side)(image)
        if crops == "144":
            found += many(scaled)
            continue
        found += transforms.TenCrop(32)(scaled) if crops == "10" else [transforms.CenterCrop(32)(scaled)]
    return torch.stack([NORMALIZE(transforms.ToTensor()(view).double()) for view in found])


def main():
    networks = {
        name: (weights(os.path.join(sys.argv[1], f"{name}-cifar10.safetensors")), blocks)
        for name, blocks in (("resnet20", 3), ("resnet56", 9))
    }
    cases = []
    # The program takes 37 by itself for ten crops. Bytes of scaled pictures may differ by a level: the tolerance says so.
    for crops, scales, pictures, names, tolerance in (
        ("10", [37], PICTURES[:2], ["resnet20"], 1e-5),
        ("10", [37], PICTURES[:2], ["resnet20", "resnet56"], 1e-5),
        ("centre", [32, 37, 44], PICTURES, ["resnet20"], 2e-3),
        ("10", [36, 48], PICTURES[2:], ["resnet56"], 2e-3),
        # 256, 288, 320 and 352 of an input of 224 are these of 32.
        ("144", [37, 41, 46, 50], PICTURES, ["resnet20"], 2e-3),
        ("144", [37, 41, 46, 50], PICTURES[:1], ["resnet20", "resnet56"], 2e-3),
    ):
        rows = []
        for size in pictures:
            inputs = views(picture(*size), crops, scales)
            each = [network(*networks[name], inputs).softmax(1).mean(0) for name in names]
            rows.append([round(float(p), 9) for p in torch.stack(each).mean(0)])
        case = {"crops": crops, "scales": scales, "pictures": pictures, "networks": names}
        cases.append({**case, "tolerance": tolerance, "probabilities": rows})
    with open(HERE, "w") as file:
        json.dump({"cases": cases}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
