"""Transfer learning: what a network has learned, used for other classes.

- A frozen base (``base.trainable = False``) costs what inference costs: no gradients,
  no activations kept, batch normalisation folded into the convolutions.
- `extract` computes its features once, into a file; a head is trained on them.
- `layer_groups` with `discriminative_rates` or `fastconv.callbacks.GradualUnfreezing`
  fine-tunes the base, the more carefully the nearer to the image.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, DataError, unknown_name
from fastconv.io import npy
from fastconv.layers import Layer
from fastconv.training.feeding import feed
from fastconv.training.model import Model
from fastconv.training.snapshot import aside

__all__ = ["discriminative_rates", "extract", "layer_groups"]


def layer_groups(model: Any, after: Iterable[str]) -> list[list[Layer]]:
    """The layers that have weights, in groups from input to output.

    Parameters
    ----------
    model: its layers, and those of models inside, in the order of their calls.
    after: names of layers, or of models inside, behind which a group ends; those of a
        network of the zoo are ``models.ResNet18.levels.values()``.

    Returns
    -------
    Lists of layers; a group without weights is left out.

    Raises
    ------
    UnknownNameError for a name that is not in the model.

    >>> import fastconv as fc
    >>> base = fc.models.ResNet18(weights=None, include_top=False, pooling="avg")
    >>> model = fc.Sequential([base, fc.layers.Dense(5)])
    >>> groups = fc.transfer.layer_groups(model, ["layer2.1.relu", base.name])
    >>> [sum(layer.count_params() for layer in group) for group in groups]
    [684992, 10501120, 2565]
    """
    ends = set(after)
    groups: list[list[Layer]] = [[]]
    seen: dict[str, None] = {}
    for layer, names in _leaves(model):
        groups[-1].append(layer)
        seen |= dict.fromkeys(names)
        if ends.intersection(names):
            groups.append([])
    for name in ends - seen.keys():
        raise unknown_name("layer", name, list(seen))
    weighted = ([n for n in group if n.weights] for group in groups)
    return [group for group in weighted if group]


def _leaves(model: Any) -> Iterator[tuple[Layer, list[str]]]:
    """Each layer, and the names of what ends with it: its own, and those of models."""
    layers = model.layers
    for layer in layers:
        last = [model.name] if layer is layers[-1] else []
        if isinstance(layer, Model) and layer.layers:
            inside = list(_leaves(layer))
            for leaf, names in inside:
                yield leaf, names + (last if leaf is inside[-1][0] else [])
        else:
            yield layer, [layer.name, *last]


def discriminative_rates(
    groups: Sequence[Iterable[Layer]], rates: float | Sequence[float] = 2.6
) -> None:
    """Gives each group of layers a learning rate of its own.

    It is the optimizer's, times ``layer.learning_rate_multiplier``; it takes effect at
    the next step. Howard, Ruder, "Universal language model fine-tuning", ACL 2018,
    section 3.2: the rate of a group is that of the next one divided by 2.6.

    Parameters
    ----------
    groups: from input to output: `layer_groups`.
    rates: what the rate is divided by from group to group, towards the input, default
        2.6; or a multiplier for each group.

    Raises
    ------
    ArgumentError for another number of multipliers than of groups, or one below 0.

    >>> import fastconv as fc
    >>> model = fc.Sequential(
    ...     [fc.Input((2,)), fc.layers.Dense(3, name="base"), fc.layers.Dense(1)])
    >>> groups = fc.transfer.layer_groups(model, ["base"])
    >>> fc.transfer.discriminative_rates(groups, 10)
    >>> [layer.learning_rate_multiplier for layer in model.layers]
    [0.1, 1.0]
    """
    if isinstance(rates, int | float):
        if rates <= 0:
            raise ArgumentError(f"rates: expected a number > 0, received {rates!r}")
        rates = [rates**-i for i in reversed(range(len(groups)))]
    if len(rates) != len(groups):
        raise ArgumentError(
            f"rates: expected {len(groups)}, one for each group, received {len(rates)}"
        )
    for group, rate in zip(groups, rates, strict=True):
        for layer in group:
            layer.learning_rate_multiplier = rate


def extract(
    model: Any,
    x: Any,
    path: str | os.PathLike[str],
    batch_size: int | None = None,
    *,
    labels: str | os.PathLike[str] | None = None,
) -> Any:
    """Writes what a model gives for data into a .npy file, batch by batch.

    So the features of a frozen base are computed once, and a head can be trained on
    them for many epochs. Memory holds one batch: the file is mapped, and `Model.fit`
    reads the rows of its batches from it. Random changes of images need a pass each
    over the base; give `fastconv.data.augment(...)` for one of them.

    Parameters
    ----------
    model: with one output.
    x: an array (samples, ...), or batches: of inputs, (inputs, targets) ...
    path: of the file, which is there when it is whole.
    batch_size: of arrays; None is 32.
    labels: path of a second file, for the targets that the batches bring.

    Returns
    -------
    The mapped array (samples, ...); with ``labels`` also that of the targets.

    Raises
    ------
    ArgumentError for a model with several outputs; DataError for no samples, or no
    targets where ``labels`` is given; OSError if a file cannot be written.

    >>> import fastconv as fc
    >>> import tempfile
    >>> base = fc.models.ResNet20(include_top=False, pooling="avg")
    >>> (x, y), _ = fc.datasets.digits.load_data()
    >>> images = np.repeat(x[:64] / np.float32(255), 3, axis=-1)
    >>> features = fc.transfer.extract(base, images, tempfile.mktemp(".npy"))
    >>> features.shape
    (64, 64)
    >>> head = fc.Sequential([fc.Input((64,)), fc.layers.Dense(10, "softmax")])
    >>> head.compile("adam", "sparse_categorical_crossentropy")
    >>> _ = head.fit(features, y[:64], verbose=0)
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(aside(model))
        rows = stack.enter_context(npy.writing(path))
        targets = labels and stack.enter_context(npy.writing(labels))
        for batch, y, _ in feed(x, batch_size=batch_size).batches(epoch=0):
            made = model.predict_on_batch(batch)
            if not isinstance(made, np.ndarray):
                raise ArgumentError(
                    f"extract: expected a model with one output, {model.name!r} gives "
                    f"a {type(made).__name__}"
                )
            rows.add(made)
            if targets:
                if not isinstance(y, np.ndarray):
                    raise DataError("extract: labels is given, but data have no y")
                targets.add(y)
    found = np.load(path, mmap_mode="r")
    return (found, np.load(labels, mmap_mode="r")) if labels else found
