"""Orders and splits: pure functions of a seed, the same on every machine."""

import math
from operator import index
from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.data.checks import count
from fastconv.errors import ArgumentError, DataError

__all__ = [
    "k_fold", "permutation", "split_validation", "stratified_split", "train_test_split",
]  # fmt: skip


def permutation(n: int, seed: int, epoch: int = 0) -> np.ndarray:
    """The order of ``n`` samples in an epoch, shape (n,), int64.

    Drawn from Philox with the key ``[seed, epoch]``: it depends on nothing that
    happened before, so that a run can go on from any epoch.

    Raises:
        ArgumentError: ``seed`` or ``epoch`` is not an integer in 0 .. 2**64 - 1.

    >>> (permutation(5, 1, 7) == permutation(5, 1, 7)).all()
    np.True_
    """
    key = np.array([_word(seed, "seed"), _word(epoch, "epoch")], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(n)


def _word(value: int, name: str) -> int:
    try:
        word = index(value)
    except TypeError:
        raise ArgumentError(f"{name}: expected an integer, got {value!r}") from None
    if not 0 <= word < 2**64:
        raise ArgumentError(f"{name}: expected 0 <= {name} < 2**64, got {word}")
    return word


def _fraction(value: float, name: str) -> float:
    if not 0.0 < value < 1.0:
        raise ArgumentError(f"{name}: expected a number in (0, 1), got {value!r}")
    return float(value)


def _quotas(counts: np.ndarray, fraction: float) -> np.ndarray:
    """How many of each class are held out: the largest remainders are rounded up."""
    exact = counts * fraction
    quotas = np.floor(exact).astype(np.int64)
    missing = round(counts.sum() * fraction) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:missing]] += 1
    return quotas


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held_out) that share out every class in the same proportion.

    ``held_out`` has ``round(N * fraction)`` elements; both parts are in random order.

    Args:
        labels: integers, shape (N,).
        fraction: the share held out, in (0, 1).
        seed: of the Philox generator.

    Raises:
        ArgumentError: ``fraction`` or ``seed`` is out of range.

    >>> kept, held_out = stratified_split(np.array([0, 1] * 10), 0.2)
    >>> np.bincount(np.array([0, 1] * 10)[held_out]).tolist()
    [2, 2]
    """
    fraction = _fraction(fraction, "fraction")
    order = permutation(len(labels), seed)
    _, classes, counts = np.unique(
        np.asarray(labels)[order], return_inverse=True, return_counts=True
    )
    by_class = np.argsort(classes, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    starts = np.cumsum(counts) - counts
    rank[by_class] = np.arange(len(order)) - np.repeat(starts, counts)
    held = rank < _quotas(counts, fraction)[classes]
    return order[~held], order[held]


def k_fold(
    data: Any, k: int = 5, seed: int = 0, stratified: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices (training, validation) of ``k`` folds; each sample is validated once.

    Samples are dealt out in random order, with ``stratified`` class by class: sizes of
    folds, and of each class in them, differ by 1 at most. Kohavi, "A study of
    cross-validation and bootstrap", IJCAI 1995.

    Args:
        data: the number of samples, or the labels (N,).
        k: folds, 2 to N.
        seed: of the Philox generator.
        stratified: whether every fold has the classes of ``data`` in their proportion.

    Raises:
        ArgumentError: ``k`` or ``seed`` out of range, or ``stratified`` without labels.

    >>> y = np.array([0] * 6 + [1] * 3)
    >>> [np.bincount(y[held]).tolist() for _, held in k_fold(y, 3, stratified=True)]
    [[2, 1], [2, 1], [2, 1]]
    """
    alone = hasattr(data, "__index__") and np.ndim(data) == 0
    n = index(data) if alone else len(data)
    k = count("k", k, least=2)
    if k > n:
        raise ArgumentError(f"k: expected at most {n}, the number of samples, got {k}")
    order = permutation(n, seed)
    if stratified:
        labels = None if alone else np.asarray(data)
        if labels is None or labels.ndim != 1:
            raise ArgumentError("k_fold: expected labels (N,) when stratified")
        # All of a class in a row, and dealt out in turn.
        order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(n, dtype=np.int64)
    fold[order] = np.arange(n) % k
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def train_test_split(
    *arrays: Any, test_size: float = 0.25, seed: int = 0, stratify: Any = None
) -> list[Any]:
    """Each array in two random parts: ``[a_train, a_test, b_train, b_test, ...]``.

    Args:
        arrays: of the same length.
        test_size: the share of the second part, in (0, 1).
        seed: of the Philox generator.
        stratify: labels (N,) whose proportions both parts keep; None does not look.

    Raises:
        ArgumentError: no arrays, or ``test_size`` or ``seed`` out of range.
        DataError: a part would be empty.
        ShapeError: arrays of different lengths.

    >>> x, x_test, y, y_test = train_test_split(np.arange(8), np.arange(8) * 2)
    >>> len(x), len(x_test), bool((y == 2 * x).all())
    (6, 2, True)
    """
    if not arrays:
        raise ArgumentError("train_test_split: expected an array or more")
    given = [tree.to_arrays(a, f"array {i}") for i, a in enumerate(arrays)]
    n = tree.common_length((given, stratify, None), "train_test_split")
    labels = np.zeros(n, np.int64) if stratify is None else np.asarray(stratify)
    kept, held = stratified_split(labels, test_size, seed)
    if not (len(kept) and len(held)):
        raise DataError(
            f"test_size={test_size} of {n} samples leaves {len(kept)} and {len(held)}: "
            "give more data"
        )
    return [tree.slice_rows(a, rows) for a in given for rows in (kept, held)]


def split_validation(
    x: Any, y: Any, sample_weight: Any, validation_split: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Cut the LAST part of the data off for validation, before any shuffling.

    The training part has ``floor(N * (1 - validation_split))`` samples, as in Keras.
    Structures are kept; the parts are views.

    Returns:
        ``(x, y, sample_weight)`` for training, and the same for validation.

    Raises:
        ArgumentError: ``validation_split`` is not in (0, 1).
        DataError: a part would be empty.

    >>> train, validation = split_validation(np.arange(10), None, None, 0.3)
    >>> train[0].tolist(), validation[0].tolist()
    ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])
    """
    share = _fraction(validation_split, "validation_split")
    parts = tuple(
        tree.to_arrays(part, name)
        for part, name in ((x, "x"), (y, "y"), (sample_weight, "sample_weight"))
    )
    n = tree.common_length(parts, "fit")
    cut = math.floor(n * (1.0 - share))
    if cut in (0, n):
        raise DataError(
            f"validation_split={share} of {n} samples leaves {cut} for training and "
            f"{n - cut} for validation: give more data, or validation_data"
        )
    first = tuple(tree.slice_rows(part, slice(0, cut)) for part in parts)
    last = tuple(tree.slice_rows(part, slice(cut, n)) for part in parts)
    return (first[0], first[1], first[2]), (last[0], last[1], last[2])
