"""Losses against their formulas in NumPy, their reductions and their errors."""

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, ops
from fastconv.errors import ArgumentError, DataError, ShapeError, UnknownNameError

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((6, 4)).astype(np.float32)
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
LABELS = np.array([0, 3, 1, 2, 2, 0])
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]
CROSS = -np.log(P[np.arange(6), LABELS])


def binary(y, p):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(-1)


CASES = {
    "mse": (losses.MeanSquaredError(), ONE_HOT, P, ((ONE_HOT - P) ** 2).mean(-1)),
    "mae": (losses.MeanAbsoluteError(), ONE_HOT, P, np.abs(ONE_HOT - P).mean(-1)),
    "categorical": (losses.CategoricalCrossentropy(), ONE_HOT, P, CROSS),
    "categorical logits": (
        losses.CategoricalCrossentropy(from_logits=True),
        ONE_HOT,
        LOGITS,
        CROSS,
    ),
    "sparse": (losses.SparseCategoricalCrossentropy(), LABELS, P, CROSS),
    "sparse logits": (
        losses.SparseCategoricalCrossentropy(from_logits=True),
        LABELS[:, None].astype(np.uint8),
        LOGITS,
        CROSS,
    ),
    "smoothed": (
        losses.CategoricalCrossentropy(label_smoothing=0.2),
        ONE_HOT,
        P,
        -((0.8 * ONE_HOT + 0.05) * np.log(P)).sum(-1),
    ),
    "binary": (losses.BinaryCrossentropy(), ONE_HOT, P, binary(ONE_HOT, P)),
    "binary logits": (
        losses.BinaryCrossentropy(from_logits=True),
        ONE_HOT,
        LOGITS,
        binary(ONE_HOT, 1 / (1 + np.exp(-LOGITS))),
    ),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_formula(case, device):
    loss, y, p, expected = CASES[case]
    with fc.device(device):
        np.testing.assert_allclose(loss(y, p), expected.mean(), rtol=1e-5)
        loss_none = type(loss).from_config({**loss.get_config(), "reduction": "none"})
        np.testing.assert_allclose(loss_none(y, p), expected, rtol=1e-4)


def test_reductions_and_weights():
    weights = np.array([1, 0, 2, 0, 0, 1], np.float32)
    for reduction, expected in (
        ("sum", (CROSS * weights).sum()),
        ("sum_over_batch_size", (CROSS * weights).mean()),
        ("none", CROSS * weights),
    ):
        loss = losses.SparseCategoricalCrossentropy(reduction=reduction)
        np.testing.assert_allclose(loss(LABELS, P, weights), expected, rtol=1e-5)
    with pytest.raises(ArgumentError, match="reduction"):
        losses.MeanSquaredError(reduction="median")


def test_targets_without_the_last_axis():
    y = np.array([1.0, 2.0], np.float32)
    assert float(losses.MeanSquaredError()(y, y[:, None] + 1)) == 1.0


@pytest.mark.parametrize(
    ("loss", "y", "hint"),
    [
        ("sparse_categorical_crossentropy", ONE_HOT, "categorical_crossentropy"),
        ("categorical_crossentropy", LABELS, "sparse_categorical_crossentropy"),
        ("mse", np.zeros((6, 5), np.float32), r"\(6, 5\)"),
    ],
)
def test_shapes_that_do_not_fit(loss, y, hint):
    with pytest.raises(ShapeError, match=hint):
        losses.get(loss)(y, P)


def test_label_out_of_range():
    with pytest.raises(DataError, match="4"):
        losses.SparseCategoricalCrossentropy()(np.array([0, 4]), P[:2])


def test_weights_that_do_not_fit():
    with pytest.raises(ShapeError, match="sample_weight"):
        losses.MeanSquaredError()(ONE_HOT, P, np.ones(5, np.float32))


def test_lookup():
    assert isinstance(losses.get("quadratic"), losses.MeanSquaredError)
    assert losses.get(None) is None
    own = losses.get(lambda y, p: fc.ops.mean(fc.ops.square(y - p), axis=-1))
    assert float(own(ONE_HOT, ONE_HOT)) == 0.0
    with pytest.raises(UnknownNameError, match="mean_squared_error"):
        losses.get("mean_square_error")
    with pytest.raises(ArgumentError):
        losses.get(3)


@pytest.mark.parametrize("case", CASES)
def test_config_round_trip(case):
    loss = CASES[case][0]
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_gradient(check_gradient):
    y = ONE_HOT.astype(np.float64)
    check_gradient(lambda p: losses.binary_crossentropy(y.astype(np.float64), p), P)


def test_a_loss_on_arrays_is_traced_once_until_it_changes():
    traced = []

    class Counted(losses.Loss):
        def call(self, y_true, y_pred):
            traced.append(1)
            return ops.abs(y_true - y_pred)

    loss = Counted(reduction="sum")
    y, p = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    assert [float(loss(y, p)) for _ in range(3)] == [4.0, 4.0, 4.0]
    assert len(traced) == 1
    loss.reduction = "mean"
    assert float(copy.deepcopy(loss)(y, p)) == float(loss(y, p)) == 1.0
