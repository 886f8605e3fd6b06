"""Every loss against its formula in NumPy, in float64; edges; gradients."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses

EPS = 1e-7
Y_SMOOTH = 0.2


def clip(p, high=1.0 - EPS):
    return np.clip(p, EPS, high)


def unit(x):
    return x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), EPS)


def huber(y, p, delta):
    e = np.abs(p - y)
    return np.where(e <= delta, e * e / 2, delta * (e - delta / 2)).mean(-1)


def signs(y):
    return 2 * y - 1 if set(np.unique(y)) <= {0.0, 1.0} else y


def margin(y, p):
    return np.maximum(1 - signs(y) * p, 0)


def cross(y, p):
    return -(y * np.log(clip(p)) + (1 - y) * np.log(clip(1 - p)))


def normal(p):
    return clip(p / p.sum(-1, keepdims=True))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def focal(y, p):
    return (1 - (y * p + (1 - y) * (1 - p))) ** 2 * cross(y, p)


def tversky(y, p, a, b):
    tp = (y * p).sum()
    return 1 - tp / (tp + a * (y * (1 - p)).sum() + b * (p * (1 - y)).sum() + EPS)


# loss, targets, predictions, formula. Kinds: real, positive, share (0..1), labels (0 or
# 1), onehot, dist (sums to 1), numbers.
CASES = [
    (losses.MeanSquaredError(), "real", "real", lambda y, p: ((y - p) ** 2).mean(-1)),
    (losses.MeanAbsoluteError(), "real", "real", lambda y, p: abs(y - p).mean(-1)),
    (losses.MeanAbsolutePercentageError(), "real", "real",
     lambda y, p: 100 * (abs(y - p) / np.maximum(abs(y), EPS)).mean(-1)),
    (losses.MeanSquaredLogarithmicError(), "real", "positive",
     lambda y, p: ((np.log1p(np.maximum(p, EPS)) - np.log1p(np.maximum(y, EPS))) ** 2)
     .mean(-1)),
    (losses.Huber(), "real", "real", lambda y, p: huber(y, p, 1.0)),
    (losses.Huber(0.3), "real", "real", lambda y, p: huber(y, p, 0.3)),
    (losses.LogCosh(), "real", "real", lambda y, p: np.log(np.cosh(p - y)).mean(-1)),
    (losses.CosineSimilarity(), "real", "real",
     lambda y, p: -(unit(y) * unit(p)).sum(-1)),
    (losses.Hinge(), "labels", "real", lambda y, p: margin(y, p).mean(-1)),
    (losses.Hinge(), "real", "real", lambda y, p: margin(y, p).mean(-1)),
    (losses.SquaredHinge(), "labels", "real",
     lambda y, p: (margin(y, p) ** 2).mean(-1)),
    (losses.CategoricalHinge(), "onehot", "real",
     lambda y, p: np.maximum(
         ((1 - y) * p).max(-1) - (y * p).sum(-1) + 1, 0)),
    (losses.KLDivergence(), "dist", "dist",
     lambda y, p: (clip(y, 1) * np.log(clip(y, 1) / clip(p, 1))).sum(-1)),
    (losses.Poisson(), "positive", "positive",
     lambda y, p: (p - y * np.log(p + EPS)).mean(-1)),
    (losses.BinaryCrossentropy(), "labels", "share", lambda y, p: cross(y, p).mean(-1)),
    (losses.BinaryCrossentropy(True, Y_SMOOTH), "labels", "real",
     lambda y, p: cross(y * 0.8 + 0.1, sigmoid(p)).mean(-1)),
    (losses.CategoricalCrossentropy(label_smoothing=Y_SMOOTH), "onehot", "share",
     lambda y, p: -((y * 0.8 + 0.05) * np.log(normal(p))).sum(-1)),
    (losses.CategoricalCrossentropy(True), "dist", "real",
     lambda y, p: -(y * np.log(softmax(p))).sum(-1)),
    (losses.BinaryFocalCrossentropy(), "labels", "share",
     lambda y, p: focal(y, p).mean(-1)),
    (losses.BinaryFocalCrossentropy(True, 0.3, from_logits=True), "labels", "real",
     lambda y, p: ((y * 0.3 + (1 - y) * 0.7) * focal(y, sigmoid(p))).mean(-1)),
    (losses.CategoricalFocalCrossentropy(), "onehot", "share",
     lambda y, p: -(0.25 * (1 - normal(p)) ** 2 * y * np.log(normal(p))).sum(-1)),
    (losses.CategoricalFocalCrossentropy([0.1, 0.2, 0.3, 0.4], 1.5, True),
     "onehot", "real",
     lambda y, p: -(np.array([0.1, 0.2, 0.3, 0.4]) * (1 - softmax(p)) ** 1.5 * y
                    * np.log(softmax(p))).sum(-1)),
    (losses.Dice(), "labels", "share",
     lambda y, p: 1 - 2 * (y * p).sum() / (y.sum() + p.sum() + EPS)),
    (losses.Dice(axis=(1,)), "labels", "share",
     lambda y, p: 1 - 2 * (y * p).sum(1) / (y.sum(1) + p.sum(1) + EPS)),
    (losses.Tversky(0.3, 0.7), "labels", "share",
     lambda y, p: tversky(y, p, 0.3, 0.7)),
    (losses.SparseCategoricalCrossentropy(), "numbers", "share",
     lambda y, p: -np.log(normal(p)[np.arange(len(y)), y])),
    (losses.SparseCategoricalCrossentropy(True), "numbers", "real",
     lambda y, p: -np.log(softmax(p)[np.arange(len(y)), y])),
    (losses.SparseCategoricalCrossentropy(label_smoothing=Y_SMOOTH), "numbers", "share",
     lambda y, p: -((np.eye(4)[y] * 0.8 + 0.05) * np.log(normal(p))).sum(-1)),
    (losses.SparseCategoricalCrossentropy(True, label_smoothing=Y_SMOOTH),
     "numbers", "real",
     lambda y, p: -((np.eye(4)[y] * 0.8 + 0.05) * np.log(softmax(p))).sum(-1)),
]  # fmt: skip
IDS = [f"{i} {case[0].name}" for i, case in enumerate(CASES)]


def draw(kind, rng, rows=5):
    shape = (rows, 4)
    made = {
        "real": lambda: rng.standard_normal(shape) * 2,
        "positive": lambda: rng.exponential(2.0, shape),
        "share": lambda: rng.uniform(0.02, 0.98, shape),
        "labels": lambda: rng.integers(0, 2, shape).astype(float),
        "onehot": lambda: np.eye(4)[rng.integers(0, 4, rows)],
        "dist": lambda: rng.dirichlet(np.ones(4), rows),
        "numbers": lambda: rng.integers(0, 4, rows),
    }
    return made[kind]()


def unreduced(loss):
    return type(loss).from_config({**loss.get_config(), "reduction": "none"})


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_formula(case):
    loss, targets, predictions, formula = case
    for seed in range(4):
        rng = np.random.default_rng(seed)
        y, p = draw(targets, rng), draw(predictions, rng)
        expected = formula(y, p)
        with fc.device("reference"):
            actual = unreduced(loss)(y, p)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(loss(y, p), expected.mean(), rtol=2e-4, atol=1e-5)
        if np.ndim(expected):
            w = rng.uniform(size=5)
            mean = (expected * w).mean()
            np.testing.assert_allclose(loss(y, p, w), mean, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient(case, check_gradient):
    loss, targets, predictions, _ = case
    rng = np.random.default_rng(7)
    y, p = draw(targets, rng), draw(predictions, rng)
    check_gradient(unreduced(loss), y, p, wrt=[1], tolerance=1e-5)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_extremes_are_finite(case):
    """Zeros everywhere, perfect predictions, scores of +-100: values and gradients."""
    loss, targets, predictions, _ = case
    y = draw(targets, np.random.default_rng(3))
    wide = np.eye(4)[y] if targets == "numbers" else y
    edges = [wide]
    if "cross" not in loss.name or "focal" in loss.name or "binary" in loss.name:
        edges.append(np.zeros((5, 4)))  # no distribution: NaN, as in Keras
    if predictions == "real":
        edges += [200 * wide - 100, 100 - 200 * wide]
    for edge in edges:
        for t in (y, np.zeros_like(y)):
            step = fc.function(lambda t, p: _value_and_gradient(loss, t, p))
            for found in step(t.astype(np.float32) if t.dtype == float else t,
                              edge.astype(np.float32)):  # fmt: skip
                assert np.isfinite(found).all()


def _value_and_gradient(loss, y, p):
    value = loss(y, p)
    return value, fc.grad(value, p)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_config_name_and_empty_batch(case):
    loss, targets, predictions, _ = case
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    y, p = (draw(k, np.random.default_rng(0), rows=0) for k in (targets, predictions))
    if np.ndim(unreduced(loss)(y, p)):
        assert float(loss(y, p)) == 0.0


@pytest.mark.parametrize("from_logits", [False, True])
def test_ignore_class(from_logits):
    rng = np.random.default_rng(0)
    p = draw("share", rng)
    y = np.array([0, 255, 2, 255, 3])
    kept = [0, 2, 4]
    loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class=255)
    plain = losses.SparseCategoricalCrossentropy(from_logits)
    np.testing.assert_allclose(loss(y, p), plain(y[kept], p[kept]), rtol=1e-5)
    p[1] = np.nan
    values = unreduced(loss)(y, p)
    assert (values[[1, 3]] == 0).all()
    w = np.arange(5.0)
    expected = (values * w).sum() / 3
    np.testing.assert_allclose(loss(y, p, w), expected, rtol=1e-5)
    assert float(loss(np.full(5, 255), p)) == 0.0


def test_mean_with_sample_weight_and_axis():
    rng = np.random.default_rng(0)
    y, p = draw("real", rng), draw("real", rng)
    w = np.array([0.0, 1.0, 2.0, 0.0, 1.0])
    loss = losses.MeanSquaredError("mean_with_sample_weight")
    expected = (((y - p) ** 2).mean(-1) * w).sum() / w.sum()
    np.testing.assert_allclose(loss(y, p, w), expected, rtol=1e-5)
    hot, share = draw("onehot", rng), draw("share", rng)
    turned = losses.CategoricalCrossentropy(axis=0)(hot.T, share.T)
    straight = losses.CategoricalCrossentropy()(hot, share)
    np.testing.assert_allclose(turned, straight, rtol=1e-6)
    numbers = losses.SparseCategoricalCrossentropy(axis=1)
    maps = rng.uniform(0.1, 1, (2, 4, 3))
    labels = rng.integers(0, 4, (2, 3))
    last = losses.SparseCategoricalCrossentropy()(labels, np.moveaxis(maps, 1, -1))
    np.testing.assert_allclose(numbers(labels, maps), last, rtol=1e-6)


def test_names_and_functions():
    for name in ("huber", "log_cosh", "kl_divergence", "KLD", "tversky", "Dice", "MAPE",
                 "squared_hinge", "categorical_focal_crossentropy"):  # fmt: skip
        assert isinstance(losses.get(name), losses.Loss)
    assert losses.Huber().name == "huber_loss"
    assert losses.KLDivergence().name == "kl_divergence"
    with pytest.raises(fc.errors.ArgumentError, match="delta"):
        losses.Huber(0)
    with pytest.raises(fc.errors.ArgumentError, match="label_smoothing"):
        losses.BinaryCrossentropy(label_smoothing=2.0)
