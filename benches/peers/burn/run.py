#!/usr/bin/env python3
"""Times burn beside ours on one adapter, in turns.

    cargo build --release
    python3 benches/peers/burn/run.py [--turns N] [--seconds S]

Builds burn's program (its own Cargo.toml beside this file) with burn's autotuning and without; CARGO_TARGET_DIR says where
to. The first step is timed from the start of the process with empty caches of kernels and of tuning; the other figures come
from the same processes, after warm-up. Each is the better of the medians of N turns. AlexNet at the end is one run of each:
what fails is shown as its message.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
OCELLI = HERE.parents[2] / "target/release/ocelli"
CASES = [("train", "resnet18", "resnet18", 64, 16), ("infer", "resnet18", "resnet18", 224, 1)]
ALEXNET = ("infer", "alexnet", "alexnet-tv", 224, 1)


def build():
    """Programs by what they are called in the table."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")).resolve()
    programs = {}
    for title, flags in [("burn", []), ("burn, no autotune", ["--no-default-features"])]:
        subprocess.run(["cargo", "build", "--release", "--locked", *flags], cwd=HERE, check=True)
        program = target / f"burn-peer{'-plain' if flags else '-tuned'}"
        shutil.copy2(target / "release/burn-peer", program)
        programs[title] = program
    return programs


def timed(command, sign):
    """Runs a program with empty caches. The JSON it prints, and after how many seconds its first line with `sign` came."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"MESA_SHADER_CACHE_DIR": folder, "XDG_CACHE_HOME": folder}
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=os.environ | caches, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        seen, lines = None, []
        for line in process.stdout:
            if seen is None and sign in line:
                seen = time.perf_counter() - start
            lines.append(line.strip())
        if process.wait() != 0:
            # What a panic says stands below where it was.
            panics = [i + 1 for i, line in enumerate(lines) if "panicked at" in line]
            why = [line for line in lines[panics[0] if panics else -2:] if line]
            raise RuntimeError(" ".join(why[:4])[:200])
        return json.loads(lines[-1]), seen


def theirs(program, mode, name, size, batch, seconds):
    result, first = timed([str(program), mode, name, str(size), str(batch), str(seconds)], "first")
    return result["ms_median"], first


def ours(mode, name, size, batch):
    command = [str(OCELLI), "bench", "--arch", name, "--mode", mode, "--size", str(size), "--batch-size", str(batch), "--json"]
    result, opened = timed(command, "adapter")
    return result["ms_median"], opened + result["first_step_ms"] / 1e3


def row(title, us, them, unit):
    ratios = "".join(f" {t:.{unit}f} | {t / us:.1f} |" for t in them)
    print(f"| {title} | {us:.{unit}f} |{ratios}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=5, help="how long burn is timed after its warm-up")
    args = parser.parse_args()
    if not OCELLI.exists():
        sys.exit("build ours first: cargo build --release")
    programs = build()
    print("| | ocelli |" + "".join(f" {title} | by ocelli |" for title in programs))
    print("|---|---|" + "---|---|" * len(programs))
    for mode, name, our_name, size, batch in CASES:
        turns = [[ours(mode, our_name, size, batch)]
                 + [theirs(p, mode, name, size, batch, args.seconds) for p in programs.values()] for _ in range(args.turns)]
        medians, firsts = ([min(turn[i][what] for turn in turns) for i in range(len(programs) + 1)] for what in (0, 1))
        title = f"{name} {'training' if mode == 'train' else 'inference'}, {size}x{size}, batch {batch}"
        row(f"{title}, ms", medians[0], medians[1:], 0)
        row(f"{title}, start to the end of the first step, s", firsts[0], firsts[1:], 1)
    mode, name, our_name, size, batch = ALEXNET
    print(f"\n{name} inference, {size}x{size}, batch {batch}:")
    runs = {"ocelli": lambda: ours(mode, our_name, size, batch)}
    for title, program in programs.items():
        runs[title] = lambda program=program: theirs(program, mode, name, size, batch, args.seconds)
    for title, run in runs.items():
        try:
            print(f"- {title}: {run()[0]:.0f} ms", flush=True)
        except RuntimeError as error:
            print(f"- {title}: fails: {error}", flush=True)


if __name__ == "__main__":
    main()
