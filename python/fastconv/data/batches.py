"""Batches of arrays, and the choice between arrays and iterables."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fastconv.data import tree
from fastconv.data.checks import check_arrays, count
from fastconv.data.iterables import IterableBatches
from fastconv.data.split import permutation
from fastconv.errors import ArgumentError

__all__ = ["ArrayBatches", "Batches", "as_batches"]

Batch = tuple[Any, Any, Any]


@runtime_checkable
class Batches(Protocol):
    """What ``fit``, ``evaluate`` and ``predict`` read.

    ``num_samples`` and ``num_batches`` are None where they are not known beforehand.

    Where all samples are at hand, there are two members more, which `fit` looks at
    before training, and which tell whether a training that is resumed has the same
    data: ``parts``, (x, y, sample_weight) of all samples, as they are before anything
    random; and ``spread(count)``, a batch of up to so many samples, as training would
    get them.

    >>> import numpy as np
    >>> isinstance(ArrayBatches(np.zeros((4, 2))), Batches)
    True
    """

    @property
    def num_samples(self) -> int | None:
        """Samples in one epoch."""

    @property
    def num_batches(self) -> int | None:
        """Batches in one epoch."""

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches (x, y, sample_weight) of one epoch; absent parts are None.

        ``start`` is the first batch to give: those before it are passed over, so that
        an epoch goes on where a run was cut off. The others do not depend on it.
        """


class ArrayBatches:
    """Batches of (nested) arrays whose first dimension is the sample.

    Args:
        x: an array, or a list, tuple or dict of arrays; memory-mapped arrays too.
        y: the same, or None.
        sample_weight: the same, or None.
        batch_size: samples in a batch; the last batch may be smaller.
        shuffle: whether an epoch is shuffled, unless ``batches`` says otherwise.
        seed: epoch e has the order ``permutation(num_samples, seed, e)``.
        nan: whether NaN in float arrays is refused (looked for once, here).

    Raises:
        DataError: no samples, a dtype that is no number, NaN.
        ShapeError: arrays with different numbers of samples.
        ArgumentError: ``batch_size`` below 1.

    >>> import numpy as np
    >>> data = ArrayBatches(np.zeros((10, 4)), np.arange(10), batch_size=4)
    >>> [len(y) for x, y, w in data.batches(epoch=0)]
    [4, 4, 2]
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        nan: bool = True,
    ) -> None:
        self.batch_size = count("batch_size", batch_size, least=1)
        self.shuffle = shuffle
        self.seed = seed
        self.parts = check_arrays(x, y, sample_weight, nan=nan)
        self.num_samples = tree.common_length(self.parts, "data")

    def __len__(self) -> int:
        """Batches in one epoch."""
        return (self.num_samples + self.batch_size - 1) // self.batch_size

    @property
    def num_batches(self) -> int:
        """Batches in one epoch."""
        return len(self)

    def order(self, epoch: int = 0, shuffle: bool | None = None) -> np.ndarray:
        """The numbers of the samples, in the order of an epoch."""
        if self.shuffle if shuffle is None else shuffle:
            return permutation(self.num_samples, self.seed, epoch)
        return np.arange(self.num_samples)

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches of an epoch: views without shuffling, copies with it."""
        shuffled = self.shuffle if shuffle is None else shuffle
        order = self.order(epoch, True) if shuffled else None
        begin = count("start", start, least=0) * self.batch_size
        for first in range(begin, self.num_samples, self.batch_size):
            rows = slice(first, min(first + self.batch_size, self.num_samples))
            x, y, w = (
                tree.slice_rows(part, rows if order is None else order[rows])
                for part in self.parts
            )
            yield x, y, w

    def spread(self, count: int) -> Batch:
        """Up to ``count`` samples at equal distances, the first among them."""
        count = min(count, self.num_samples)
        rows = np.arange(count) * self.num_samples // count
        x, y, w = (tree.slice_rows(part, rows) for part in self.parts)
        return x, y, w

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0."""
        return self.batches()


def is_arrays(x: Any) -> bool:
    """Whether x is an array or nested arrays, and no source of ready batches."""
    return isinstance(x, list | tuple | dict) or hasattr(x, "__array__")


def as_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
    nan: bool = True,
) -> Batches:
    """``x`` as :class:`Batches`, whatever it is.

    Arrays, tensors, and lists, tuples and dicts of them give :class:`ArrayBatches`.
    Everything that can be iterated over, or indexed up to its length, is taken as a
    source of ready batches: :class:`~fastconv.data.iterables.IterableBatches`. What
    has the methods of :class:`Batches` already is returned as it is.

    Args:
        x: the data.
        y: targets, for arrays only.
        sample_weight: weights, for arrays only.
        batch_size: for arrays; None is 32.
        shuffle: shuffle every epoch (batches of an indexable source are reordered).
        seed: of the shuffling.
        nan: whether NaN is refused.

    Raises:
        ArgumentError: y or sample_weight beside a source of ready batches.
        DataError: data that cannot be read, or no samples.

    >>> len(as_batches([[1.0], [2.0], [3.0]], batch_size=2))
    2
    """
    if is_arrays(x):
        size = 32 if batch_size is None else batch_size
        return ArrayBatches(x, y, sample_weight, size, shuffle, seed, nan)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ArgumentError(
                f"{name}: expected None, since x is a {type(x).__name__} of ready "
                f"batches; let it give (x, y) or (x, y, sample_weight)"
            )
    if isinstance(x, Batches):
        return x
    return IterableBatches(x, shuffle=shuffle, seed=seed, nan=nan)
