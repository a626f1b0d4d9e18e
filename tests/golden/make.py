#!/usr/bin/env python3
"""Golden values: ResNet-20 in PyTorch, in double precision, for the tests to compare with.

The network is the CIFAR ResNet-20 of He et al., "Deep Residual Learning for Image Recognition" (2015), section 4.2,
with the parameter-free shortcut "option A"; names as in github.com/akamaster/pytorch_resnet_cifar10. The pictures are
1,000 of CIFAR-10, as this project decodes them: decoders of JPEG differ in single bits, so the pixels come from the
test itself, which writes them where OCELLI_GOLDEN_PICTURES says.

Everything that a step of training touches is in the result: logits in evaluation, the loss of ten steps, the norms of
the first gradients, and the parameters and running statistics after three and after all ten steps.

Needs torch and numpy only (Debian: python3-torch); the safetensors and IDX files are read by hand, so that no other
library stands between the file and the numbers. The tests read the JSON file and need no Python.

    OCELLI_GOLDEN_PICTURES=/tmp/pictures cargo test --test all golden
    python3 tests/golden/make.py --weights resnet20-cifar10.safetensors \\
        --pictures /tmp/pictures --out tests/golden/resnet20.json
"""

import argparse
import hashlib
import json
import os
import platform
import struct

import numpy
import torch
import torch.nn.functional as F
from torch import nn

BATCH_SIZE = 32
STEPS = 10
EARLY = 3  # rounding has hardly grown after so many steps: see report_single_precision
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
LOGITS = 64  # pictures whose logits are kept
DIGITS = 12  # significant decimal digits in the file


# --- files ------------------------------------------------------------------------------------------------------------


def read_safetensors(path):
    """name -> numpy array. The format: u64 length, JSON header of that length, raw little-endian data."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            raise SystemExit(f"{path}: {name} is {entry['dtype']}, not F32")
        begin, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
    return tensors


def read_idx(path):
    """An IDX file of bytes: two zeros, the type 8, the number of dimensions, the sizes big-endian, the bytes."""
    with open(path, "rb") as file:
        content = file.read()
    zero, kind, dims = struct.unpack(">HBB", content[:4])
    if zero != 0 or kind != 8:
        raise SystemExit(f"{path}: not an IDX file of bytes")
    sizes = struct.unpack(f">{dims}I", content[4 : 4 + 4 * dims])
    return numpy.frombuffer(content, dtype=numpy.uint8, offset=4 + 4 * dims).reshape(sizes)


def read_pictures(folder, dtype):
    """The pictures as (count, 3, h, w), normalised, and their labels."""
    pixels = read_idx(os.path.join(folder, "pixels.idx4-ubyte"))
    labels = read_idx(os.path.join(folder, "labels.idx1-ubyte"))
    x = torch.from_numpy(pixels.astype(numpy.float64) / 255.0).permute(0, 3, 1, 2).contiguous()
    mean = torch.tensor(MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float64).view(1, 3, 1, 1)
    return ((x - mean) / std).to(dtype), torch.from_numpy(labels.astype(numpy.int64))


def checksum_of_pixels(folder):
    """FNV-1a of all the bytes, 64 bits: the tests compare it before they compare anything else."""
    value = 0xCBF29CE484222325
    for byte in read_idx(os.path.join(folder, "pixels.idx4-ubyte")).tobytes():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


# --- the network ------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, c, k, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c, k, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(k, eps=1e-5, momentum=0.1)
        self.conv2 = nn.Conv2d(k, k, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(k, eps=1e-5, momentum=0.1)
        self.stride = stride
        self.front = (k - c) // 2  # = k // 4 where the width doubles

    def shortcut(self, x):
        """Option A: every second pixel, and zero channels in front and behind. No parameters."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.front, self.front))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet20(nn.Module):
    """6n + 2 layers, n = 3: three stages of three blocks, of 16, 32 and 64 channels."""

    def __init__(self, classes=10, n=3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=1e-5, momentum=0.1)
        self.layer1 = self.stage(16, 16, 1, n)
        self.layer2 = self.stage(16, 32, 2, n)
        self.layer3 = self.stage(32, 64, 2, n)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def stage(c, k, stride, n):
        return nn.Sequential(Block(c, k, stride), *(Block(k, k, 1) for _ in range(n - 1)))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def load(weights, dtype):
    """The network with the given weights; every tensor must be used and every parameter given."""
    net = ResNet20()
    state = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    result = net.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {result.unexpected_keys}")
    return net.to(dtype)


# --- the runs ---------------------------------------------------------------------------------------------------------


def evaluate(weights, x):
    """Logits with the running statistics."""
    net = load(weights, x.dtype).eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(100)])


def correct(logits, labels, k):
    """How many have their class among the k largest logits; of equal ones the first counts."""
    order = logits.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return (order == labels.unsqueeze(1)).any(dim=1).sum().item()


def train(weights, x, labels, lr):
    """Ten steps; step i takes pictures 32 i .. 32 i + 31. The weight decay falls on all parameters.

    Returns the losses, the norms of the first gradients, and parameters and running statistics after EARLY and after
    all steps.
    """
    net = load(weights, x.dtype).train()
    sgd = torch.optim.SGD(net.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    losses, gradient_norms, states = [], {}, {}
    for step in range(STEPS):
        part = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        sgd.zero_grad()
        loss = F.cross_entropy(net(x[part]), labels[part])
        loss.backward()
        losses.append(loss.item())  # before the update
        if step == 0:
            gradient_norms = {name: p.grad.norm().item() for name, p in net.named_parameters()}
        sgd.step()
        if step + 1 in (EARLY, STEPS):
            tensors = net.state_dict().items()
            states[step + 1] = {k: v.clone() for k, v in tensors if not k.endswith("num_batches_tracked")}
    return losses, gradient_norms, states


def describe(tensor):
    """Norm, sum and three of the numbers, by their index in PyTorch's layout."""
    flat = tensor.flatten()
    n = flat.numel()
    indices = [n // 7, 3 * n // 7, n - 1]
    return {
        "norm": digits(flat.norm().item()),
        "sum": digits(flat.sum().item()),
        "samples": [[i, digits(flat[i].item())] for i in indices],
    }


def digits(x):
    return float(f"{x:.{DIGITS}g}")


# --- what single precision costs --------------------------------------------------------------------------------------


def report_single_precision(weights, folder, lr, logits, losses, gradient_norms, states):
    """Prints how far the same in f32 is from f64: a test in f32 can ask for no more than some multiple of this.

    A ReLU input near zero that lands on the other side changes a gradient as a whole. At a learning rate of 0.01 and
    above such flips feed on each other, and after ten steps f32 and f64 have 0.6% between them; at 0.001 they stay
    apart by a few millionths, while the parameters move by up to 1%.
    """
    x, labels = read_pictures(folder, torch.float32)
    logits32 = evaluate(weights, x)
    losses32, norms32, states32 = train(weights, x, labels, lr)
    print("f32 against f64:")
    print(f"  logits: |f32 - f64| / |f64| {((logits32 - logits).norm() / logits.norm()).item():.1e}")
    for step, (single, double) in enumerate(zip(losses32, losses)):
        print(f"  step {step}: loss {double:.9f}, relative error {abs(single - double) / double:.1e}")
    worst = max((abs(norms32[k] - v) / v, k) for k, v in gradient_norms.items())
    print(f"  gradient norms at step 0: largest relative error {worst[0]:.1e} ({worst[1]})")
    for steps, state in states.items():
        for what, running in (("parameters", False), ("running statistics", True)):
            names = [k for k in state if ("running" in k) == running]
            errors = sorted(
                (((states32[steps][k].double() - state[k]).norm() / state[k].norm()).item(), k) for k in names
            )
            first = {k: torch.from_numpy(weights[k].astype(numpy.float64)) for k in names}
            change = [((state[k] - first[k]).norm() / state[k].norm()).item() for k in names]
            print(
                f"  {what} after {steps} steps, |f32 - f64| / |f64|: median {errors[len(errors) // 2][0]:.1e}, "
                f"largest {errors[-1][0]:.1e} ({errors[-1][1]}); "
                f"the steps changed them by {min(change):.1e} to {max(change):.1e}"
            )


# --- the file ---------------------------------------------------------------------------------------------------------


def dump(result):
    """JSON with one line a row of numbers: json.dump(indent) would put each number on a line of its own."""
    lines = json.dumps(result, indent=2).split("\n")
    out, depth = [], 0
    for line in lines:
        text = line.strip()
        if depth:
            out[-1] += text + (" " if text.endswith(",") else "")
            depth += text.endswith("[") - (text in ("]", "],"))
            out[-1] = out[-1].rstrip() if depth == 0 else out[-1]
        else:
            out.append(line)
            # Lists of numbers are joined; the list of the rows of logits is not.
            depth = 1 if text.endswith("[") and not text.startswith('"logits"') else 0
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", required=True, help="ResNet-20 for 10 classes, safetensors, f32")
    parser.add_argument("--pictures", required=True, help="the folder with pixels.idx4-ubyte and labels.idx1-ubyte")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    parser.add_argument("--lr", type=float, default=0.001, help="learning rate (default: %(default)s)")
    args = parser.parse_args()

    # One thread and no choice of algorithms: sums are always taken in the same order.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    weights = read_safetensors(args.weights)
    x, labels = read_pictures(args.pictures, torch.float64)
    logits = evaluate(weights, x)
    loss = F.cross_entropy(logits, labels).item()
    losses, gradient_norms, states = train(weights, x, labels, args.lr)

    with open(args.weights, "rb") as file:
        checksum = hashlib.sha256(file.read()).hexdigest()
    result = {
        "made_by": {
            "command": f"python3 tests/golden/make.py --weights {os.path.basename(args.weights)} "
            f"--pictures FOLDER --out {os.path.basename(args.out)} --lr {args.lr}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "precision": "float64",
            "weights_sha256": checksum,
        },
        "pixels_fnv1a": checksum_of_pixels(args.pictures),
        "eval": {
            "images": len(labels),
            "correct_top1": correct(logits, labels, 1),
            "correct_top5": correct(logits, labels, 5),
            "loss": digits(loss),
            "logits": [[digits(v) for v in row] for row in logits[:LOGITS].tolist()],
        },
        "train": {
            "lr": args.lr,
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "batch_size": BATCH_SIZE,
            "steps": STEPS,
            "loss": [digits(v) for v in losses],
            "parameters": {name: describe(tensor) for name, tensor in states[STEPS].items()},
            "early": {
                "steps": EARLY,
                "parameters": {name: describe(tensor) for name, tensor in states[EARLY].items()},
            },
        },
        "gradient_norms": {name: digits(norm) for name, norm in gradient_norms.items()},
    }
    text = dump(result)
    assert json.loads(text) == result
    with open(args.out, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"{args.out}: {len(text) / 1024:.0f} KiB; evaluation loss {loss:.9f}")
    report_single_precision(weights, args.pictures, args.lr, logits, losses, gradient_norms, states)


if __name__ == "__main__":
    main()
