"""Metrics against counts written out in NumPy; edges; configs; in a fit."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, metrics
from fastconv.errors import ArgumentError, DataError, ShapeError

RNG = np.random.default_rng(0)
CASES = [(RNG.integers(0, 2, 40), RNG.random(40), RNG.random(40)) for _ in range(3)]
NEEDS = {
    "ConfusionMatrix": {"num_classes": 3},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [1]},
    "OneHotMeanIoU": {"num_classes": 3},
}


def counts(y, p, w, t):
    yes = p > t
    pairs = ((y == 1) & yes, (y == 0) & yes, (y == 0) & ~yes, (y == 1) & ~yes)
    return [w[m].sum() for m in pairs]


@pytest.mark.parametrize(("y", "p", "w"), CASES)
def test_counts_precision_recall(y, p, w):
    limits = [0.7, 0.2, 0.5]
    tp, fp, tn, fn = np.array([counts(y, p, w, t) for t in limits]).T
    for metric, expected in (
        (metrics.TruePositives(limits), tp), (metrics.FalsePositives(limits), fp),
        (metrics.TrueNegatives(limits), tn), (metrics.FalseNegatives(limits), fn),
        (metrics.Precision(limits), tp / (tp + fp)),
        (metrics.Recall(limits), tp / (tp + fn)),
    ):  # fmt: skip
        metric.update_state(y[:15], p[:15], w[:15])
        np.testing.assert_allclose(metric(y[15:], p[15:], w[15:]), expected)
    one = metrics.Precision()
    assert one(y, p, w) == pytest.approx(tp[2] / (tp[2] + fp[2]))
    one.reset_state()
    assert one.result() == 0.0


def test_top_k_and_class_id():
    y = np.array([[0, 1, 1], [1, 0, 0]])
    p = np.array([[0.1, 0.3, 0.2], [0.4, 0.5, 0.6]])
    assert metrics.Precision(top_k=1)(y, p) == pytest.approx(1 / 2)
    assert metrics.Recall(top_k=2)(y, p) == pytest.approx(2 / 3)
    assert metrics.Recall(class_id=0, thresholds=0.3)(y, p) == 1.0
    with pytest.raises(ShapeError, match="class 3"):
        metrics.Recall(class_id=3)(y, p)
    with pytest.raises(ArgumentError, match="thresholds"):
        metrics.Recall(1.5)


def points(y, p, w, limits):
    return np.array([counts(y, p, w, t) for t in limits]).T


@pytest.mark.parametrize(("y", "p", "w"), CASES)
@pytest.mark.parametrize("curve", ["ROC", "PR"])
@pytest.mark.parametrize("method", ["interpolation", "minoring", "majoring"])
def test_auc(y, p, w, curve, method):
    limits = [-1e-7, *(np.arange(1, 29) / 29), 1 + 1e-7]
    tp, fp, tn, fn = points(y, p, w, limits)
    area = 0.0
    for i in range(29):
        if curve == "PR" and method == "interpolation":
            dtp, dp = tp[i] - tp[i + 1], (tp + fp)[i] - (tp + fp)[i + 1]
            slope = dtp / dp if dp > 1e-12 else 0.0
            a, b = (tp + fp)[i], (tp + fp)[i + 1]
            logs = np.log(a / b) if a > 0 and b > 1e-12 else 0.0
            area += slope * (dtp + (tp[i + 1] - slope * b) * logs) / (tp + fn)[0]
            continue
        recall = tp / (tp + fn)
        yes = np.maximum(tp + fp, 1e-30)
        xs, ys = (fp / (fp + tn), recall) if curve == "ROC" else (recall, tp / yes)
        pair = ys[i], ys[i + 1]
        height = {"interpolation": sum(pair) / 2, "minoring": min(pair)}
        area += (xs[i] - xs[i + 1]) * height.get(method, max(pair))
    metric = metrics.AUC(30, curve, method)
    assert metric(y, p, w) == pytest.approx(area, abs=1e-9)


def test_auc_edges():
    y = np.array([0, 0, 1, 1])
    assert metrics.AUC()(y, y.astype(float)) == pytest.approx(1.0)
    assert metrics.AUC(curve="PR")(y, y.astype(float)) == pytest.approx(1.0)
    assert metrics.AUC()(y, 1.0 - y) == pytest.approx(0.0)
    assert metrics.AUC()(np.zeros(4), np.full(4, 0.3)) == 0.0
    logits = np.array([-100.0, -1.0, 1.0, 100.0])
    assert metrics.AUC(from_logits=True)(y, logits) == pytest.approx(1.0)
    two, shares = np.stack([y, 1 - y], 1), np.stack([y, y], 1).astype(float)
    assert metrics.AUC(multi_label=True)(two, shares) == pytest.approx(0.5)
    weighted = metrics.AUC(multi_label=True, label_weights=[3, 1])
    assert weighted(two, shares) == pytest.approx(0.75)
    with pytest.raises(ArgumentError, match="curve"):
        metrics.AUC(curve="DET")


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
@pytest.mark.parametrize("threshold", [None, 0.4])
def test_f_scores(average, threshold):
    rng = np.random.default_rng(1)
    y, p, w = np.eye(3)[rng.integers(0, 3, 30)], rng.random((30, 3)), rng.random(30)
    yes = p > threshold if threshold else p == p.max(-1, keepdims=True)
    axis = None if average == "micro" else 0
    tp, fp, fn = (
        (m * w[:, None]).sum(axis) for m in (yes * y, yes * (1 - y), ~yes * y)
    )
    scores = 5 * tp / (5 * tp + 4 * fn + fp)
    support = (y * w[:, None]).sum(0)
    expected = scores
    if average == "macro":
        expected = scores.mean()
    if average == "weighted":
        expected = (scores * support).sum() / support.sum()
    metric = metrics.FBetaScore(average, 2.0, threshold)
    np.testing.assert_allclose(metric(y, p, w), expected, rtol=1e-5)
    zeros = metrics.F1Score(average)(np.zeros((2, 3)), np.zeros((2, 3)))
    assert np.all(np.asarray(zeros) == 0)


def test_iou_and_confusion_matrix():
    rng = np.random.default_rng(2)
    y, scores, w = rng.integers(0, 3, 50), rng.random((50, 4)), rng.random(50)
    p = scores.argmax(-1)
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (y, p), w)
    np.testing.assert_allclose(metrics.ConfusionMatrix(4)(y, scores, w), matrix)
    np.testing.assert_allclose(
        metrics.ConfusionMatrix(4)(np.eye(4)[y], scores, w), matrix
    )
    shares = np.array([
        w[(y == c) & (p == c)].sum() / w[(y == c) | (p == c)].sum() for c in range(4)
    ])  # fmt: skip
    close = {"rel": 1e-5}
    assert metrics.MeanIoU(4)(y, p, w) == pytest.approx(shares.mean(), **close)
    assert metrics.MeanIoU(9)(y, p, w) == pytest.approx(shares.mean(), **close)
    one = metrics.OneHotIoU(4, [0, 2])(np.eye(4)[y], scores, w)
    assert one == pytest.approx(shares[[0, 2]].mean(), **close)
    ignoring = metrics.IoU(4, [1], ignore_class=0)(y, p, w)
    kept = y != 0
    expected = w[kept & (y == 1) & (p == 1)].sum()
    expected /= w[kept & ((y == 1) | (p == 1))].sum()
    assert ignoring == pytest.approx(expected, **close)
    assert metrics.MeanIoU(3).result() == 0.0
    with pytest.raises(DataError, match="7"):
        metrics.ConfusionMatrix(4)([7], scores[:1])
    with pytest.raises(ArgumentError, match="target_class_ids"):
        metrics.IoU(2, [2])


def test_means_sums_and_regression():
    rng = np.random.default_rng(3)
    y, p, w = rng.standard_normal((20, 3)), rng.standard_normal((20, 3)), rng.random(20)
    error = (y - p) ** 2
    column = w[:, None]
    weighted = (error.mean(-1) * w).sum() / w.sum()
    assert metrics.RootMeanSquaredError()(y, p, w) == pytest.approx(weighted**0.5)
    assert metrics.Sum()(error, w) == pytest.approx((error * column).sum())
    mean = (y * column).sum(0) / w.sum()
    r2 = 1 - (error * column).sum(0) / ((y - mean) ** 2 * column).sum(0)
    np.testing.assert_allclose(metrics.R2Score(None)(y, p, w), r2)
    assert metrics.R2Score()(y, p, w) == pytest.approx(r2.mean())
    adjusted = 1 - (1 - r2.mean()) * 59 / (60 - 2 - 1)
    assert metrics.R2Score(num_regressors=2)(y, p, w) == pytest.approx(adjusted)
    cosine = (y * p).sum(-1) / np.linalg.norm(y, axis=-1) / np.linalg.norm(p, axis=-1)
    assert metrics.CosineSimilarity()(y, p) == pytest.approx(cosine.mean())
    with pytest.raises(ShapeError, match="sample_weight"):
        metrics.Mean()(y, np.ones(3))


@pytest.mark.parametrize(
    "name", sorted(set(metrics.CLASSES) & set(losses.__all__) - {"CosineSimilarity"})
)
def test_metrics_of_losses(name):
    rng = np.random.default_rng(4)
    y, p, w = (
        np.eye(3)[rng.integers(0, 3, 9)],
        rng.dirichlet(np.ones(3), 9),
        np.arange(9.0),
    )
    if name.startswith("Sparse"):
        y = y.argmax(-1)
    values = np.asarray(getattr(losses, name)(reduction="none")(y, p))
    metric = getattr(metrics, name)()
    expected = (values * w).sum() / w.sum()
    assert metric(y, p, w) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_ignored_class_does_not_count():
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    p = np.array([[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]])
    expected = -(np.log(0.5) + 3 * np.log(0.75)) / 4
    assert metric([0, -1, 1], p, np.array([1.0, 2.0, 3.0])) == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(metrics.CLASSES))
def test_config_round_trip(name):
    metric = metrics.CLASSES[name](**NEEDS.get(name, {}))
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


def test_wrapper_keeps_its_options():
    metric = metrics.MeanMetricWrapper(losses.huber, "far", delta=2.0)
    again = metrics.deserialize(metrics.serialize(metric))
    assert (again.name, again.options) == ("far", {"delta": 2.0})
    assert again([[0.0]], [[3.0]]) == 4.0


def test_names():
    assert metrics.AUC().name == "auc"
    assert metrics.get("AUC").name == "auc"
    assert metrics.KLDivergence().name == "kl_divergence"
    assert metrics.LogCoshError().name == "logcosh"
    assert metrics.get("f1_score").name == "f1_score"
    with pytest.raises(ArgumentError, match="num_classes"):
        metrics.get("MeanIoU")


def test_in_fit():
    """Vectors are logged one number a class, matrices are not."""
    model = fc.Sequential([fc.layers.Dense(3, activation="softmax")])
    wanted = [metrics.F1Score(), metrics.AUC(), metrics.ConfusionMatrix(3), "precision"]
    model.compile("sgd", "categorical_focal_crossentropy", metrics=wanted)
    x = np.random.default_rng(0).random((12, 4), np.float32)
    y = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    history = model.fit(x, y, epochs=1, verbose=0).history
    numbers = {"loss", "f1_score_0", "f1_score_1", "f1_score_2", "auc", "precision"}
    assert set(history) == numbers
