#!/usr/bin/env python3
"""Whether PyTorch reads what Ocelli writes: with weights_only, with equal bits, into torchvision's networks.

    python3 tests/golden/pth/check.py make FOLDER      # random weights of torchvision's networks, both forms
    OCELLI_PTH_FOLDER=FOLDER cargo test --test all pth::what_is_written
    python3 tests/golden/pth/check.py check FOLDER     # with as many versions of PyTorch as there are

Needs torch, and torchvision for the networks.
"""

import glob
import json
import os
import sys

import torch

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def make(folder):
    import torchvision

    torch.manual_seed(5)
    for arch in ["resnet18", "squeezenet1_0", "googlenet"]:
        extra = {"init_weights": True} if arch == "googlenet" else {}
        net = getattr(torchvision.models, arch)(**extra)
        for name, buffer in net.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        torch.save(net.state_dict(), os.path.join(folder, f"{arch}-zip.pth"))
        torch.save(
            {"epoch": 1, "state_dict": net.state_dict()},
            os.path.join(folder, f"{arch}-legacy.pth"),
            _use_new_zipfile_serialization=False,
        )


def original(folder, stem):
    """The floating-point tensors of a file as f32, through which all weights go."""
    path = os.path.join(folder, f"{stem}.pth")
    if os.path.exists(path):
        content = torch.load(path, map_location="cpu")
        content = content.get("state_dict", content)
        return {k: v.float() for k, v in content.items() if v.is_floating_point()}
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "expected.json")) as file:
        table = json.load(file)[stem.partition("-")[0]]
    return {k: torch.tensor(v["numbers"]).reshape(v["shape"]) for k, v in table.items() if "numbers" in v}


def check(folder):
    files = sorted(glob.glob(os.path.join(folder, "*.written.*.pth")))
    if not files:
        sys.exit("nothing was written")
    tensors = 0
    loaded = []
    for path in files:
        stem, _, rest = os.path.basename(path).partition(".written.")
        dtype = TYPES[rest.partition(".")[0]]
        read = torch.load(path, weights_only=True)
        wanted = {k: v.to(dtype) for k, v in original(folder, stem).items()}
        assert list(read) == sorted(wanted), (path, list(read), sorted(wanted))
        for name, tensor in read.items():
            assert tensor.dtype == dtype and tensor.shape == wanted[name].shape, (path, name)
            assert tensor.is_contiguous() and not tensor.requires_grad, (path, name)
            bits = {2: torch.int16, 4: torch.int32}[tensor.element_size()]
            if tensor.dim() > 0:
                same = torch.equal(tensor.contiguous().view(bits), wanted[name].contiguous().view(bits))
            else:
                same = torch.equal(tensor, wanted[name])
            assert same, (path, name)
            tensors += 1
        arch = stem.partition("-")[0]
        try:
            import torchvision
        except ImportError:
            continue
        if hasattr(torchvision.models, arch):
            extra = {"init_weights": False} if arch == "googlenet" else {}
            net = getattr(torchvision.models, arch)(**extra)
            net.load_state_dict(read)
            loaded.append(os.path.basename(path))
    print(f"torch {torch.__version__}: {len(files)} files, {tensors} tensors, equal bits")
    print(f"into torchvision's networks, strictly: {', '.join(loaded) or 'none'}")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
