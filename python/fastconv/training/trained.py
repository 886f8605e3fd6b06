"""Which layers and weights a model trains: settled when it is compiled."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from fastconv.graph.variable import Variable
from fastconv.layers.base import Layer

logger = logging.getLogger("fastconv")


class Trained:
    """The ``trainable`` of all layers and weights that ``model`` has now.

    Layers and weights that come later are trained as they say.
    """

    def __init__(self, model: Any) -> None:
        self._layers = {layer: layer._trainable for layer in model._walk()}
        self._weights = {weight: weight.trainable for weight in model.weights}
        self._warned = False

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Inside the with block all are again what they were at first."""
        now = _flags(self._layers), {w: w.trainable for w in self._weights}
        _set(self._layers, self._weights)
        try:
            yield
        finally:
            _set(*now)

    def warn(self, model: Any) -> None:
        """Says, once, that some are no longer what they were."""
        if self._warned:
            return
        changed = [x for x, flag in self._layers.items() if x._trainable != flag]
        changed += [x for x, flag in self._weights.items() if x.trainable != flag]
        if changed:
            self._warned = True
            logger.warning(
                "model %r: trainable of %r was changed after compile(), which has no "
                "effect on its training until compile() is called again",
                model.name, changed[0].name,
            )  # fmt: skip


def _flags(layers: dict[Layer, bool]) -> dict[Layer, bool]:
    return {layer: layer._trainable for layer in layers}


def _set(layers: dict[Layer, bool], weights: dict[Variable, bool]) -> None:
    for layer, flag in layers.items():
        layer._trainable = flag
    for weight, flag in weights.items():
        weight.trainable = flag
