"""The networks in PyTorch, for the machines that have torch and no torchvision.

Layers, sizes and names are those of `ocelli show`, so that a file of weights fits both (check.py). As usual in PyTorch, ReLU
comes before pooling, in place. In training GoogLeNet gives the logits of its auxiliary classifiers too.
"""
import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Conv2d):
    """A convolution with bias and ReLU."""

    def forward(self, x):
        return F.relu(super().forward(x), inplace=True)


def lrn(alpha, k):
    return nn.LocalResponseNorm(5, alpha, 0.75, k)


class Head(nn.Module):
    """Three fully connected layers with dropout before the second and the third."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.fc6, self.fc7, self.fc8 = nn.Linear(inputs, 4096), nn.Linear(4096, 4096), nn.Linear(4096, classes)

    def head(self, x):
        for layer in (self.fc6, self.fc7):
            x = F.dropout(F.relu(layer(x), inplace=True), 0.5, self.training)
        return self.fc8(x)


class AlexNet(Head):
    def __init__(self, classes, size):
        # The map before the last pooling: a window of 11 in steps of 4, then two of 3 in steps of 2.
        side = (((size - 11) // 4 + 1 - 3) // 2 + 1 - 3) // 2 + 1
        super().__init__(256 * ((side - 3) // 2 + 1) ** 2, classes)
        self.conv1, self.conv2 = Unit(3, 96, 11, 4), Unit(96, 256, 5, 1, 2, groups=2)
        self.conv3, self.conv4 = Unit(256, 384, 3, 1, 1), Unit(384, 384, 3, 1, 1, groups=2)
        self.conv5 = Unit(384, 256, 3, 1, 1, groups=2)
        self.norm = lrn(5e-4, 2.0)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(self.norm(conv(x)), 3, 2)
        x = self.conv5(self.conv4(self.conv3(x)))
        return self.head(F.max_pool2d(x, 3, 2).flatten(1))


class ZFNet(Head):
    # The root mean square of a filter is kept below this after each step.
    LARGEST = 0.1

    def __init__(self, classes, size):
        def pooled(side):
            return -(-(side - 3) // 2) + 1

        side = pooled((pooled((size - 5) // 2 + 1) - 5) // 2 + 1)
        super().__init__(256 * pooled(side) ** 2, classes)
        self.conv1, self.conv2 = Unit(3, 96, 7, 2, 1), Unit(96, 256, 5, 2)
        self.conv3, self.conv4, self.conv5 = Unit(256, 384, 3, 1, 1), Unit(384, 384, 3, 1, 1), Unit(384, 256, 3, 1, 1)
        self.norm = lrn(5e-4, 2.0)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = self.norm(F.max_pool2d(conv(x), 3, 2, ceil_mode=True))
        x = self.conv5(self.conv4(self.conv3(x)))
        return self.head(F.max_pool2d(x, 3, 2, ceil_mode=True).flatten(1))

    @torch.no_grad()
    def after_step(self):
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            rms = conv.weight.square().mean((1, 2, 3), keepdim=True).sqrt()
            conv.weight.mul_((self.LARGEST / rms).clamp(max=1.0))


class Vgg16(nn.Module):
    COLUMN = [(64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)]

    def __init__(self, classes, size):
        super().__init__()
        layers, channels = [], 3
        for block in self.COLUMN:
            for filters in block:
                layers += [nn.Conv2d(channels, filters, 3, 1, 1), nn.ReLU(inplace=True)]
                channels = filters
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        dense = [nn.Linear(512 * 49, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        dense += [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        self.classifier = nn.Sequential(*dense, nn.Linear(4096, classes))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class Inception(nn.Module):
    def __init__(self, channels, one, reduce3, three, reduce5, five, projection):
        super().__init__()
        self.branch1 = Unit(channels, one, 1)
        self.branch2 = nn.Sequential(Unit(channels, reduce3, 1), Unit(reduce3, three, 3, 1, 1))
        self.branch3 = nn.Sequential(Unit(channels, reduce5, 1), Unit(reduce5, five, 5, 1, 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Unit(channels, projection, 1))

    def forward(self, x):
        return torch.cat([branch(x) for branch in (self.branch1, self.branch2, self.branch3, self.branch4)], 1)


class Auxiliary(nn.Module):
    def __init__(self, channels, side, classes):
        super().__init__()
        self.window = min(side, 5)
        self.conv = Unit(channels, 128, 1)
        self.fc1 = nn.Linear(128 * ((side - self.window) // 3 + 1) ** 2, 1024)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x):
        x = self.conv(F.avg_pool2d(x, self.window, 3)).flatten(1)
        return self.fc2(F.dropout(F.relu(self.fc1(x), inplace=True), 0.7, self.training))


class GoogLeNet(nn.Module):
    TABLE = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    # Auxiliary classifiers by the map that they look at.
    AUXILIARY = {"4a": "aux1", "4d": "aux2"}

    def __init__(self, classes, size):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Unit(3, 64, 7, 2, 3), Unit(64, 64, 1), Unit(64, 192, 3, 1, 1)
        self.norm = lrn(1e-4, 1.0)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        # Of 4a to 4e: after a convolution of stride 2 and three poolings in ceil mode.
        side = (size - 1) // 2 + 1
        for _ in range(3):
            side = -(-(side - 3) // 2) + 1
        channels = 192
        for name, row in self.TABLE.items():
            self.add_module(f"inception{name}", Inception(channels, *row))
            channels = row[0] + row[2] + row[4] + row[5]
            if name in self.AUXILIARY:
                self.add_module(self.AUXILIARY[name], Auxiliary(channels, side, classes))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.norm(self.pool(self.conv1(x)))
        x = self.pool(self.norm(self.conv3(self.conv2(x))))
        extra = []
        for name in self.TABLE:
            if name in ("4a", "5a"):
                x = self.pool(x)
            x = self.get_submodule(f"inception{name}")(x)
            if self.training and name in self.AUXILIARY:
                extra.append(self.get_submodule(self.AUXILIARY[name])(x))
        logits = self.fc(F.dropout(x.mean((2, 3)), 0.4, self.training))
        return [logits, *extra] if extra else logits


class Residual(nn.Module):
    """A basic block, or a bottleneck with the stride in its 3x3."""

    def __init__(self, channels, filters, stride, bottleneck):
        super().__init__()
        out = 4 * filters if bottleneck else filters
        if bottleneck:
            shapes = [(channels, filters, 1, 1), (filters, filters, 3, stride), (filters, out, 1, 1)]
        else:
            shapes = [(channels, filters, 3, stride), (filters, filters, 3, 1)]
        self.count = len(shapes)
        for i, (inputs, outputs, kernel, step) in enumerate(shapes, 1):
            self.add_module(f"conv{i}", nn.Conv2d(inputs, outputs, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(outputs))
        self.downsample = None
        if stride > 1 or channels != out:
            shortcut = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            if i < self.count:
                y = F.relu(y, inplace=True)
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                filters = 64 << stage
                layers.append(Residual(channels, filters, 2 if stage > 0 and i == 0 else 1, bottleneck))
                channels = 4 * filters if bottleneck else filters
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


# Size of the input, and the network for a number of classes and a size.
NETWORKS = {
    "alexnet": (227, AlexNet),
    "zfnet": (224, ZFNet),
    "vgg16": (224, Vgg16),
    "googlenet": (224, GoogLeNet),
    "resnet18": (224, lambda classes, size: ResNet([2, 2, 2, 2], False, classes)),
    "resnet50": (224, lambda classes, size: ResNet([3, 4, 6, 3], True, classes)),
}


def parameters(model):
    """Trained parameters that an inference uses, which `ocelli show` counts: without auxiliary classifiers."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("aux"))
