#!/usr/bin/env python3
"""Writes OUT/table.md from OUT/results.jsonl, which scripts/gpu.sh has made: python3 scripts/gpu/table.py OUT

Needs nothing but Python 3.8. A number of the first table is the shortest median of all turns; the others are in the tables
below it and in results.jsonl.
"""
import json
import os
import pathlib
import sys
import tempfile
import unicodedata

PASSES = {"train": "training", "infer": "inference"}
LEVELS = ["off", "quick", "full"]
# Kernels of a step in the table of the slowest ones.
SLOWEST = 6


# --- Markdown -----------------------------------------------------------------------------------------------------------


def code(text):
    """Text from a driver or another program: as code, in which nothing is a link, a mention or HTML."""
    visible = "".join(c if unicodedata.category(c)[0] not in "CZ" or c == " " else "?" for c in str(text))
    visible = visible.replace("`", "'").replace("|", "\\|").strip()
    return f"`{visible}`" if visible else "-"


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head, rows, numbers=True):
    side = "---:" if numbers else "---"
    lines = [head, ["---"] + [side] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def section(title, head, rows, numbers=True):
    return f"\n## {title}\n\n{table(head, rows, numbers)}" if rows else ""


# --- results ------------------------------------------------------------------------------------------------------------


class Results:
    """The lines of a file by their kind. A line that is none, as a full disk leaves it, is counted."""

    def __init__(self, text):
        self.kinds, self.damaged = {}, 0
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self.kinds.setdefault(entry["kind"], []).append(entry)
            except (ValueError, KeyError, TypeError):
                self.damaged += 1

    def all(self, kind):
        return self.kinds.get(kind, [])

    def one(self, kind):
        return (self.all(kind) or [{}])[0]

    def ocelli(self, **wanted):
        """Measurements of ours with these fields, each with its level of tuning."""
        found = [{**e["result"], "tune": e["tune"], "turn": e["turn"]} for e in self.all("bench")]
        return [m for m in found if all(m.get(k) == v for k, v in wanted.items())]

    def pytorch(self, **wanted):
        found = [{**e["result"], "turn": e["turn"]} for e in self.all("pytorch") if "ms_median" in e["result"]]
        return [m for m in found if all(m.get(k) == v for k, v in wanted.items())]

    def networks(self):
        names = [m["arch"] for m in self.ocelli()] + [m["network"] for m in self.pytorch()]
        return list(dict.fromkeys(names))


def fastest(found):
    return min(found, key=lambda m: m["ms_median"], default=None)


def named(best, way):
    return "-" if best is None else f"{number(best['ms_median'])} ({best[way]})"


def speed(ours, theirs):
    """How many times as fast ours is."""
    return "-" if ours is None or theirs is None else f"**{theirs['ms_median'] / ours['ms_median']:.2f}**"


def ratios(results):
    rows = []
    for network in results.networks():
        for mode, name in PASSES.items():
            full = fastest(results.ocelli(arch=network, mode=mode, precision="f32"))
            half = fastest(results.ocelli(arch=network, mode=mode, precision="f16"))
            peer = {p: fastest(results.pytorch(network=network, mode=mode, precision=p)) for p in ("fp32", "tf32", "mixed")}
            if full is None and half is None:
                continue
            rows.append([
                code(network), name, named(full, "tune"),
                named(peer["fp32"], "layout"), speed(full, peer["fp32"]),
                named(peer["tf32"], "layout"), speed(full, peer["tf32"]),
                named(half, "tune"), named(peer["mixed"], "layout"), speed(half, peer["mixed"]),
            ])
    head = ["network", "pass", "f32, ms", "PyTorch fp32", "speed", "PyTorch TF32", "speed", "f16, ms", "PyTorch mixed", "speed"]
    return table(head, rows) if rows else "Nothing was measured.\n"


def share(measurement):
    """Of a profile: the products by the best product, and the part of the step that is no product."""
    profile = measurement.get("profile")
    if not profile:
        return "-", "-"
    products = [k for k in profile["kernels"] if k["macs"] > 0]
    ms, total = sum(k["ms"] for k in products), sum(k["ms"] for k in profile["kernels"])
    if not ms or not total:
        return "-", "-"
    rate = 2 * sum(k["macs"] for k in products) / ms / 1e6
    return f"{100 * rate / profile['roofline']['gflops_per_s']:.0f}%", f"{100 * (1 - ms / total):.0f}%"


def ours(results):
    rows = []
    for m in results.ocelli():
        of_best, rest = share(m)
        rows.append([
            code(m["arch"]), PASSES[m["mode"]], m["precision"], m["tune"], str(m["turn"]), number(m["ms_median"]),
            number(m["images_per_s"], 1), number(m["gflops_per_s"], 1), of_best, rest, number(m["gpu_bytes"] / 2**20, 0),
            number(m["first_step_ms"] / 1e3, 1), number(m["tune_ms"] / 1e3, 1),
        ])
    head = ["network", "pass", "precision", "tune", "turn", "ms", "images/s", "GFLOP/s", "products of the best", "no product",
            "memory, MiB", "first step, s", "of it choosing"]
    return section("Ocelli", head, rows)


def theirs(results):
    rows = [[
        code(m["network"]), PASSES[m["mode"]], m["precision"], m["layout"], str(m["turn"]), number(m["ms_median"]),
        number(m["images_per_s"], 1), number(m["gpu_bytes"] and m["gpu_bytes"] / 2**20, 0), number(m["first_step_ms"] / 1e3, 1),
    ] for m in results.pytorch()]
    head = ["network", "pass", "precision", "layout", "turn", "ms", "images/s", "memory, MiB", "first step, s"]
    return section("PyTorch", head, rows)


def choices(results):
    """What tuning chose: how often the heuristic was right, and by how much the choice is faster, each product once."""
    rows, others = [], []
    for m in results.ocelli():
        tuned = m.get("tuned") or []
        if not tuned:
            continue
        kept = [t for t in tuned if t["chosen"] == t["heuristic"]]
        both = [t for t in tuned if t["chosen"] in t["ms"] and t["heuristic"] in t["ms"]]
        before, after = (sum(t["ms"][t[way]] for t in both) for way in ("heuristic", "chosen"))
        rows.append([code(m["arch"]), PASSES[m["mode"]], m["precision"], m["tune"], str(len(tuned)), str(len(kept)),
                     number(before), number(after)])
        others += [{**t, "tune": m["tune"]} for t in both if t["chosen"] != t["heuristic"]]
    head = ["network", "pass", "precision", "tune", "products measured", "heuristic right", "heuristic, ms", "chosen, ms"]
    text = section("What tuning chose", head, rows)
    others.sort(key=lambda t: t["ms"][t["heuristic"]] / max(t["ms"][t["chosen"]], 1e-9), reverse=True)
    if others:
        rows = [[code(t["product"]), t["tune"], code(t["heuristic"]), code(t["chosen"]), number(t["ms"][t["heuristic"]], 3),
                 number(t["ms"][t["chosen"]], 3)] for t in others[:20]]
        text += f"\nThe {len(rows)} products of {len(others)} where it gained most:\n\n"
        text += table(["product", "tune", "heuristic", "chosen", "heuristic, ms", "chosen, ms"], rows)
    return text


def faults(results):
    """The kernels that the self-test has found wrong."""
    rows = [[code(e["result"]["name"]), e["result"]["precision"], code(fault["case"]), code(fault["fault"])]
            for e in results.all("selftest") for fault in e["result"].get("faults", [])]
    return section("What the self-test found", ["kernel", "precision", "what", "first wrong number"], rows, numbers=False)


def kernels(results):
    rows, seen = [], set()
    for m in results.ocelli(mode="train"):
        profile, key = m.get("profile"), (m["arch"], m["precision"])
        if not profile or key in seen:
            continue
        seen.add(key)
        total = sum(k["ms"] for k in profile["kernels"]) or 1e-9
        for k in profile["kernels"][:SLOWEST]:
            rate, best = 2 * k["macs"] / max(k["ms"], 1e-9) / 1e6, profile["roofline"]["gflops_per_s"]
            if not k["macs"]:
                rate, best = k["bytes"] / max(k["ms"], 1e-9) / 1e6, profile["roofline"]["gbytes_per_s"]
            rows.append([code(m["arch"]), m["precision"], code(k["name"]), str(k["calls"]), number(k["ms"], 3),
                         f"{100 * k['ms'] / total:.0f}%", f"{100 * rate / best:.0f}%"])
    head = ["network", "precision", "kernel", "calls", "ms", "of the step", "of the ceiling"]
    return section(f"The {SLOWEST} slowest kernels of a training step", head, rows)


def about(results):
    run, adapter, torch = results.one("run"), results.one("chosen").get("result", {}), results.one("pytorch_about")
    roofline = [m["profile"]["roofline"] for m in results.ocelli() if m.get("profile")]
    rows = [
        ["adapter", code(f"{adapter.get('name', '')} ({adapter.get('backend', '')})")],
        ["driver", code(adapter.get("driver", ""))],
        ["system", code(run.get("system", ""))],
        ["version", code(run.get("version", ""))],
        ["date", code(run.get("date", ""))],
        ["protocol", f"batches of {run.get('batch_size')}; steps repeated for {run.get('seconds')} s, five times at least"],
        ["time", f"{results.one('end').get('seconds', '?')} of {run.get('budget')} s"],
    ]
    if torch:
        rows.append(["PyTorch", code(f"{torch['result']['torch']} on {torch['result']['device']}")])
    if roofline:
        best = (max(r[key] for r in roofline) for key in ("gflops_per_s", "gbytes_per_s"))
        rows.append(["best product, best copy", "{:,.0f} GFLOP/s, {:,.0f} GB/s".format(*best)])
    verdict = next((e["result"] for e in results.all("selftest") if "passed" in e["result"] and "tests" in e["result"]), None)
    if verdict:
        rows.append(["self-test", f"{verdict['tests']} tests, {verdict.get('failed', 0)} failed; see selftest.md"])
    tests = results.one("tests")
    if tests:
        rows.append(["tests of operations", f"{tests['passed']} passed, {tests['failed']} failed in {tests['seconds']} s"])
    return table(["", ""], rows, numbers=False)


def not_done(results):
    """The steps that are not there, those with the same reason together."""
    text = ""
    for kind, title in (("failed", "Failed"), ("left_out", "Left out")):
        reasons = {}
        for e in results.all(kind):
            reasons.setdefault(e["why"], []).append(e["step"])
        if kind == "left_out":
            for m in (e["result"] for e in results.all("pytorch") if "left_out" in e["result"]):
                reasons.setdefault(m["left_out"], []).append(f"{m['network']} in PyTorch, {m['layout']} {m['precision']}")
        rows = [[code(why), ", ".join(code(step) for step in dict.fromkeys(steps))] for why, steps in reasons.items()]
        text += section(title, ["why", "steps"], rows, numbers=False)
    if results.damaged:
        text += f"\n{results.damaged} lines of the results could not be read.\n"
    return text


def markdown(results):
    quick = "\nSizes are small (`--quick`): the figures show that this works, and nothing else.\n"
    return "".join([
        "# Ocelli on one adapter\n\n", about(results), quick if results.one("run").get("quick") == "yes" else "",
        "\n## Beside PyTorch\n\n", ratios(results),
        "\nMilliseconds of a step: the shortest median, with the level of `--tune` or the layout of PyTorch that it has. *Speed* is "
        "PyTorch's time by ours: above 1 ours is faster. A step uploads 8-bit pictures, normalises them, and reads back the loss of "
        "each; training has batch statistics, dropout and SGD with momentum. f16 stores activations in f16 and computes in f32; "
        "PyTorch's mixed precision computes in f16 on matrix units where the chip has them.\n",
        faults(results), not_done(results), ours(results), theirs(results), choices(results), kernels(results),
    ])


def main():
    if len(sys.argv) != 2:
        sys.exit("give the folder of the results: table.py OUT")
    folder = pathlib.Path(sys.argv[1])
    try:
        text = markdown(Results((folder / "results.jsonl").read_text(encoding="utf-8", errors="replace")))
        # Complete or not there.
        with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, folder / "table.md")
    except OSError as error:
        sys.exit(f"table.py: {error}")


if __name__ == "__main__":
    main()
