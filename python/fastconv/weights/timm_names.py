"""The names that the library timm gives to networks of the zoo, as torchvision's."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["as_torchvision"]

_VGG = {
    "pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}  # fmt: skip
_FIRST = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
_OTHERS = {
    "conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1",
    "conv_pwl": "2", "bn3": "3",
}  # fmt: skip


def as_torchvision(names: Iterable[str]) -> dict[str, str]:
    """Name in timm -> name in torchvision; names that both share are not there.

    >>> as_torchvision(["head.fc.bias", "features.0.bias"])
    {'head.fc.bias': 'classifier.6.bias'}
    """
    names = list(names)
    found = {}
    for name in names:
        layer, _, last = name.rpartition(".")
        if layer in _VGG:
            found[name] = f"{_VGG[layer]}.{last}"
    if any(name.startswith("conv_stem.") for name in names):
        found |= _mobilenet_v2(names)
    return found


def _mobilenet_v2(names: list[str]) -> dict[str, str]:
    """Stages of blocks become one list of features."""
    blocks: dict[str, int] = {}
    for name in names:
        if match := re.match(r"blocks\.\d+\.\d+\.", name):
            blocks.setdefault(match[0], len(blocks) + 1)
    end = len(blocks) + 1
    places = {
        "conv_stem": "features.0.0", "bn1": "features.0.1",
        "conv_head": f"features.{end}.0", "bn2": f"features.{end}.1",
        "classifier": "classifier.1",
    }  # fmt: skip
    for block, number in blocks.items():
        wide = f"{block}conv_pwl.weight" in names
        for layer, place in (_OTHERS if wide else _FIRST).items():
            places[f"{block}{layer}"] = f"features.{number}.conv.{place}"
    found = {}
    for name in names:
        layer, _, last = name.rpartition(".")
        if layer in places:
            found[name] = f"{places[layer]}.{last}"
    return found
