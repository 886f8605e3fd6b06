"""NASNet-A: two cells that a search on CIFAR-10 found, stacked.

Zoph, Vasudevan, Shlens, Le, "Learning transferable architectures for scalable image
recognition", CVPR 2018, figures 2 and 4. A cell sees the results of the two cells
before it, h and p; "sep" is ReLU, a separable convolution and batch normalisation,
twice::

    part                mobile   large    maps of a branch
    image               224      331
    3x3, stride 2       111, 32  165, 96  with batch normalisation
    reduction cell      56       83       penultimate / 96
    reduction cell      28       42       penultimate / 48
    normal cells        4        6        penultimate / 24
    reduction, normal   14, 4    21, 6    penultimate / 12
    reduction, normal   7, 4     11, 6    penultimate / 6
    top                 1056     4032     ReLU, mean of each map, dense 1000

    normal cell      p, sep5(h) + sep3(p), sep5(p) + sep3(p), avg3(h) + p,
                     avg3(p) + avg3(p), sep3(h) + h
    reduction cell   b = max3(h) + sep7(p),  with a = sep5(h) + sep7(p),
                     avg3(h) + sep5(p), b + avg3(a), sep3(a) + max3(h)

Before, h gets so many maps by 1x1; p too, and half its size where it comes from before
a reduction. Names are Keras's.

>>> import fastconv as fc
>>> fc.models.NASNetMobile(weights=None).count_params()
5326716
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv.layers import (
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Cropping2D,
    MaxPooling2D,
    SamePadding2D,
    SeparableConv2D,
    ZeroPadding2D,
)
from fastconv.models.blocks import predictions, relu
from fastconv.models.network import SYMMETRIC, Facts, Network

PAPER = "Zoph, Vasudevan, Shlens, Le, Learning transferable architectures, CVPR 2018"


def nasnet(x: Any, penultimate: int, blocks: int, stem: int, skip: bool) -> Any:
    """The feature maps; ``skip``: behind a reduction, p is not what it read."""
    maps = penultimate // 24
    x = Conv2D(
        stem, 3, 2, use_bias=False, kernel_initializer="he_normal", name="stem_conv1"
    )(x)
    x = _normalize(x, "stem_bn1")
    x, p = _reduction(x, x, maps // 4, "stem_1"), x
    p = _halved(p, maps // 2, "stem_2")
    x, p = _reduction(x, p, maps // 2, "stem_2"), x
    for stage in range(3):
        if stage:
            fitted = _fitted(p, maps << stage, f"reduce_{stage * blocks}")
            made = _reduction(x, fitted, maps << stage, f"reduce_{stage * blocks}")
            x, p = made, (p if skip else x)
        for i in range(blocks):
            name = str(stage * blocks + i + (stage > 0))
            p = (_fitted if i else _halved)(p, maps << stage, name)
            x, p = _normal(x, p, maps << stage, name), x
    return relu(x, "last_relu")


def _normal(x: Any, p: Any, maps: int, name: str) -> Any:
    """A normal cell (figure 4, left)."""
    h = _projected(x, maps, "normal", name)
    sep = partial(_separable, maps=maps, cell="normal", name=name)
    seen = _mean(p, f"normal_left4_{name}")
    pairs = (
        (sep(h, window=5, part="left1"), sep(p, window=3, part="right1")),
        (sep(p, window=5, part="left2"), sep(p, window=3, part="right2")),
        (_mean(h, f"normal_left3_{name}"), p),
        (seen, seen),
        (sep(h, window=3, part="left5"), h),
    )
    sums = [
        Add(name=f"normal_add_{i}_{name}")(list(pair))
        for i, pair in enumerate(pairs, start=1)
    ]
    return Concatenate(name=f"normal_concat_{name}")([p, *sums])


def _reduction(x: Any, p: Any, maps: int, name: str) -> Any:
    """A reduction cell (figure 4, right)."""
    h = _projected(x, maps, "reduction", name)
    padded = SamePadding2D(3, 2, name=f"reduction_pad_1_{name}")(h)
    most = MaxPooling2D(3, 2, name=f"reduction_left2_{name}")(padded)
    mean = AveragePooling2D(3, 2, name=f"reduction_left3_{name}")(padded)
    sep = partial(_separable, maps=maps, cell="reduction", name=name)
    half = partial(sep, strides=2)

    def add(i: int, *pair: Any) -> Any:
        return Add(name=f"reduction_add_{i}_{name}")(list(pair))

    a = add(1, half(h, window=5, part="left1"), half(p, window=7, part="right1"))
    b = add(2, most, half(p, window=7, part="right2"))
    c = add(3, mean, half(p, window=5, part="right3"))
    d = add(4, b, _mean(a, f"reduction_left4_{name}"))
    e = add(5, sep(a, window=3, part="left4"), most)
    return Concatenate(name=f"reduction_concat_{name}")([b, c, d, e])


def _separable(
    x: Any, window: int, part: str, *, maps: int, cell: str, name: str, strides: int = 1
) -> Any:
    """Twice ReLU, separable convolution, normalisation; the first with the stride."""
    at = f"{cell}_{part}_{name}"
    for i in (1, 2):
        x = relu(x, f"separable_relu_{i}_{at}")
        x = SeparableConv2D(
            maps, window, strides if i == 1 else 1, padding="same", use_bias=False,
            name=f"separable_conv_{i}_{at}",
        )(x)  # fmt: skip
        x = _normalize(x, f"separable_conv_{i}_bn_{at}")
    return x


def _projected(x: Any, maps: int, cell: str, name: str) -> Any:
    x = _conv(relu(x, f"{cell}_relu_{name}"), maps, f"{cell}_conv_1_{name}")
    return _normalize(x, f"{cell}_bn_1_{name}")


def _fitted(p: Any, maps: int, name: str) -> Any:
    """``p`` with so many maps."""
    if p.shape[-1] == maps:
        return p
    p = relu(p, f"adjust_relu_{name}")
    p = _conv(p, maps, f"adjust_conv_projection_{name}")
    return _normalize(p, f"adjust_bn_{name}")


def _halved(p: Any, maps: int, name: str) -> Any:
    """``p`` with so many maps and half the size: two grids of every other pixel."""
    p = relu(p, f"adjust_relu_1_{name}")
    moved = ZeroPadding2D(((0, 1), (0, 1)), name=f"adjust_pad_{name}")(p)
    moved = Cropping2D(((1, 0), (1, 0)), name=f"adjust_crop_{name}")(moved)
    halves = []
    for i, grid in ((1, p), (2, moved)):
        every = AveragePooling2D(1, 2, name=f"adjust_avg_pool_{i}_{name}")(grid)
        halves.append(_conv(every, maps // 2, f"adjust_conv_{i}_{name}"))
    p = Concatenate(name=f"adjust_concat_{name}")(halves)
    return _normalize(p, f"adjust_bn_{name}")


def _conv(x: Any, maps: int, name: str) -> Any:
    return Conv2D(
        maps, 1, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)  # fmt: skip


def _mean(x: Any, name: str) -> Any:
    return AveragePooling2D(3, 1, padding="same", name=name)(x)


def _normalize(x: Any, name: str) -> Any:
    return BatchNormalization(momentum=0.9997, epsilon=1e-3, name=name)(x)


def _network(name: str, image: int, facts: Facts, **options: Any) -> Network:
    body, blocks = partial(nasnet, **options), options["blocks"]
    levels = {
        2: "stem_bn1", 4: "reduction_concat_stem_1", 8: f"normal_concat_{blocks - 1}",
        16: f"normal_concat_{2 * blocks}", 32: "last_relu",
    }  # fmt: skip
    return Network(name, body, facts, top=predictions, image=image, levels=levels)


NASNetMobile = _network(
    "nasnet_mobile", 224, Facts(PAPER, 5289978, 0.564, 74.4, 91.9, "keras", SYMMETRIC),
    penultimate=1056, blocks=4, stem=32, skip=False,
)  # fmt: skip
NASNetLarge = _network(
    "nasnet_large", 331,
    Facts(PAPER, 88753150, 23.783, 82.5, 96.0, "keras", SYMMETRIC),
    penultimate=4032, blocks=6, stem=96, skip=True,
)  # fmt: skip
