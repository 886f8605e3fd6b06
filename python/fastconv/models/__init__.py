"""Ready-made networks, by name for the command line; and Keras's ``keras.models``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from fastconv.errors import unknown_name

# The constructors of each module.
MODULES = {
    "alexnet": ("AlexNet", "AlexNetOneTower"),
    "densenet": (
        "DenseNet121", "DenseNet169", "DenseNet201", "DenseNet161", "DenseNetCIFAR",
    ),
    "googlenet": ("GoogLeNet",),
    "inception_v3": ("InceptionV3",),
    "lenet": ("LeNet5",),
    "mobilenet": ("MobileNet",),
    "mobilenet_v2": ("MobileNetV2",),
    "nasnet": ("NASNetLarge", "NASNetMobile"),
    "pyramidnet": ("PyramidNet110", "PyramidNet110_270", "PyramidNet200"),
    "resnet": (
        "ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152",
        "ResNeXt50_32x4d", "ResNeXt101_32x8d", "WideResNet50", "WideResNet101",
    ),
    "resnet9": ("ResNet9",),
    "resnet_cifar": ("ResNet20", "ResNet32", "ResNet44", "ResNet56", "ResNet110"),
    "resnet_v2": ("ResNet50V2", "ResNet101V2", "ResNet152V2"),
    "small": ("MLP", "SmallNet"),
    "squeezenet": ("SqueezeNet1_0", "SqueezeNet1_1"),
    "unet": ("UNet",),
    "vgg": (
        "VGG11", "VGG13", "VGG16", "VGG19", "VGG11BN", "VGG13BN", "VGG16BN", "VGG19BN",
    ),
    "xception": ("Xception",),
    "zfnet": ("ZFNet",),
}  # fmt: skip
_PLACES = {name: module for module, found in MODULES.items() for name in found}
_KEYS = {name.lower().replace("_", ""): name for name in _PLACES} | {"lenet": "LeNet5"}

_TRAINING = (
    "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model",
)  # fmt: skip

__all__ = [*_PLACES, *_TRAINING, "facts", "get", "key", "names", "zoo"]  # noqa: PLE0604


def names() -> list[str]:
    """The names that `get` takes.

    >>> import fastconv as fc
    >>> fc.models.names()[:3]
    ['alexnet', 'alexnetonetower', 'densenet121']
    """
    return sorted(_KEYS)


def zoo() -> list[str]:
    """The constructors of all networks.

    >>> import fastconv as fc
    >>> fc.models.zoo()[:3]
    ['AlexNet', 'AlexNetOneTower', 'DenseNet121']
    """
    return list(_PLACES)


def get(name: str) -> Callable[..., Any]:
    """The constructor of the model called ``name``; case and hyphens do not matter.

    Raises
    ------
    UnknownNameError for an unknown name.

    >>> import fastconv as fc
    >>> fc.models.get("LeNet-5").__name__
    'LeNet5'
    """
    if key(name) not in _KEYS:
        raise unknown_name("model", name, names())
    found: Callable[..., Any] = __getattr__(_KEYS[key(name)])
    return found


def key(name: Any) -> str:
    """A name as `names` lists it: in lower case, without hyphens, dots and so on.

    >>> import fastconv as fc
    >>> fc.models.key("LeNet-5")
    'lenet5'
    """
    return "".join(c for c in str(name).lower() if c.isalnum())


def facts(name: str) -> Any:
    """What is published about the network called ``name``: `network.Facts`.

    Raises
    ------
    UnknownNameError for an unknown name.

    >>> import fastconv as fc
    >>> fc.models.facts("resnet50").parameters
    25557032
    """
    found: Any = get(name)
    if hasattr(found, "facts"):
        return found.facts
    return importlib.import_module(found.__module__).FACTS[found.__name__]


def __getattr__(name: str) -> Any:
    if name in _TRAINING:
        return getattr(importlib.import_module("fastconv.training"), name)
    if name in MODULES:
        return importlib.import_module(f"fastconv.models.{name}")
    if name in _PLACES:
        return getattr(__getattr__(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
