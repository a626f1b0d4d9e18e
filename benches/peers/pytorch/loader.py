"""The DataLoader of PyTorch beside `ocelli bench --loader`: the same files, the same transforms.

    python3 benches/peers/pytorch/loader.py DIR [--size 224] [--workers 2] [--seconds 5] [--augment resized|shorter]
        [--draft] [--ocelli target/release/ocelli] [--repeat 3]

DIR holds train/CLASS/*. Transforms: resized is RandomResizedCrop and RandomHorizontalFlip; shorter scales the shorter side to 256/224 of
the input, crops at a random place and mirrors. --draft opens JPEGs as Pillow's `draft` does. With --ocelli both are measured in turns, and
ratios are printed.
"""

import argparse
import gc
import json
import resource
import subprocess
import time

import torch
import torchvision.transforms as T
from PIL import Image
from torchvision.datasets import ImageFolder

parser = argparse.ArgumentParser()
parser.add_argument("dir")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--seconds", type=float, default=5)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--augment", default="resized", choices=["resized", "shorter"])
parser.add_argument("--draft", action="store_true")
parser.add_argument("--ocelli")
parser.add_argument("--pack", help="a packed file that ocelli reads in place of DIR")
parser.add_argument("--repeat", type=int, default=3)
parser.add_argument("--flags", default="", help="more flags for ocelli")
args = parser.parse_args()

RESIZE = round(args.size * 256 / 224)


def load(path):
    with open(path, "rb") as file:
        image = Image.open(file)
        if args.draft:
            # RandomResizedCrop takes at least 8% of the area; twice the input is asked for, as ocelli does.
            image.draft("RGB", (2 * args.size, 2 * args.size))
        return image.convert("RGB")


crop = {
    "resized": [T.RandomResizedCrop(args.size)],
    "shorter": [T.Resize(RESIZE), T.RandomCrop(args.size)],
}[args.augment]
# Bytes, as ocelli gives them to the GPU; ToTensor would divide by 255 besides.
transform = T.Compose([*crop, T.RandomHorizontalFlip(), T.PILToTensor()])
data = ImageFolder(f"{args.dir}/train", transform, loader=load)


def cpu():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def peer():
    """Pictures in a second, and in a second of processor time."""
    done, start, rate, used = 0, None, None, cpu()
    loader = torch.utils.data.DataLoader(
        data, args.batch_size, shuffle=True, num_workers=args.workers, drop_last=True)
    while rate is None:
        batches = iter(loader)
        for pictures, _ in batches:
            if start is None:  # the workers have started
                start = time.perf_counter()
                continue
            done += len(pictures)
            if time.perf_counter() - start > args.seconds:
                rate = done / (time.perf_counter() - start)
                break
        # The time of the workers counts when they have ended.
        del batches
        gc.collect()
    return rate, done / (cpu() - used)


def ours():
    augment = "resized=0.08-1,mirror" if args.augment == "resized" else "shorter=256/224-256/224,mirror"
    command = [args.ocelli, "bench", "--loader", args.pack or args.dir, "--size", str(args.size), "--augment", augment,
               "--batch-size", str(args.batch_size), "--seconds", str(args.seconds), "--json", "--quiet"]
    command += ["--workers", str(args.workers)] + args.flags.split()
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


torch.set_num_threads(1)
for _ in range(args.repeat):
    rate, per_cpu_s = peer()
    line = {"pytorch": {"pictures_per_s": round(rate, 1), "pictures_per_cpu_s": round(per_cpu_s, 1)}}
    if args.ocelli:
        speed = ours()
        line |= {"ocelli": speed, "ratio": round(speed["pictures_per_s"] / rate, 2)}
        if speed["pictures_per_cpu_s"]:
            line |= {"ratio_of_processor_time": round(speed["pictures_per_cpu_s"] / per_cpu_s, 2)}
    print(json.dumps(line), flush=True)
