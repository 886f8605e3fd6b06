"""Watching one value of the logs."""

from __future__ import annotations

import logging
import math

from fastconv.callbacks.base import Callback, Logs
from fastconv.errors import ArgumentError

logger = logging.getLogger("fastconv")


class Monitor(Callback):
    """Watches one value of the logs, and knows which of two is better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"mode: expected auto, min or max; received {mode!r}")
        if mode == "auto":
            rising = ("acc", "auc", "precision", "recall", "f1", "iou")
            mode = "max" if any(word in monitor for word in rising) else "min"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = math.inf if mode == "min" else -math.inf
        self._warned = False

    def improves(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than ``best`` by more than ``min_delta``."""
        if self.mode == "min":
            return value < best - self.min_delta
        return value > best + self.min_delta

    def value(self, logs: Logs | None) -> float | None:
        """The watched value, or None with a warning in the log, once."""
        value = (logs or {}).get(self.monitor)
        if value is None and not self._warned:
            self._warned = True
            logger.warning(
                "%s watches %r, which is not among %s",
                type(self).__name__, self.monitor, sorted(logs or {}),
            )  # fmt: skip
        return None if value is None else float(value)
