#!/usr/bin/env python3
"""Golden files: what torch.save writes, for the reader of PyTorch's files.

Every file of a kind holds the same names and numbers, whatever PyTorch and form wrote it: those of expected.json. Run
it with each PyTorch whose files are wanted; the names of the files say its version. It needs torch alone.

    python3 tests/golden/pth/make.py tests/golden/pth

The legacy form has addresses of memory in it, so that its bytes are others in each run.
"""

import argparse
import collections
import io
import json
import os
import sys
import zipfile

import torch
from torch import nn


def numbers(*shape, dtype=torch.float32, start=0):
    """Multiples of 1/8 that every type of numbers holds exactly, none twice in a row."""
    count = 1
    for size in shape:
        count *= size
    values = torch.arange(start, start + count, dtype=torch.float64)
    return ((values * 37) % 101 / 8 - 6).to(dtype).reshape(shape)


def state_dict():
    tensors = collections.OrderedDict()
    tensors["conv.weight"] = numbers(4, 3, 2, 2)
    tensors["half"] = numbers(5, dtype=torch.float16)
    tensors["brain"] = numbers(2, 3, dtype=torch.bfloat16)
    tensors["double"] = numbers(3, 2, dtype=torch.float64)
    tensors["bn.num_batches_tracked"] = torch.tensor(7)
    tensors["mask"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["parameter"] = nn.Parameter(numbers(2, 2, start=9))
    # Views: other orders and parts of a storage, some of which they share.
    base = numbers(6, 5, start=20)
    tensors["transposed"] = base.t()
    tensors["rows"] = base[2:5]
    tensors["columns"] = base[:, 1:4]
    tensors["every.second"] = base[1::2, ::2]
    tensors["base"] = base
    tensors["permuted"] = numbers(2, 3, 4, 5, start=3).permute(3, 1, 0, 2)
    tensors["channels.last"] = numbers(2, 3, 2, 2, start=5).contiguous(memory_format=torch.channels_last)
    # With attributes of their own.
    tensors["tagged"] = numbers(3, start=30)
    tensors["tagged"].note = "x"
    tensors["parameter"].note = "x"
    return tensors


def checkpoint():
    net = nn.DataParallel(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(numbers(*parameter.shape, start=11 * i))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    schedule.step()
    return {
        "epoch": 3,
        "arch": "tiny",
        "args": argparse.Namespace(lr=0.1, data="/data", seed=2**70, sizes=[1, 2], device=torch.device("cpu")),
        "best_acc1": torch.tensor(71.5),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "dtype": torch.float16,
        "names": {"a", "b"},
        "raw": b"\x00\xff",
        "state_dict": net.state_dict(),
    }


class Net(nn.Module):
    """Something whose class no reader can know."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x)


def script(path):
    """A program of TorchScript, without the paths that it has for messages."""
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(Net()), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name), source.read(name))


def expected(tensors):
    table = {}
    for name, tensor in tensors.items():
        entry = {"dtype": str(tensor.dtype).replace("torch.", ""), "shape": list(tensor.shape)}
        if tensor.is_floating_point():
            entry["numbers"] = tensor.detach().float().contiguous().flatten().tolist()
        table[name] = entry
    return table


def main(folder):
    version = ".".join(torch.__version__.split(".")[:2])
    contents = {"state_dict": state_dict(), "checkpoint": checkpoint()}

    def save(content, name, **options):
        torch.save(content, os.path.join(folder, f"{name}-{version}.pth"), **options)

    for name, content in contents.items():
        save(content, f"{name}-zip")
        save(content, f"{name}-legacy", _use_new_zipfile_serialization=False)
    for protocol in 3, 4, 5:
        save(contents["checkpoint"], f"checkpoint-protocol{protocol}", pickle_protocol=protocol)
    save(
        contents["state_dict"],
        "state_dict-legacy-protocol4",
        pickle_protocol=4,
        _use_new_zipfile_serialization=False,
    )
    # What is refused. The source code of the classes stays out: it comes with the paths of this machine.
    torch.serialization.get_source_lines_and_file = lambda *_: (["\n"], 1, "net.py")
    save(Net(), "module-zip")
    save(Net(), "module-legacy", _use_new_zipfile_serialization=False)
    script(os.path.join(folder, f"script-{version}.pth"))

    table = {
        "state_dict": expected(contents["state_dict"]),
        "checkpoint": expected(contents["checkpoint"]["state_dict"]),
    }
    path = os.path.join(folder, "expected.json")
    text = json.dumps(table, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    if os.path.exists(path) and open(path).read() != text:
        sys.exit(f"{path} says something else than this version of PyTorch")
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
