#!/usr/bin/env python3
"""Networks as torch.onnx exports them, by each of its exporters, with what PyTorch computes.

    python3 tests/golden/onnx/exports.py make FOLDER [NAME ...]

writes NAME.EXPORTER.onnx with random weights and NAME.EXPORTER.json with the logits of two pictures in f64. They are
large and stay outside the repository; the tests compare with them where OCELLI_ONNX_EXPORTS names the folder.

    python3 tests/golden/onnx/exports.py strip FOLDER OUT NAME.EXPORTER ...

takes the weights out of such files: each becomes a ConstantOfShape of the same name, so that a file has some kilobytes.
Beside them `exports.json` has what ONNX Runtime computes where the weights are hashes of their names, as in light.py.

Needs torch and torchvision; with onnxscript the newer exporter is used too, with onnx and onnxruntime `strip` works.
"""

import inspect
import json
import os
import sys

import numpy
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

CLASSES = 100
MEAN = numpy.array([0.485, 0.456, 0.406])
STD = numpy.array([0.229, 0.224, 0.225])


class Block(nn.Module):
    """A block of the CIFAR networks of He et al., with a shortcut of option A."""

    def __init__(self, c, k, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c, k, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(k)
        self.conv2 = nn.Conv2d(k, k, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(k)
        self.stride, self.front = stride, (k - c) // 2

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.front, self.front), "constant", 0)
        return F.relu(y + x)


class Cifar(nn.Module):
    """6n + 2 layers."""

    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        blocks = [Block(c if i == 0 else k, k, s if i == 0 else 1) for c, k, s in stages for i in range(n)]
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        x = F.avg_pool2d(x, int(x.size(3)))
        return self.linear(x.view(x.size(0), -1))


class PreBlock(nn.Module):
    """Pre-activation, two 3x3 convolutions, a shortcut of option A."""

    def __init__(self, c, k, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(c), nn.BatchNorm2d(k)
        self.conv1 = nn.Conv2d(c, k, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(k, k, 3, padding=1, bias=False)
        self.stride, self.front = stride, (k - c) // 2

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.front, self.front), "constant", 0)
        return x + y


class PreCifar(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        stages = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        blocks = [PreBlock(c if i == 0 else k, k, s if i == 0 else 1) for c, k, s in stages for i in range(n)]
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn(self.blocks(self.conv1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def torchvision_network(name, **more):
    if "googlenet" in name:
        more.update(aux_logits=False, init_weights=False)
    build = getattr(torchvision.models, name)
    return lambda: build(weights=None, num_classes=CLASSES, **more)


def as_mxnet(name):
    """The networks of the ONNX model zoo that came from MXNet: biases before batch norm, in bottlenecks the stride first."""

    def build():
        net = torchvision_network(name)()
        for module in net.modules():
            for label, conv in module.named_children():
                if isinstance(conv, nn.Conv2d):
                    sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
                    setattr(module, label, nn.Conv2d(*sizes))
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
        return net

    return build


# Name: how it is built, input size, whether the exporter may fold batch norm.
NETWORKS = {
    "alexnet": (torchvision_network("alexnet"), 224, True),
    "vgg11": (torchvision_network("vgg11"), 224, True),
    "vgg11_bn": (torchvision_network("vgg11_bn"), 224, False),
    "vgg16_bn": (torchvision_network("vgg16_bn"), 224, True),
    "googlenet": (torchvision_network("googlenet", transform_input=True), 224, True),
    "googlenet_plain": (torchvision_network("googlenet", transform_input=False), 224, False),
    "resnet18": (torchvision_network("resnet18"), 224, True),
    "resnet50": (torchvision_network("resnet50"), 224, False),
    "resnet18_mxnet": (as_mxnet("resnet18"), 224, False),
    "resnet50_mxnet": (as_mxnet("resnet50"), 224, False),
    "resnet152": (torchvision_network("resnet152"), 224, True),
    "resnet20": (lambda: Cifar(3), 32, True),
    "resnet1202": (lambda: Cifar(200), 32, False),
    "preresnet110": (lambda: PreCifar(18), 32, True),
}


def randomise(net, name):
    """Weights as He et al. say, batch norms that change something, residual branches that do not explode."""
    gain = (0.3, 0.7) if "resnet" in name else (0.9, 1.3)
    generator = torch.Generator().manual_seed(1)
    uniform = lambda t, low, high: t.data.copy_(torch.rand(t.shape, generator=generator) * (high - low) + low)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = (6.0 / module.weight[0].numel()) ** 0.5
            uniform(module.weight, -bound, bound)
            if module.bias is not None:
                uniform(module.bias, -0.1, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            uniform(module.weight, *gain)
            uniform(module.bias, -0.1, 0.1)
            uniform(module.running_mean, -0.2, 0.2)
            uniform(module.running_var, 0.5, 1.5)
    return net.eval()


def pictures(size):
    """Two pictures whose bytes are hashes of their places, as the tests make them, normalised as for ImageNet."""
    from light import hashed

    pixels = numpy.floor(hashed("pixels", 2 * size * size * 3) * 256).reshape(2, size, size, 3)
    return torch.from_numpy(((pixels / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).copy())


def export(net, x, path, exporter, fold):
    kinds = inspect.signature(torch.onnx.export).parameters
    x = x[:1].float()
    if exporter == "dynamo":
        dynamic = {"x": {0: torch.export.Dim("batch")}} if "resnet18" in path else None
        torch.onnx.export(net, (x,), path, dynamo=True, input_names=["x"], output_names=["logits"],
                          external_data=False, dynamic_shapes=dynamic and list(dynamic.values()))
        return
    more = {"dynamo": False} if "dynamo" in kinds else {}
    if not fold:
        more |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(net, (x,), path, opset_version=int(exporter.removeprefix("opset")), input_names=["x"],
                      output_names=["logits"], dynamic_axes={"x": {0: "N"}} if "20" in path else None, **more)


def make(folder, names):
    os.makedirs(folder, exist_ok=True)
    new = "dynamo" in inspect.signature(torch.onnx.export).parameters
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        new = False
    for name in names or NETWORKS:
        build, size, fold = NETWORKS[name]
        net = randomise(build(), name)
        x = pictures(size)
        with torch.no_grad():
            logits = net.double()(x)
        net = net.float()
        exporters = ["opset18", "dynamo"] if new else ["opset11", "opset16"]
        for exporter in exporters if name != "resnet1202" else exporters[:1]:
            label = f"{name}.{exporter}" + ("" if new else ".torch1")
            export(net, x, os.path.join(folder, f"{label}.onnx"), exporter, fold)
            with open(os.path.join(folder, f"{label}.json"), "w") as f:
                json.dump({"size": size, "logits": logits.tolist()}, f)
            print(label, float(logits.norm()), float((logits[0] - logits[1]).norm()), flush=True)


def strip(folder, out, labels):
    import onnx
    import onnxruntime
    from light import refilled
    from onnx import helper, numpy_helper

    os.makedirs(out, exist_ok=True)
    golden = {}
    for label in labels:
        model = onnx.load(os.path.join(folder, f"{label}.onnx"))
        graph = model.graph
        kept, shapes, nodes = [], [], []
        zero = helper.make_tensor("", onnx.TensorProto.FLOAT, [1], [0.0])
        for tensor in graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT or numpy.prod(tensor.dims) <= 1:
                kept.append(tensor)
                continue
            name = f"{tensor.name}__SHAPE"
            shapes.append(numpy_helper.from_array(numpy.array(tensor.dims, dtype=numpy.int64), name))
            nodes.append(helper.make_node("ConstantOfShape", [name], [tensor.name], value=zero))
        nodes += list(graph.node)
        for node in nodes:
            node.doc_string = ""
            del node.metadata_props[:]
        del graph.node[:], graph.initializer[:], graph.value_info[:], model.metadata_props[:], graph.metadata_props[:]
        graph.node.extend(nodes)
        graph.initializer.extend(kept + shapes)
        onnx.save(model, os.path.join(out, f"{label}.onnx"))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(refilled(model).SerializeToString(), options)
        [taken] = session.get_inputs()
        x = pictures(taken.shape[-1]).float().numpy()[:1]
        [logits] = session.run(None, {taken.name: x})
        golden[label] = [float(v) for v in logits.ravel()]
        print(label, numpy.linalg.norm(logits))
    with open(os.path.join(out, "exports.json"), "w") as f:
        json.dump(golden, f)
        f.write("\n")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3:])
    else:
        strip(sys.argv[2], sys.argv[3], sys.argv[4:])
