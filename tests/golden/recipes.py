#!/usr/bin/env python3
"""Golden values: fifty steps of a small network with every option of optimiser and loss, in PyTorch, in double precision.

The network has two convolutions with batch norm and a linear layer; pixels, labels and mixtures follow formulas that the test has
too, so that the file holds only the first weights and the losses.

    python3 tests/golden/recipes.py > tests/golden/recipes.json
"""

import copy
import json
import sys

import torch
import torch.nn.functional as F
from torch import nn

BATCH, SIZE, CLASSES, BATCHES, STEPS = 16, 8, 5, 4, 50
LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-3
# A number within rounding of 0 before a ReLU passes in one program and not in the other, and from there the losses part by 1e-3. The
# weights of the classes are such that this does not happen.
# Each case: the options that differ from plain SGD.
CASES = {
    "plain": {},
    "nesterov": {"nesterov": True},
    "filters decay": {"bias_decay": False},
    "label smoothing": {"smoothing": 0.1},
    "mixup": {"mixed": True},
    "mixup with label smoothing": {"mixed": True, "smoothing": 0.2},
    "class weights": {"weights": [0.5, 1.5, 1.0, 1.25, 0.75]},
    "clipping": {"clip": 0.5},
    "averages": {"average": 0.9},
    "slow body": {"body": 0.1},
    "head alone": {"frozen": ["conv1", "bn1", "conv2", "bn2"]},
    "first layer frozen": {"frozen": ["conv1", "bn1"]},
    "frozen statistics": {"statistics": True},
    "all": {"nesterov": True, "bias_decay": False, "smoothing": 0.1, "mixed": True, "clip": 1.0, "average": 0.95, "body": 0.5},
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean(dim=(2, 3)))


def pixels(batch):
    """RGB values that look random, (N, 3, H, W), from 0 to 255."""
    n = BATCH * SIZE * SIZE * 3
    state, values = 1 + batch, []
    for _ in range(n):
        state = (state * 1103515245 + 12345) % 2**31
        values.append(state >> 16 & 255)
    return torch.tensor(values, dtype=torch.float64).reshape(BATCH, SIZE, SIZE, 3).permute(0, 3, 1, 2)


def labels(batch):
    return torch.tensor([(3 * i * i + i // 3 + batch) % CLASSES for i in range(BATCH)])


def target(batch, case):
    """The distribution that the network is to give, (N, K), and the weight of each picture."""
    first = labels(batch)
    share = torch.tensor([(i % 5) / 10 if case.get("mixed") else 0.0 for i in range(BATCH)], dtype=torch.float64)
    second = torch.roll(first, 1)
    soft = (1 - share)[:, None] * F.one_hot(first, CLASSES) + share[:, None] * F.one_hot(second, CLASSES)
    each = torch.tensor(case.get("weights", [1.0] * CLASSES), dtype=torch.float64)
    weight = (1 - share) * each[first] + share * each[second]
    smoothing = case.get("smoothing", 0.0)
    return (1 - smoothing) * soft + smoothing / CLASSES, weight


def run(first, case):
    net = Net().double()
    net.load_state_dict(first)
    frozen = case.get("frozen", [])
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name.split(".")[0] not in frozen
    groups = []
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = case.get("bias_decay", True) or parameter.dim() > 1
        rate = LR if name.startswith("fc") else LR * case.get("body", 1.0)
        groups.append({"params": [parameter], "lr": rate, "weight_decay": DECAY if decays else 0.0})
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, nesterov=case.get("nesterov", False))
    average = copy.deepcopy(net)
    losses = []
    for step in range(STEPS):
        net.train()
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d) and (name in frozen or case.get("statistics")):
                module.eval()
        x = (pixels(step % BATCHES) / 255 - 0.5) / 0.25
        soft, weight = target(step % BATCHES, case)
        logits = net(x)
        # PyTorch's own loss where it has one: with probabilities as targets since 1.10.
        each = F.cross_entropy(logits, soft, reduction="none") * weight
        if not case.get("mixed") and not case.get("weights"):
            known = F.cross_entropy(logits, labels(step % BATCHES), label_smoothing=case.get("smoothing", 0.0))
            assert torch.allclose(each.mean(), known, rtol=1e-12), (each.mean(), known)
        loss = each.mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if "clip" in case:
            nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], case["clip"])
        optimizer.step()
        if "average" in case:
            share = 1 - min(case["average"], (1 + step) / (10 + step))
            for a, b in zip(average.state_dict().values(), net.state_dict().values()):
                if a.dtype.is_floating_point:
                    a += share * (b - a)
    result = {"options": case, "loss": [float(f"{loss:.10g}") for loss in losses]}
    if "average" in case:
        average.eval()
        with torch.no_grad():
            logits = average((pixels(0) / 255 - 0.5) / 0.25)
        result["average"] = [float(f"{x:.10g}") for x in logits.flatten()]
    return result


def main():
    torch.manual_seed(1)
    net = Net()
    first = {name: tensor.double() for name, tensor in net.state_dict().items()}
    weights = {}
    for name, tensor in net.state_dict().items():
        if tensor.dtype.is_floating_point:
            weights[name] = {"shape": list(tensor.shape), "values": [float(f"{x:.9g}") for x in tensor.flatten().tolist()]}
    result = {name: run(first, case) for name, case in CASES.items()}
    lines = [f'    "{name}": {json.dumps(value)}' for name, value in result.items()]
    tensors = [f'    "{name}": {json.dumps(value)}' for name, value in weights.items()]
    head = {"torch": torch.__version__, "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    sys.stdout.write("{\n" + "".join(f'  "{k}": {json.dumps(v)},\n' for k, v in head.items()))
    sys.stdout.write('  "weights": {\n' + ",\n".join(tensors) + '\n  },\n  "cases": {\n' + ",\n".join(lines) + "\n  }\n}\n")


main()
