"""Weights that are averaged over the steps, in place of those of the last step."""

from __future__ import annotations

from fastconv.callbacks.base import Callback, Logs
from fastconv.errors import ArgumentError


class SwapEMAWeights(Callback):
    """Evaluates the model with the moving average of its weights.

    The optimizer keeps the average: it is made with ``use_ema=True``. Weights and
    averages change places before each evaluation, and again after it.

    Parameters
    ----------
    swap_on_epoch: swap at the end of each epoch, too, and back when the next begins, so
        that callbacks after this one, such as `ModelCheckpoint`, see the averages; the
        trained model has them. Default False.

    Raises
    ------
    ArgumentError when training, evaluation or prediction begins, if the optimizer keeps
    no average.

    Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J.
    Control and Optimization 30, 1992.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    >>> model.compile(fc.optimizers.SGD(use_ema=True), loss="mse")
    >>> x = np.ones((8, 1))
    >>> swap = fc.callbacks.SwapEMAWeights(swap_on_epoch=True)
    >>> history = model.fit(x, x, verbose=0, callbacks=[swap])
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Checks the optimizer."""
        self._check()

    def _check(self) -> None:
        if not getattr(self.model.optimizer, "use_ema", False):
            raise ArgumentError(
                "SwapEMAWeights: expected an optimizer that averages weights, received "
                f"{self.model.optimizer!r}; make it with use_ema=True"
            )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Trains the weights, not their average."""
        self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Gives the averages to the callbacks that follow."""
        if self.swap_on_epoch:
            self._swap(True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Evaluates the averages."""
        self._swap(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Back to the weights."""
        self._swap(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Predicts with the averages."""
        self._swap(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Back to the weights."""
        self._swap(False)

    def _swap(self, averaged: bool) -> None:
        """Makes the model's weights the averages, or what they were before."""
        self._check()
        self.model.optimizer.swap_averages(averaged)
