"""The methods of models in Keras 1 and 2 that have gone: fit on generators."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any

from fastconv.data import tree
from fastconv.errors import ArgumentError, DataError
from fastconv.layers.compat import deprecated

# Arguments about threads and queues, which there are none of.
_WITHOUT_EFFECT = (
    "max_q_size", "max_queue_size", "nb_worker", "workers", "pickle_safe",
    "use_multiprocessing",
)  # fmt: skip


class OldNames:
    """The part of `Model` that old scripts call; each warns, and names today's."""

    if TYPE_CHECKING:  # what the other parts of Model bring
        fit: Any
        evaluate: Any
        predict: Any

    def fit_generator(self, generator: Any, *args: Any, **kwargs: Any) -> Any:
        """`fit` on an iterable of batches.

        Arguments by position are those of Keras 2: steps of an epoch, epochs, verbose,
        callbacks, validation data. ``samples_per_epoch`` and ``nb_val_samples`` of
        Keras 1 count samples, and become so many steps of the first batch's size.
        """
        names = ("steps_per_epoch", "epochs", "verbose", "callbacks", "validation_data")
        given = _arguments("fit_generator", "fit", names, args, kwargs)
        generator = _steps(generator, given, "samples_per_epoch", "steps_per_epoch")
        if "nb_val_samples" in given:
            data = given.get("validation_data")
            data = _steps(data, given, "nb_val_samples", "validation_steps")
            given["validation_data"] = data
        return self.fit(generator, **given)

    def evaluate_generator(self, generator: Any, *args: Any, **kwargs: Any) -> Any:
        """`evaluate` on an iterable of batches; by position: steps."""
        given = _arguments("evaluate_generator", "evaluate", ("steps",), args, kwargs)
        return self._over("evaluate", generator, given)

    def predict_generator(self, generator: Any, *args: Any, **kwargs: Any) -> Any:
        """`predict` on an iterable of batches; by position: steps."""
        given = _arguments("predict_generator", "predict", ("steps",), args, kwargs)
        return self._over("predict", generator, given)

    def _over(self, method: str, generator: Any, given: dict[str, Any]) -> Any:
        generator = _steps(generator, given, "val_samples", "steps")
        return getattr(self, method)(generator, **given)


def _arguments(
    old: str, new: str, names: tuple[str, ...], args: Any, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by name, without those that have no effect; and the warning."""
    if len(args) > len(names):
        raise ArgumentError(
            f"{old}: expected at most {len(names)} arguments by position after the "
            f"generator, received {len(args)}; give the others by name"
        )
    deprecated(f"Model: {old} is now {new}")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return {name: v for name, v in given.items() if name not in _WITHOUT_EFFECT}


def _steps(source: Any, given: dict[str, Any], old: str, new: str) -> Any:
    """Makes a number of samples, if it is given, one of steps of the first batch.

    Gives the source, with its first batch put back.
    """
    if old not in given:
        return source
    samples = given.pop(old)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        first = source[0]
    else:
        batches: Iterator[Any] = iter(source)
        first = next(batches, None)
        if first is None:
            raise DataError(f"{old}={samples}: the generator gave no batch")
        source = chain([first], batches)
    given[new] = ceil(samples / _size(first))
    deprecated(
        f"Model: argument {old!r}, of samples, is now called {new!r}, of batches: "
        f"{samples} is {given[new]}"
    )
    return source


def _size(batch: Any) -> int:
    """Samples in a batch ``x``, ``(x, y)`` or ``(x, y, sample_weight)``."""
    x = batch[0] if isinstance(batch, tuple) else batch
    return tree.common_length((tree.to_arrays(x, "x"), None, None), "batch")
