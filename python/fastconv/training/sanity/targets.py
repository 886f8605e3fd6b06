"""Targets that do not fit the loss or the outputs, and the loss of guessing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv import losses
from fastconv.training.sanity.finding import Finding

VALUES = 10_000_000  # of the targets, looked at
IMBALANCE = 10.0  # largest class over smallest
ENOUGH = 100  # samples, for a statement about classes


class Output:
    """One output of a model, its loss and its targets.

    whole: whether the targets are all there are.
    """

    def __init__(
        self, name: str, loss: Any, spec: Any, target: np.ndarray, whole: bool
    ) -> None:
        self.name, self.loss, self.whole = name, loss, whole
        step = max(1, target.size // VALUES)
        self.target = target[::step]
        options = getattr(loss, "options", {})
        self.from_logits = bool(options.get("from_logits"))
        self.ignored = options.get("ignore_class")
        self.binary = isinstance(loss, losses.BinaryCrossentropy)
        self.one_hot = isinstance(loss, losses.CategoricalCrossentropy)
        self.sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
        last = options.get("axis", -1) in (-1, len(spec.shape) - 1)
        units = spec.shape[-1] if last and len(spec.shape) > 1 else None
        self.classes: Any = units

    def faults(self) -> Iterator[Finding]:
        """What is wrong with the targets."""
        if self.classes is None or self.target.size == 0:
            return
        if self.target.dtype.kind == "f" and not np.isfinite(self.target).all():
            count = int(self.target.size - np.isfinite(self.target).sum())
            yield Finding(
                "labels",
                f"output {self.name!r}: {count} of {self.target.size} targets are NaN "
                "or infinite; remove such samples",
            )
        elif self.sparse:
            yield from self._label_faults()
        elif self.one_hot:
            yield from self._distribution_faults()
        elif self.binary:
            yield from self._binary_faults()
        if (self.sparse or self.one_hot) and self.classes == 1:
            yield Finding(
                "units",
                f"output {self.name!r} has 1 unit, and softmax over one is always 1; "
                "use loss='binary_crossentropy' with a sigmoid, or 2 units",
            )

    def labels(self) -> np.ndarray | None:
        """Class numbers of samples, shape (n,); None if there are none."""
        y = self.target
        if self.one_hot and y.ndim == 2:
            return y.argmax(-1)
        binary = self.binary and self.classes == 1
        if not (self.sparse or binary) or y.size != len(y):
            return None
        flat = y.reshape(-1)
        if self.ignored is not None:
            flat = flat[flat != self.ignored]
        return np.rint(flat).astype(np.int64)

    def guessing(self) -> tuple[float, float, str] | None:
        """Loss of guessing without and with the shares of the classes, and its name."""
        mean = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
        if self.loss.reduction not in mean or self.classes is None:
            return None
        if self.binary:
            return math.log(2), _entropy(self.labels()), "ln 2"
        if (self.sparse or self.one_hot) and self.classes > 1:
            shares = _entropy(self.labels())
            return math.log(self.classes), shares, f"ln {self.classes}"
        if type(self.loss) is losses.MeanSquaredError:
            variance = float(np.var(self.target, axis=0, dtype=np.float64).mean())
            return variance, 0.0, "the variance of y"
        return None

    def _label_faults(self) -> Iterator[Finding]:
        y = self.target if self.ignored is None else self.target[
            self.target != self.ignored
        ]  # fmt: skip
        if y.size == 0:
            return
        if y.dtype.kind == "f" and not (y == np.rint(y)).all():
            bad = y[y != np.rint(y)].reshape(-1)[0]
            yield Finding(
                "labels",
                f"output {self.name!r}: loss {self.loss.name!r} takes class numbers, "
                f"and y holds {bad:.6g}; for a quantity use loss='mse'",
            )
            return
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= self.classes:
            yield Finding(
                "labels",
                f"output {self.name!r}: labels go from {low} to {high}, expected 0 to "
                f"{self.classes - 1}, since it has {self.classes} units; count the "
                f"classes from 0, or give the last layer {high - min(low, 0) + 1} "
                "units",
            )
            return
        yield from self._class_faults()

    def _distribution_faults(self) -> Iterator[Finding]:
        y = self.target
        if y.shape[-1] != self.classes:
            return  # said, with its layer, when the loss is traced
        sums = y.sum(-1, dtype=np.float64)
        worst = sums.reshape(-1)[int(np.abs(sums - 1).argmax())]
        if abs(worst - 1) > 1e-3 or y.min() < 0:
            yield Finding(
                "labels",
                f"output {self.name!r}: loss {self.loss.name!r} takes rows that are "
                f"distributions; the least value of y is {y.min():.4g}, and a row sums "
                f"to {worst:.4g}, expected 1: use utils.to_categorical, or "
                "loss='binary_crossentropy' for several labels a sample",
            )
            return
        yield from self._class_faults()

    def _binary_faults(self) -> Iterator[Finding]:
        low, high = float(self.target.min()), float(self.target.max())
        if low < 0 or high > 1:
            yield Finding(
                "labels",
                f"output {self.name!r}: loss {self.loss.name!r} takes targets within 0 "
                f"and 1, and y goes from {low:.4g} to {high:.4g}; map them to 0 and 1",
            )
            return
        yield from self._class_faults()

    def _class_faults(self) -> Iterator[Finding]:
        labels = self.labels()
        if labels is None or len(labels) < ENOUGH:
            return
        counts = np.bincount(labels)
        used = np.flatnonzero(counts)
        if len(used) == 1:
            yield Finding(
                "constant",
                f"output {self.name!r}: all {len(labels)} labels looked at are "
                f"{used[0]}; look at how they are loaded",
            )
        elif self.whole and used[-1] + 1 < self.classes:
            yield Finding(
                "units",
                f"output {self.name!r} has {self.classes} units, and the labels go "
                f"only to {used[-1]}; give the last layer as many units as classes",
            )
        most, least = used[counts[used].argmax()], used[counts[used].argmin()]
        ratio = counts[most] / counts[least]
        if ratio >= IMBALANCE:
            yield Finding(
                "imbalance",
                f"output {self.name!r}: class {most} has {counts[most]} samples, class "
                f"{least} has {counts[least]}, {ratio:.3g} times fewer; guessing the "
                f"first is right for {counts[most] / len(labels):.1%}: look at recall "
                "by class, not only at accuracy, and consider class_weight",
            )


def _entropy(labels: np.ndarray | None) -> float:
    """The entropy of the shares of the classes, in nats; 0 if they are not known."""
    if labels is None or len(labels) < ENOUGH:
        return 0.0
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
