"""A callback that unfreezes a network from its end to its beginning."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from fastconv.callbacks.base import Callback, Logs
from fastconv.errors import ArgumentError


class GradualUnfreezing(Callback):
    """Trains the last group of layers first, and later one group after the other.

    Layers that were pre-trained are not torn by the large gradients of a new head.
    Howard, Ruder, "Universal language model fine-tuning", ACL 2018, section 3.3. When a
    group joins, plans are made again; weights, the slots of the optimizer (which are
    there from the beginning) and its step stay as they are. Layers in no group are left
    alone: to keep batch normalisations in inference form, freeze them and leave them
    out of the groups.

    Parameters
    ----------
    groups: lists of layers, from input to output: `fastconv.transfer.layer_groups`.
    epochs: a group joins every so many epochs, an integer >= 1; or a rising list of the
        epochs, from 0, at which each further group joins. Default 1.

    Raises
    ------
    ArgumentError for fewer than two groups, or epochs that do not fit them.

    >>> import fastconv as fc
    >>> layers = [fc.layers.Dense(4), fc.layers.Dense(4), fc.layers.Dense(2)]
    >>> unfreezing = fc.callbacks.GradualUnfreezing([[n] for n in layers], epochs=2)
    >>> unfreezing.starts
    [2, 4]
    """

    kept = ("open",)

    def __init__(self, groups: Iterable[Iterable[Any]], epochs: Any = 1) -> None:
        self.groups = [list(group) for group in groups]
        self.open = 0  # groups that are trained
        joining = len(self.groups) - 1
        if isinstance(epochs, int):
            self.starts = [epochs * i for i in range(1, joining + 1)]
        else:
            self.starts = list(epochs)
        rising = all(a < b for a, b in pairwise([0, *self.starts]))
        if joining < 1 or len(self.starts) != joining or not rising:
            raise ArgumentError(
                "GradualUnfreezing: expected two groups or more, and as epochs an "
                "integer >= 1 or a rising list with one for each group but the last, "
                f"received {len(self.groups)} groups and epochs={epochs!r}"
            )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Makes all slots, and freezes all groups but the last."""
        model = self.model
        if model.described:
            model._gather()
            model.optimizer.build(model.trainable_weights)
        self._train(1)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Lets the groups join whose epoch has come."""
        wanted = 1 + sum(epoch >= start for start in self.starts)
        if wanted != self.open:
            self._train(wanted)

    def restore(self, state: dict[str, Any]) -> None:
        """Trains as many groups as before."""
        super().restore(state)
        self._train(self.open)

    def _train(self, count: int) -> None:
        self.open = count
        for i, group in enumerate(reversed(self.groups)):
            for layer in group:
                layer.trainable = i < count
        self.model.update_trainable()
