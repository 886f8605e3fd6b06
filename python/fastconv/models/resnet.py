"""ResNet: layers that learn what to add to their input; ResNeXt and wide ResNet.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, table 1;
Xie, Girshick, Dollar, Tu, He, "Aggregated residual transformations", CVPR 2017;
Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016::

    layer   map     18, 34           50, 101, 152           ResNeXt 50 32x4d   wide 50
    conv1   112     7x7, 64, stride 2
            56      maximum pooling 3x3, stride 2
    layer1  56      3x3 64, 3x3 64   1x1 64, 3x3, 1x1 256   3x3: 128 in 32     3x3: 128
    layer2  28      128              128, 512               256                256
    layer3  14      256              256, 1024              512                512
    layer4  7       512              512, 2048              1024               1024
    blocks          2 2 2 2          3 4 6 3                3 4 6 3            3 4 6 3
    top             mean of each map, dense 1000

Blocks of the others: 34: 3 4 6 3; 101: 3 4 23 3; 152: 3 8 36 3. As in torchvision (and
NVIDIA's "v1.5"), a bottleneck has its stride in the 3x3 convolution.

>>> import fastconv as fc
>>> fc.models.ResNet50(weights=None).count_params()
25610152
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv.layers import Add, MaxPooling2D
from fastconv.models.blocks import conv, normalize, relu
from fastconv.models.network import Facts, Network

PAPER = "He, Zhang, Ren, Sun, Deep residual learning, CVPR 2016"
NEXT = "Xie, Girshick, Dollar, Tu, He, Aggregated residual transformations, CVPR 2017"
WIDE = "Zagoruyko, Komodakis, Wide residual networks, BMVC 2016"


def resnet(
    x: Any, blocks: tuple[int, ...], block: Any, groups: int = 1, width: int = 64
) -> Any:
    """The feature maps; ``width``: maps of the 3x3 convolutions of the first stage."""
    x = _unit(x, 64, 7, "conv1", "bn1", strides=2)
    x = relu(x, "relu")
    x = MaxPooling2D(3, 2, padding=1, name="maxpool")(x)
    for stage, depth in enumerate(blocks):
        for i in range(depth):
            strides = 2 if stage and not i else 1
            name = f"layer{stage + 1}.{i}"
            x = block(x, 64 << stage, strides, name, groups, width << stage)
    return x


def basic(
    x: Any, maps: int, strides: int, name: str, groups: int = 1, width: int = 0
) -> Any:
    """Two convolutions 3x3 (figure 5, left)."""
    y = _unit(x, maps, 3, f"{name}.conv1", f"{name}.bn1", strides)
    y = relu(y, f"{name}.relu1")
    y = _unit(y, maps, 3, f"{name}.conv2", f"{name}.bn2")
    return _joined(x, y, maps, strides, name)


def bottleneck(
    x: Any, maps: int, strides: int, name: str, groups: int, width: int
) -> Any:
    """1x1, 3x3, 1x1 with four times the maps (figure 5, right)."""
    y = _unit(x, width, 1, f"{name}.conv1", f"{name}.bn1")
    y = relu(y, f"{name}.relu1")
    y = _unit(y, width, 3, f"{name}.conv2", f"{name}.bn2", strides, groups=groups)
    y = relu(y, f"{name}.relu2")
    y = _unit(y, 4 * maps, 1, f"{name}.conv3", f"{name}.bn3")
    return _joined(x, y, 4 * maps, strides, name)


def _joined(x: Any, y: Any, maps: int, strides: int, name: str) -> Any:
    """The sum of input and result; a 1x1 convolution where their sizes differ."""
    if strides > 1 or x.shape[-1] != maps:
        place = f"{name}.downsample"
        x = _unit(x, maps, 1, f"{place}.0", f"{place}.1", strides)
    return relu(Add(name=f"{name}.add")([y, x]), f"{name}.relu")


def _unit(
    x: Any,
    maps: int,
    window: int,
    name: str,
    norm: str,
    strides: int = 1,
    **options: Any,
) -> Any:
    """Convolution and batch normalisation."""
    return normalize(conv(x, maps, window, name, strides=strides, **options), norm)


def _network(
    name: str, blocks: tuple[int, ...], block: Any, facts: Facts, **options: int
) -> Network:
    levels = {4 << i: f"layer{i + 1}.{n - 1}.relu" for i, n in enumerate(blocks)}
    return Network(
        name, partial(resnet, blocks=blocks, block=block, **options), facts,
        levels={2: "relu", **levels},
    )  # fmt: skip


D50, D101, D152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
ResNet18 = _network(
    "resnet18", (2, 2, 2, 2), basic, Facts(PAPER, 11689512, 1.814, 69.758, 89.078)
)
ResNet34 = _network(
    "resnet34", D50, basic, Facts(PAPER, 21797672, 3.664, 73.314, 91.42)
)
ResNet50 = _network(
    "resnet50", D50, bottleneck, Facts(PAPER, 25557032, 4.089, 76.13, 92.862)
)
ResNet101 = _network(
    "resnet101", D101, bottleneck, Facts(PAPER, 44549160, 7.801, 77.374, 93.546)
)
ResNet152 = _network(
    "resnet152", D152, bottleneck, Facts(PAPER, 60192808, 11.514, 78.312, 94.046)
)
ResNeXt50_32x4d = _network(
    "resnext50_32x4d", D50, bottleneck, Facts(NEXT, 25028904, 4.23, 77.618, 93.698),
    groups=32, width=128,
)  # fmt: skip
ResNeXt101_32x8d = _network(
    "resnext101_32x8d", D101, bottleneck,
    Facts(NEXT, 88791336, 16.414, 79.312, 94.526), groups=32, width=256,
)  # fmt: skip
WideResNet50 = _network(
    "wide_resnet50", D50, bottleneck, Facts(WIDE, 68883240, 11.398, 78.468, 94.086),
    width=128,
)  # fmt: skip
WideResNet101 = _network(
    "wide_resnet101", D101, bottleneck,
    Facts(WIDE, 126886696, 22.753, 78.848, 94.284), width=128,
)  # fmt: skip
