"""The learning-rate range test: which rates a model can be trained with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, DataError
from fastconv.plot.chart import sweep_chart
from fastconv.training.feeding import Batch, Epochs, feed
from fastconv.training.snapshot import unchanged

DIVERGED = 4.0  # a smoothed loss above so many times its minimum ends the test


@dataclass(frozen=True)
class RateSweep:
    """What `Model.lr_find` found.

    rates: learning rates that were tried, rising, float64 (steps,).
    losses: loss of the step at each rate, before the weights changed by it.
    smoothed: losses as an exponential moving average without its bias at the start.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def minimum(self) -> float:
        """The rate where the smoothed loss is least; training there is at its limit."""
        return float(self.rates[self._least])

    @property
    def steepest(self) -> float:
        """The rate where the smoothed loss falls fastest, over the rate's logarithm."""
        falling = self.smoothed[: self._least + 1]
        if len(falling) < 2:
            return self.minimum
        slopes = np.gradient(falling, np.log(self.rates[: self._least + 1]))
        return float(self.rates[int(slopes.argmin())])

    @property
    def suggestion(self) -> float:
        """The smaller of `steepest` and a tenth of `minimum`."""
        return min(self.steepest, self.minimum / 10)

    @property
    def _least(self) -> int:
        return int(self.smoothed.argmin())

    def chart(self) -> str:
        """Losses over rates with the suggestion, as the text of an SVG picture."""
        return sweep_chart(
            self.rates.tolist(), self.losses.tolist(), self.smoothed.tolist(),
            self.suggestion,
        ).svg  # fmt: skip


class RateFinder:
    """The part of `Model` that looks for a learning rate."""

    def lr_find(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | str | None = None,
        sample_weight: Any = None,
        *,
        start: float = 1e-6,
        end: float = 1.0,
        steps: int = 100,
        smoothing: float = 0.9,
    ) -> RateSweep:
        """Tries learning rates from ``start`` to ``end``, and suggests one.

        Step i of the training trial has the rate ``start (end / start)^(i / (steps -
        1))``. The trial ends early when the loss diverges. Afterwards the model, its
        optimizer and the state of chance are what they were, to the byte; only an
        iterator of batches that was given has been read. Smith, "Cyclical learning
        rates for training neural networks", WACV 2017, section 3.3.

        Parameters
        ----------
        x, y, batch_size, sample_weight: as in `fit`; read again and again, shuffled.
        start, end: first and last rate; 0 < start < end.
        steps: steps of the trial, >= 2.
        smoothing: of the losses, in [0, 1).

        Returns
        -------
        A `RateSweep`: ``rates``, ``losses``, ``suggestion``, and ``chart()``, an SVG.

        Raises
        ------
        ArgumentError before `compile`, for numbers that make no sense, and for a
        `train_step` that logs no "loss"; DataError if the first loss is no number
        already.

        >>> import fastconv as fc
        >>> import numpy as np
        >>> model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
        >>> model.compile(fc.optimizers.SGD(), loss="mse")
        >>> x = np.linspace(-1, 1, 64)[:, None]
        >>> sweep = model.lr_find(x, 3 * x)
        >>> 1e-7 <= sweep.suggestion < sweep.minimum <= 1.0
        True
        """
        model: Any = self
        model._need_loss()
        if not 0 < start < end or not math.isfinite(end):
            raise ArgumentError(
                f"lr_find: expected 0 < start < end, received {start!r} and {end!r}"
            )
        if not hasattr(steps, "__index__") or steps < 2:
            raise ArgumentError(f"lr_find: expected steps >= 2, received {steps!r}")
        if not 0 <= smoothing < 1:
            raise ArgumentError(
                f"lr_find: expected smoothing in [0, 1), received {smoothing!r}"
            )
        seed = int(model._seed_and_step.value[0])
        data = Epochs(feed(x, y, sample_weight, batch_size, True, seed), steps)
        rates = np.geomspace(start, end, steps)
        model._prepare(data.peek(1)[0])
        with unchanged(model):
            return _sweep(model, iter(data), rates, smoothing)


def _sweep(
    model: Any, batches: Iterator[Batch], rates: np.ndarray, smoothing: float
) -> RateSweep:
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for rate, batch in zip(rates, batches, strict=True):
        model.optimizer.learning_rate = float(rate)
        model._counted.reset()
        model.train_batch(*batch)
        logs = model._counted.logs()
        if "loss" not in logs:
            raise ArgumentError(
                "lr_find: expected a logged 'loss', which tells when a rate is too "
                f"high, received the logs {sorted(logs)}; let train_step return one"
            )
        loss = logs["loss"]
        average = smoothing * average + (1 - smoothing) * loss
        corrected = average / (1 - smoothing ** (len(losses) + 1))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        smoothed.append(corrected)
        if corrected > DIVERGED * min(smoothed):
            break
    if not losses:
        raise DataError(
            f"lr_find: the loss of the first step is {loss}, at a rate of {rates[0]:g};"
            " look at the inputs, and at what fit's sanity checks say"
        )
    return RateSweep(rates[: len(losses)], np.array(losses), np.array(smoothed))
