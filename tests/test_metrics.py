"""Metrics on the host."""

import numpy as np
import pytest

from fastconv import metrics
from fastconv.errors import ArgumentError, UnknownNameError

P = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize(
    ("metric", "y", "p", "expected"),
    [
        (metrics.SparseCategoricalAccuracy(), [1, 0, 0], P, 2 / 3),
        (metrics.SparseCategoricalAccuracy(), [[1], [0], [0]], P, 2 / 3),
        (metrics.CategoricalAccuracy(), np.eye(3)[[1, 0, 0]], P, 2 / 3),
        (metrics.BinaryAccuracy(), [1, 0, 1], [[0.9], [0.2], [0.4]], 2 / 3),
        (metrics.BinaryAccuracy(threshold=0.3), [1, 0, 1], [0.9, 0.2, 0.4], 1.0),
        (metrics.Accuracy(), [1, 2, 3], [1, 2, 4], 2 / 3),
        (metrics.SparseTopKCategoricalAccuracy(k=2), [1, 2, 1], P, 2 / 3),
        (metrics.TopKCategoricalAccuracy(k=1), np.eye(3)[[1, 0, 0]], P, 2 / 3),
        (metrics.MeanSquaredError(), [[0.0, 2.0]], [[1.0, 0.0]], 2.5),
        (metrics.MeanAbsoluteError(), [0.0, 2.0], [[1.0], [0.0]], 1.5),
    ],
)
def test_values(metric, y, p, expected):
    assert metric(np.array(y), np.array(p)) == pytest.approx(expected)
    metric.reset_state()
    assert metric.result() == 0.0


def test_accumulates_with_weights():
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state([1], P[:1])
    metric.update_state([2, 2], P[1:], sample_weight=[3.0, 1.0])
    assert metric.result() == pytest.approx(2 / 5)
    mean = metrics.Mean()
    mean.update_state([1.0, 3.0], [1.0, 3.0])
    assert mean.result() == 2.5


def test_accuracy_follows_the_shapes():
    cases = [
        ((4,), (4, 1), metrics.BinaryAccuracy),
        ((4,), (4, 3), metrics.SparseCategoricalAccuracy),
        ((4, 1), (4, 3), metrics.SparseCategoricalAccuracy),
        ((4, 3), (4, 3), metrics.CategoricalAccuracy),
    ]
    for y, p, cls in cases:
        found = metrics.accuracy_for(np.zeros(y), np.zeros(p), "acc")
        assert type(found) is cls
        assert found.name == "acc"


def test_lookup():
    assert metrics.get("mse").name == "mse"
    assert isinstance(
        metrics.get("sparse_categorical_accuracy"), metrics.SparseCategoricalAccuracy
    )
    own = metrics.get(lambda y, p: y - p)
    assert own(np.array([3.0]), np.array([1.0])) == 2.0
    with pytest.raises(UnknownNameError, match="accuracy"):
        metrics.get("acuracy")
    with pytest.raises(ArgumentError):
        metrics.get(3)
    with pytest.raises(ArgumentError):
        metrics.TopKCategoricalAccuracy(k=0)
