#!/usr/bin/env python3
"""Times ncnn's Vulkan path beside ours: inference of one picture, f32.

    python3 -m pip install ncnn
    cargo build --release
    python3 benches/peers/ncnn_infer.py [NETWORK ...]

Both run on the same adapter in turns, ours through `ocelli bench`. The networks are torchvision's, with batch norm folded
into the convolutions and ReLU fused, which is how ncnn wants them. Its weights are zeros, ours are random, which can only
be to its advantage: some processors are slower where numbers are not zero.
"""
import json
import statistics
import subprocess
import sys
import time

import ncnn


class Param:
    """Text of an ncnn network."""

    def __init__(self, size):
        self.lines, self.blobs, self.uses = [], 1, {}
        self.channels = {"data": 3}
        self.add("Input", [], "data", f"0={size} 1={size} 2=3")

    def add(self, kind, inputs, out, args=""):
        self.lines.append([kind, list(inputs), out, args])
        for i in inputs:
            self.uses[i] = self.uses.get(i, 0) + 1
        return out

    def name(self):
        self.blobs += 1
        return f"b{self.blobs}"

    def conv(self, x, k, kernel, stride=1, pad=0, relu=True):
        c = self.channels[x]
        out = self.name()
        self.channels[out] = k
        return self.add("Convolution", [x], out,
                        f"0={k} 1={kernel} 3={stride} 4={pad} 5=1 6={c * k * kernel * kernel} 9={int(relu)}")

    def pool(self, x, kernel, stride, pad=0, ceil=False, average=False):
        out = self.name()
        self.channels[out] = self.channels[x]
        return self.add("Pooling", [x], out,
                        f"0={int(average)} 1={kernel} 2={stride} 3={pad} 5={0 if ceil else 1}")

    def whole(self, x):
        out = self.name()
        self.channels[out] = self.channels[x]
        return self.add("Pooling", [x], out, "0=1 4=1")

    def dense(self, x, n, inputs, relu=True):
        out = self.name()
        self.channels[out] = n
        return self.add("InnerProduct", [x], out, f"0={n} 1=1 2={n * inputs} 9={int(relu)}")

    def sum(self, a, b):
        out = self.name()
        self.add("BinaryOp", [a, b], out, "0=0")
        relu = self.name()
        self.channels[relu] = self.channels[a]
        return self.add("ReLU", [out], relu)

    def concat(self, parts):
        out = self.name()
        self.channels[out] = sum(self.channels[p] for p in parts)
        return self.add("Concat", parts, out)

    def text(self):
        """With a Split wherever a blob is read more than once, as ncnn demands."""
        lines, names = [], {}
        blobs = 0
        for kind, inputs, out, args in self.lines:
            ins = [names[i].pop(0) if names.get(i) else i for i in inputs]
            lines.append(f"{kind} {out}_l {len(ins)} 1 {' '.join(ins)} {out} {args}")
            blobs += 1
            if self.uses.get(out, 0) > 1:
                names[out] = [f"{out}_{j}" for j in range(self.uses[out])]
                lines.append(f"Split {out}_s 1 {len(names[out])} {out} {' '.join(names[out])}")
                blobs += len(names[out])
        return "\n".join(["7767517", f"{len(lines)} {blobs}"] + lines) + "\n"


def alexnet():
    p = Param(224)
    x = p.pool(p.conv("data", 64, 11, 4, 2), 3, 2)
    x = p.pool(p.conv(x, 192, 5, 1, 2), 3, 2)
    x = p.conv(p.conv(x, 384, 3, 1, 1), 256, 3, 1, 1)
    x = p.pool(p.conv(x, 256, 3, 1, 1), 3, 2)
    return p, p.dense(p.dense(p.dense(x, 4096, 9216), 4096, 4096), 1000, 4096, False)


def vgg16():
    p = Param(224)
    x = "data"
    for count, k in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]:
        for _ in range(count):
            x = p.conv(x, k, 3, 1, 1)
        x = p.pool(x, 2, 2)
    return p, p.dense(p.dense(p.dense(x, 4096, 25088), 4096, 4096), 1000, 4096, False)


def googlenet():
    p = Param(224)
    x = p.pool(p.conv("data", 64, 7, 2, 3), 3, 2, ceil=True)
    x = p.pool(p.conv(p.conv(x, 64, 1), 192, 3, 1, 1), 3, 2, ceil=True)
    table = [(64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), 3, (192, 96, 208, 16, 48, 64),
             (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
             (256, 160, 320, 32, 128, 128), 2, (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)]
    for row in table:
        if isinstance(row, int):
            x = p.pool(x, row, 2, ceil=True)
            continue
        a, b1, b3, c1, c3, d = row
        x = p.concat([p.conv(x, a, 1), p.conv(p.conv(x, b1, 1), b3, 3, 1, 1), p.conv(p.conv(x, c1, 1), c3, 3, 1, 1),
                      p.conv(p.pool(x, 3, 1, 1, ceil=True), d, 1)])
    return p, p.dense(p.whole(x), 1000, 1024, False)


def resnet(blocks, bottleneck):
    p = Param(224)
    x = p.pool(p.conv("data", 64, 7, 2, 3), 3, 2, 1)
    for stage, count in enumerate(blocks):
        k = 64 << stage
        out = 4 * k if bottleneck else k
        for i in range(count):
            stride = 2 if i == 0 and stage > 0 else 1
            short = x if i > 0 or (not bottleneck and stage == 0) else p.conv(x, out, 1, stride, 0, False)
            if bottleneck:
                y = p.conv(p.conv(p.conv(x, k, 1), k, 3, stride, 1), out, 1, 1, 0, False)
            else:
                y = p.conv(p.conv(x, k, 3, stride, 1), k, 3, 1, 1, False)
            x = p.sum(y, short)
    return p, p.dense(p.whole(x), 1000, p.channels[x], False)


NETWORKS = {
    "alexnet-tv": alexnet,
    "vgg16": vgg16,
    "googlenet-tv": googlenet,
    "resnet18": lambda: resnet([2, 2, 2, 2], False),
    "resnet50": lambda: resnet([3, 4, 6, 3], True),
}


def theirs(name, seconds):
    param, out = NETWORKS[name]()
    net = ncnn.Net()
    net.opt.use_vulkan_compute = True
    for option in ["use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_int8_inference"]:
        setattr(net.opt, option, False)
    if net.load_param_mem(param.text()) != 0:
        sys.exit(f"ncnn does not read {name}")
    net.load_model(ncnn.DataReaderFromEmpty())
    image = ncnn.Mat(224, 224, 3)
    image.fill(0.5)
    times = []
    start = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        with net.create_extractor() as extractor:
            extractor.input("data", image)
            code, result = extractor.extract(out)
        times.append((time.perf_counter() - before) * 1e3)
        if code != 0 or result.w != 1000:
            sys.exit(f"ncnn fails at {name}")
    return statistics.median(times[1:])


def ours(name):
    command = ["target/release/ocelli", "bench", "--arch", name, "--mode", "infer", "--batch-size", "1", "--size", "224",
               "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["ms_median"]


def main():
    names = sys.argv[1:] or list(NETWORKS)
    print("| network | ocelli, ms | ncnn, ms | ncnn / ocelli |\n|---|---|---|---|")
    for name in names:
        # In turns, because the load of a shared machine changes.
        pairs = [(ours(name), theirs(name, 5)) for _ in range(2)]
        us, them = (min(times) for times in zip(*pairs))
        print(f"| {name} | {us:.0f} | {them:.0f} | {them / us:.2f} |", flush=True)


if __name__ == "__main__":
    main()
