"""Networks of the literature under Keras's module names.

``from keras.applications.resnet50 import ResNet50, preprocess_input`` becomes ``from
fastconv.applications.resnet50 import ...``. Each module has its networks, which are
those of `fastconv.models`, ``preprocess_input`` and `decode_predictions`; networks that
Keras has not are in modules named as in `fastconv.models`.

>>> from fastconv.applications.mobilenet import MobileNet, preprocess_input
>>> preprocess_input([[[[0, 127.5, 255]]]])
array([[[[-1.,  0.,  1.]]]], dtype=float32)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from fastconv import config, models
from fastconv.errors import ArgumentError, DataError, FormatError, ShapeError
from fastconv.models.network import Scaling

__all__ = [*models.zoo(), "decode_predictions"]  # noqa: PLE0604

INDEX = "imagenet_class_index.json"
_KERAS = {"resnet50": ("ResNet50",), "vgg16": ("VGG16",), "vgg19": ("VGG19",)}


def decode_predictions(
    preds: Any, top: int = 5, class_names: Any = None
) -> list[list[tuple[str, str, float]]]:
    """The most likely classes of each image, with their names.

    Parameters
    ----------
    preds: probabilities (images, classes).
    top: how many classes an image, default 5.
    class_names: a list, or a model whose ``metadata`` has ``class_names``; None for
        those of ImageNet, from Keras's file ``imagenet_class_index.json`` in the cache
        (``FASTCONV_CACHE`` or ``~/.cache/fastconv``) or the folder ``FASTCONV_MIRROR``.

    Returns
    -------
    For each image (id, name, probability) of its classes, the most likely first; the id
    is that of ImageNet, else the number of the class.

    Raises
    ------
    ShapeError for another shape, or another number of classes than names; ArgumentError
    for a model without names; DataError if the file of ImageNet is not there;
    FormatError if it is another.

    >>> import fastconv as fc
    >>> fc.applications.decode_predictions(
    ...     [[0.1, 0.7, 0.2]], top=2, class_names=["cat", "dog", "owl"])
    [[('1', 'dog', 0.7), ('2', 'owl', 0.2)]]
    """
    rows = np.asarray(preds)
    names = _imagenet() if class_names is None else _named(class_names)
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ShapeError(
            f"decode_predictions: expected preds (images, {len(names)}), one for each "
            f"name, received shape {rows.shape}; give class_names"
        )
    best = np.argsort(-rows, axis=1, kind="stable")[:, :top]
    return [
        [(*names[i], float(row[i])) for i in order]
        for row, order in zip(rows, best, strict=True)
    ]


def _named(given: Any) -> list[tuple[str, str]]:
    names = given
    if hasattr(given, "metadata"):
        names = given.metadata.get("class_names")
    if not isinstance(names, list | tuple):
        raise ArgumentError(
            "decode_predictions: expected class_names, a list, or a model with "
            "metadata['class_names'], which this one has not; set it, or give a list"
        )
    return [(str(i), str(name)) for i, name in enumerate(names)]


def _imagenet() -> list[tuple[str, str]]:
    folders = [folder for folder in (config.cache_dir(), config.mirror()) if folder]
    for path in (folder / INDEX for folder in folders):
        if path.is_file():
            try:
                table = json.loads(path.read_text(encoding="utf-8"))
                pairs = [table[str(i)] for i in range(len(table))]
                return [(str(number), str(name)) for number, name in pairs]
            except (ValueError, KeyError, TypeError) as error:
                raise FormatError(
                    f"{path}: expected Keras's table of classes, from numbers to pairs "
                    f"of id and name: {error!r}"
                ) from error
    raise DataError(
        "decode_predictions: the names of ImageNet's classes are not on this machine: "
        f"put Keras's {INDEX} into {' or '.join(map(str, folders))}, or give "
        "class_names, a list or a model whose metadata has them"
    )


def _preprocessing(scaling: Scaling) -> Callable[..., np.ndarray]:
    def preprocess_input(x: Any, data_format: str | None = None) -> np.ndarray:
        """Images as the networks of this module take them.

        Formula: ``(x / 255 - mean) / deviation`` of each channel, with the figures of
        the published weights that fastconv reads: torchvision's for the networks that
        are defined as there, so ResNet and VGG differ from Keras here.

        Parameters
        ----------
        x: images with values 0 .. 255.
        data_format: "channels_last" or "channels_first"; default the global one.
        """
        return scaling(x, data_format or config.image_data_format())

    return preprocess_input


def _module(name: str, networks: tuple[str, ...]) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}", f"Networks of Keras's module {name!r}.")
    found = {network: getattr(models, network) for network in networks}
    scaling = models.facts(networks[0]).scaling
    vars(module).update(
        found,
        __all__=[*found, "decode_predictions", "preprocess_input"],
        decode_predictions=decode_predictions,
        preprocess_input=_preprocessing(scaling),
    )
    return module


__path__: list[str] = []  # what is imported from here is in sys.modules
for _name, _networks in {**models.MODULES, **_KERAS}.items():
    globals().update({n: getattr(models, n) for n in _networks})
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _module(_name, _networks)
