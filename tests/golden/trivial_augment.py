#!/usr/bin/env python3
"""Golden pictures: each operation of torchvision's TrivialAugmentWide on a small picture, which the test makes by the same formula.

    python3 tests/golden/trivial_augment.py > tests/golden/trivial_augment.txt
"""

import numpy
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

H, W = 19, 24
CASES = {
    "ShearX": [0.0, 0.33, -0.99],
    "ShearY": [0.231, -0.66],
    "TranslateX": [5, -32],
    "TranslateY": [3, -7],
    "Rotate": [13.5, -31.5, -45.0, 121.5],
    "Brightness": [0.5, -0.5, 0.99],
    "Color": [0.75, -0.99],
    "Contrast": [0.75, -0.5],
    "Sharpness": [0.99, -0.75],
    "Posterize": [2, 5, 8],
    "Solarize": [0, 110.5, 255],
    "AutoContrast": [0],
    "Equalize": [0],
}

i = numpy.arange(H * W * 3, dtype=numpy.int64)
rgb = ((i * i * 7 + i * 31) % 256 % 201 + 20).astype(numpy.uint8).reshape(H, W, 3)
picture = Image.fromarray(rgb)
for name, values in CASES.items():
    for value in values:
        made = _apply_op(picture, name, float(value), InterpolationMode.NEAREST, None)
        print(name, value, numpy.asarray(made).tobytes().hex())
