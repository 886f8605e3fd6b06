"""Batches from any iterable: generators, data loaders, Keras's PyDataset."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastconv.data import tree
from fastconv.data.checks import check_nan, count
from fastconv.data.split import permutation
from fastconv.errors import DataError

__all__ = ["IterableBatches", "PyDataset"]

Batch = tuple[Any, Any, Any]


class PyDataset:
    """Base class of a data set that gives ready batches by their number, as Keras's.

    A subclass writes ``__len__`` (or the property ``num_batches``) and
    ``__getitem__(i)``, which gives ``(x, y)`` or ``(x, y, sample_weight)``.

    Parameters
    ----------
    workers, use_multiprocessing, max_queue_size: as in Keras, and without effect:
        batches are made one after the other.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> class Squares(fc.utils.PyDataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         x = np.full((2, 1), i, np.float32)
    ...         return x, x * x
    >>> model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> len(model.fit(Squares(), epochs=2, verbose=0).history["loss"])
    2
    """

    def __init__(
        self,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __len__(self) -> int:
        count = getattr(self, "num_batches", None)
        if count is None:
            raise NotImplementedError(f"{type(self).__name__} needs __len__")
        return int(count)

    def __getitem__(self, index: int) -> Any:
        """The batch of a number."""
        raise NotImplementedError(f"{type(self).__name__} needs __getitem__")

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch."""


class IterableBatches:
    """Adapts a source of ready batches ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, w)``.

    A source with ``__len__`` and ``__getitem__`` (Keras's PyDataset or Sequence) is
    indexed, in an order shuffled by batches if asked; any other is iterated over, once
    an epoch (``torch.utils.data.DataLoader``). A generator is not restarted: an epoch
    goes on where the last one stopped. Nothing is asked for before it is needed, so a
    source may read the model or draw random numbers; one that does neither can make
    batches ahead itself (:func:`~fastconv.data.prefetch`). ``on_epoch_begin`` and
    ``on_epoch_end`` of the source are called if it has them. Elements may be anything
    with ``__array__`` or ``numpy()``, nested in tuples, lists and dicts.

    Raises:
        DataError: the source is no iterable; while iterating: it gave no batch in an
            epoch, a batch of another form, no numbers, or NaN.
        ShapeError: while iterating: parts of a batch with different lengths.

    >>> import numpy as np
    >>> source = ((np.ones((2, 3)), np.zeros(2)) for _ in range(4))
    >>> [x.shape for x, y, w in IterableBatches(source).batches(epoch=0)]
    [(2, 3), (2, 3), (2, 3), (2, 3)]
    """

    num_samples: int | None = None

    def __init__(
        self, source: Any, shuffle: bool = False, seed: int = 0, nan: bool = True
    ) -> None:
        indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        if isinstance(source, str | bytes) or not (
            indexed or hasattr(source, "__iter__")
        ):
            raise DataError(
                "data: expected arrays, or an iterable of batches, "
                f"got {type(source).__name__}"
            )
        self.source = source
        self.shuffle = shuffle
        self.seed = seed
        self.nan = nan
        self._indexed = indexed

    @property
    def num_batches(self) -> int | None:
        """Batches in one epoch, or None if the source does not say."""
        try:
            return len(self.source)
        except TypeError:
            return None

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches (x, y, sample_weight) of an epoch; absent parts are None.

        Batches before ``start`` are not asked for if the source is indexed, else they
        are taken and dropped.
        """
        start = count("start", start, least=0)
        shuffle = self.shuffle if shuffle is None else shuffle
        return self._made(epoch, shuffle, start)

    def _made(self, epoch: int, shuffle: bool, start: int) -> Iterator[Batch]:
        self._notify("on_epoch_begin")
        source = self._raw(epoch, shuffle, start)
        first = next(source, None)
        if first is None:
            raise DataError(
                f"data: {type(self.source).__name__} gave no batch in epoch {epoch}; a "
                "generator runs only once: give an object that can be iterated over "
                "again, or steps_per_epoch"
            )
        for number, raw in chain([first], source):
            if number >= start:
                yield self._convert(raw, number)
        self._notify("on_epoch_end")

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0."""
        return self.batches()

    def _raw(self, epoch: int, shuffle: bool, start: int) -> Iterator[tuple[int, Any]]:
        """Numbers and batches; of an indexed source none before ``start``."""
        if not self._indexed:
            yield from enumerate(self.source)
            return
        n = len(self.source)
        order = permutation(n, self.seed, epoch) if shuffle else range(n)
        for number in range(min(start, n - 1), n):
            yield number, self.source[int(order[number])]

    def _convert(self, raw: Any, number: int) -> Batch:
        parts = list(raw) if isinstance(raw, tuple | list) else [raw]
        if not 1 <= len(parts) <= 3:
            raise DataError(
                f"batch {number}: expected x, (x, y) or (x, y, sample_weight), "
                f"got {len(parts)} parts"
            )
        x, y, w = [*parts, None, None][:3]
        batch = (
            tree.to_arrays(x, f"batch {number}: x"),
            tree.to_arrays(y, f"batch {number}: y"),
            tree.to_arrays(w, f"batch {number}: sample_weight"),
        )
        tree.common_length(batch, f"batch {number}")
        if self.nan:
            check_nan(batch[0], f"batch {number}: x")
        return batch

    def _notify(self, event: str) -> None:
        method = getattr(self.source, event, None)
        if callable(method):
            method()
