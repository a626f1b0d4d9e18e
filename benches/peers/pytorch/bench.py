#!/usr/bin/env python3
"""Times a network in PyTorch as `ocelli bench` times ours, and prints a line of JSON for each measurement.

    python3 benches/peers/pytorch/bench.py NETWORK [--batch-size B] [--size S] [--seconds S] ...

A step is what it is there. Training: a batch of 8-bit pictures goes from pinned memory to the device and is normalised there;
forward pass with the statistics of the batch and with dropout; cross-entropy, to which that of auxiliary classifiers is added
with a weight of 0.3; gradients; SGD with momentum and weight decay (fused where torch has it); the loss of each picture is
read back. Inference: upload, normalisation, forward pass with running statistics, the loss of each picture. Each step is
waited for. The median of at least 5 steps counts, after 3 to warm up, in which cuDNN chooses its algorithms by measurement.

Precisions: fp32 is f32 without TF32, tf32 is f32 with it, mixed is autocast in f16 (bf16 on a processor) with a loss scale.
Layouts: nchw is torch's own, nhwc is torch.channels_last. What is left out is a line with the reason.
"""
import argparse
import json
import sys
import time
import warnings

import torch
import torch.nn.functional as F

from networks import NETWORKS, parameters

CLASSES = 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WARM_UP = 3
# The usual ones first: time may run out.
ORDER = [(layout, precision) for layout in ("nchw", "nhwc") for precision in ("fp32", "tf32", "mixed")]


def the_device(wanted):
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    for name in ("xpu", "mps"):
        backend = getattr(torch, name, None) or getattr(torch.backends, name, None)
        if backend is not None and backend.is_available():
            return name
    return "cpu"


def title(device):
    return torch.cuda.get_device_name() if device == "cuda" else device


def allow_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def sgd(model):
    rates = {"lr": 1e-4, "momentum": 0.9, "weight_decay": 1e-4}
    try:
        return torch.optim.SGD(model.parameters(), fused=True, **rates)
    except (TypeError, RuntimeError):
        # An older torch, or a device for which it has none.
        return torch.optim.SGD(model.parameters(), **rates)


def scaler(device, enabled):
    if hasattr(torch, "amp") and hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)


class Case:
    """A network in one layout and precision, with a batch in the memory of the host."""

    def __init__(self, build, args, device, layout, precision):
        format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        self.device, self.model = device, build(CLASSES, args.size).to(device, memory_format=format)
        self.mixed = precision == "mixed"
        self.dtype = torch.float16 if device != "cpu" else torch.bfloat16
        allow_tf32(precision == "tf32")
        pixels = torch.randint(0, 256, (args.batch_size, 3, args.size, args.size), dtype=torch.uint8)
        self.pixels = pixels.contiguous(memory_format=format)
        self.labels = torch.arange(args.batch_size) % CLASSES
        if device == "cuda":
            self.pixels, self.labels = self.pixels.pin_memory(), self.labels.pin_memory()
        self.mean, self.std = (torch.tensor(x, device=device).view(1, 3, 1, 1) * 255 for x in (MEAN, STD))

    def start(self, name):
        self.model.train(name == "train")
        self.step = self.train if name == "train" else self.infer
        self.optimizer, self.scaler = sgd(self.model), scaler(self.device, self.mixed and self.device == "cuda")

    def batch(self):
        x = self.pixels.to(self.device, non_blocking=True).float()
        return (x - self.mean) / self.std, self.labels.to(self.device, non_blocking=True)

    def losses(self, logits, labels):
        return F.cross_entropy(logits.float(), labels, reduction="none")

    def forward(self, x):
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.mixed):
            logits = self.model(x)
        return logits if isinstance(logits, list) else [logits]

    def train(self):
        x, labels = self.batch()
        self.optimizer.zero_grad(set_to_none=True)
        losses, *extra = [self.losses(logits, labels) for logits in self.forward(x)]
        self.scaler.scale(losses.mean() + 0.3 * sum(more.mean() for more in extra)).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if hasattr(self.model, "after_step"):
            self.model.after_step()
        return losses.tolist()

    @torch.no_grad()
    def infer(self):
        x, labels = self.batch()
        return self.losses(self.forward(x)[0], labels).tolist()


def timed(step):
    start = time.perf_counter()
    step()
    return (time.perf_counter() - start) * 1e3


def measure(case, seconds):
    if case.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    first = [timed(case.step) for _ in range(WARM_UP)][0]
    times, start = [], time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - start < seconds and len(times) < 1000):
        times.append(timed(case.step))
    times.sort()
    memory = torch.cuda.max_memory_allocated() if case.device == "cuda" else None
    return {"steps": len(times), "ms_median": times[len(times) // 2], "ms_min": times[0], "first_step_ms": first,
            "gpu_bytes": memory}


def run(args, build, device):
    begun = time.perf_counter()
    about = {"network": args.network, "batch_size": args.batch_size, "size": args.size, "device": title(device),
             "torch": torch.__version__}
    for layout, precision in ORDER:
        if layout not in args.layouts or precision not in args.precisions:
            continue
        line = {**about, "layout": layout, "precision": precision}
        reason = None
        if precision == "tf32" and device != "cuda":
            reason = f"{title(device)} has no TF32 in PyTorch"
        elif time.perf_counter() - begun > args.limit:
            reason = f"{args.limit:.0f} s were over (--limit)"
        if reason is None:
            try:
                case = Case(build, args, device, layout, precision)
                for name in args.modes:
                    case.start(name)
                    result = measure(case, args.seconds)
                    rate = args.batch_size * 1e3 / result["ms_median"]
                    print(json.dumps({**line, "mode": name, **result, "images_per_s": rate}), flush=True)
                continue
            except (RuntimeError, NotImplementedError) as error:
                # Out of memory, or an operation that this build of torch lacks.
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            finally:
                case = None
        print(json.dumps({**line, "left_out": reason}), flush=True)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number of at least 1")
    return number


def names(allowed):
    def parse(text):
        given = text.split(",")
        if not set(given) <= set(allowed):
            raise argparse.ArgumentTypeError(f"give some of {','.join(allowed)}")
        return given

    return parse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", choices=list(NETWORKS))
    parser.add_argument("--about", action="store_true", help="say which torch and which device this is, and measure nothing")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--size", type=positive, help="height and width of the input [default: that of the network]")
    parser.add_argument("--modes", type=names(["train", "infer"]), default=["train", "infer"])
    parser.add_argument("--precisions", type=names(["fp32", "tf32", "mixed"]), default=["fp32", "tf32", "mixed"])
    parser.add_argument("--layouts", type=names(["nchw", "nhwc"]), default=["nchw", "nhwc"])
    parser.add_argument("--device", default="auto", help="cuda, xpu, mps or cpu [default: the first of them that is there]")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a step is repeated, but 5 times at least")
    parser.add_argument("--limit", type=float, default=3600.0, help="begin no measurement after so many seconds")
    parser.add_argument("--parameters", type=int, help="end with an error if the network has another number of parameters")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.backends.cudnn.benchmark = True
    device = the_device(args.device)
    if args.about:
        print(json.dumps({"torch": torch.__version__, "device": title(device), "kind": device}))
        return
    if args.network is None:
        parser.error("name a network")
    size, build = NETWORKS[args.network]
    args.size = args.size or size
    try:
        counted = parameters(build(CLASSES, args.size))
    except RuntimeError as error:
        sys.exit(f"{args.network} at {args.size}x{args.size}: {error}")
    if args.parameters not in (None, counted):
        sys.exit(f"{args.network} has {counted} parameters here, and {args.parameters} elsewhere: these are two networks")
    run(args, build, device)


if __name__ == "__main__":
    main()
