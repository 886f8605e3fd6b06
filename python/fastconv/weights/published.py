"""Published weights: which file a network has, and where it lies.

The files are those of torchvision, "IMAGENET1K_V1"; the eight digits in a name are the
first of the file's SHA-256.
"""

from __future__ import annotations

import re
from pathlib import Path

from fastconv import config
from fastconv.data import cache
from fastconv.errors import ArgumentError

__all__ = ["FILES", "SERVER", "find"]

SERVER = "https://download.pytorch.org/models/"
FILES = {
    "alexnet_one_tower": "alexnet-owt-7be5be79.pth",
    "densenet121": "densenet121-a639ec97.pth",
    "densenet161": "densenet161-8d451a50.pth",
    "densenet169": "densenet169-b2777c0a.pth",
    "densenet201": "densenet201-c1103571.pth",
    "googlenet": "googlenet-1378be20.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
    "resnext50_32x4d": "resnext50_32x4d-7cdf4587.pth",
    "resnext101_32x8d": "resnext101_32x8d-8ba56ff5.pth",
    "squeezenet1_0": "squeezenet1_0-b66bff10.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
    "vgg11": "vgg11-8a719046.pth",
    "vgg13": "vgg13-19584684.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "vgg11_bn": "vgg11_bn-6002323d.pth",
    "vgg13_bn": "vgg13_bn-abd245e5.pth",
    "vgg16_bn": "vgg16_bn-6c64b313.pth",
    "vgg19_bn": "vgg19_bn-c79401a0.pth",
    "wide_resnet50": "wide_resnet50_2-95faca4d.pth",
    "wide_resnet101": "wide_resnet101_2-32ee1156.pth",
}


def find(network: str, part: str, asked: bool) -> Path:
    """The file with the published weights of a network.

    ``NETWORK.safetensors`` (``NETWORKPART.safetensors`` first, for a model without its
    top) or the published file, in the folder ``weights`` of the cache, then in the
    mirror, the folder ``FASTCONV_MIRROR``; else the published file is downloaded.

    Parameters
    ----------
    network, part: name, and "_notop" or "".
    asked: whether the user asked for a download.

    Raises
    ------
    ArgumentError if it is in no folder and must not, or cannot, be downloaded;
    DataError with ``FASTCONV_OFFLINE``, or if the server cannot be reached;
    FormatError for a published file whose digest differs.
    """
    published = FILES.get(network, "")
    names = [f"{network}{part}.safetensors", f"{network}.safetensors", published]
    folders = [config.cache_dir() / "weights", config.mirror()]
    for folder in filter(None, folders):
        for name in filter(None, dict.fromkeys(names)):
            if (folder / name).is_file():
                return _checked(folder / name, published)
    if published and asked:
        return cache.fetch(
            f"weights/{published}", SERVER + published, digest(published)
        )
    how = (
        f"weights='imagenet' downloads {published}, FASTCONV_MIRROR names a folder "
        "with it"
        if published
        else "no published file is known"
    )
    raise ArgumentError(
        f"{network}: weights='imagenet' expects the file {folders[0]}/{names[0]}, "
        f"which is not there ({how}); name a file with weights='PATH', or give "
        "weights=None for random weights"
    )


def digest(name: str) -> str:
    """The first digits of the SHA-256 that stand in the name of a published file.

    >>> digest("resnet18-f37072fd.pth")
    'f37072fd'
    """
    found = re.search(r"-([0-9a-f]{8,64})\.", name)
    return found[1] if found else ""


def _checked(path: Path, published: str) -> Path:
    """The path; a file of the published name must have its digest."""
    if path.name == published:
        cache.check(path, digest(published))
    return path
