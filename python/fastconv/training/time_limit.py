"""``fit(time_limit=)``: training that ends in time, with its learning rate at 0."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastconv.callbacks.base import Callback, Logs
from fastconv.errors import ArgumentError

logger = logging.getLogger("fastconv")
RECENT = 8  # steps that tell how long one takes


@dataclass(frozen=True)
class TimedRates:
    """The learning rates of a training with a time limit, a step each.

    Given to `fit` as ``time_limit`` it repeats that training to the byte, however long
    it takes: the same steps, with the same rates.

    >>> len(TimedRates((0.1, 0.05, 0.0)))
    3
    """

    rates: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.rates)


class TimeLimit(Callback):
    """Anneals the learning rate to 0 over a time, or repeats that; `fit` adds it.

    The rate of a step is what the optimizer's number or schedule gives, times ``(1 +
    cos(pi s)) / 2`` with the share s of the time that is used (Loshchilov, Hutter,
    "SGDR", ICLR 2017, over time instead of steps). Time for the last validation, as
    long as the longest so far, is kept free; before the first one it is taken as that
    of as many training steps. Training stops when another step, as long as the longest
    of the last eight, would not fit.

    limit: seconds, or the `TimedRates` of an earlier training.
    validation_steps: batches of a validation, 0 without one.
    """

    def __init__(
        self,
        limit: Any,
        validation_steps: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replayed = limit if isinstance(limit, TimedRates) else None
        number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if self._replayed is None and not (number and 0 < limit < math.inf):
            raise ArgumentError(
                "time_limit: expected seconds > 0, or History.time_limit of an earlier "
                f"training, received {limit!r}"
            )
        self._seconds = 0.0 if self._replayed else float(limit)
        self._validation_steps = validation_steps
        self._clock = clock
        self._start = self._step_start = clock()
        self._steps: list[float] = []
        self._rates: list[float] = []
        self._validation = 0.0  # the longest so far

    @contextlib.contextmanager
    def driving(self, optimizer: Any) -> Iterator[None]:
        """Sets the learning rate inside the with block; then it is what it was."""
        source = optimizer.rate_source
        self._first = optimizer.calls

        def rate(step: int) -> float:
            done = step - self._first
            if self._replayed is not None:
                rates: Sequence[float] = self._replayed.rates
                return rates[min(done, len(rates) - 1)]
            base = source(step) if callable(source) else source
            value = float(base) * self._annealed()
            self._rates[done:] = [value]
            return value

        vars(rate)["source"] = source  # what a model holds that is saved meanwhile
        optimizer.learning_rate = rate
        try:
            yield
        finally:
            optimizer.learning_rate = source

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Notes when a step begins."""
        self._step_start = self._clock()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Stops, if no further step fits."""
        self._steps.append(self._clock() - self._step_start)
        self._stop_in_time()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """The same, after a validation."""
        self._stop_in_time()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Notes when a validation begins."""
        self._test_start = self._clock()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Notes how long it took."""
        self._validation = max(self._validation, self._clock() - self._test_start)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Tells what was done."""
        steps, seconds = len(self._steps), self._clock() - self._start
        rates = self._replayed.rates if self._replayed else tuple(self._rates)
        if len(rates) < steps:
            logger.warning(
                "time limit: another callback set the learning rate; it was not "
                "annealed from then on, and this training cannot be repeated"
            )
            return
        self.model.history.time_limit = TimedRates(rates[:steps])
        logger.info(
            "time limit: %d steps in %.3g s; fit(time_limit=history.time_limit) "
            "repeats them", steps, seconds,
        )  # fmt: skip

    def _stop_in_time(self) -> None:
        if self._replayed is not None:
            over = len(self._steps) >= len(self._replayed)
        else:
            following = self._clock() - self._start + max(self._steps[-RECENT:])
            over = following > self._training()
        if over:
            self.model.stop_training = True

    def _training(self) -> float:
        """Seconds from the start after which only a validation still fits.

        At least half of the limit.
        """
        kept = self._validation
        if not kept and self._steps:
            kept = self._validation_steps * min(self._steps[-RECENT:])
        return self._seconds - min(kept, self._seconds / 2)

    def _annealed(self) -> float:
        share = (self._clock() - self._start) / self._training()
        return (1 + math.cos(math.pi * min(1.0, share))) / 2
