"""The training loop: what it computes, accepts and refuses."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import (
    ArgumentError,
    DataError,
    OutOfMemoryError,
    ShapeError,
    UnknownNameError,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 50)


def classifier(loss="sparse_categorical_crossentropy", rate=0.1, **options):
    fc.utils.set_random_seed(3)
    model = fc.Sequential(
        [
            fc.Input((4,), name="features"),
            fc.layers.Dense(8, activation="relu"),
            fc.layers.Dense(3, activation="softmax", name="class"),
        ]
    )
    model.compile(fc.optimizers.SGD(rate, momentum=0.9), loss, **options)
    return model


def linear(rate=0.1, **options):
    model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(1)])
    model.compile(fc.optimizers.SGD(rate), "mse", **options)
    return model


def test_one_step_is_its_formula():
    model = linear(rate=0.5)
    w, b = model.get_weights()
    y = X[:, :1] * 2
    error = X @ w + b - y
    loss = model.train_on_batch(X, y)
    assert loss == pytest.approx((error**2).mean(), rel=1e-5)
    w1, b1 = model.get_weights()
    np.testing.assert_allclose(w1, w - 0.5 * 2 * X.T @ error / 50, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(b1, b - 0.5 * 2 * error.mean(0), rtol=1e-4, atol=1e-6)
    assert model.optimizer.iterations == 1


def test_learns_and_reports():
    model = classifier(metrics=["accuracy"])
    labels = X.argmax(-1) % 3
    history = model.fit(X, labels, epochs=60, verbose=0, validation_split=0.2)
    assert history.history["accuracy"][-1] > 0.9
    assert len(history.history["val_loss"]) == 60
    loss, accuracy = model.evaluate(X, labels, verbose=0)
    named = model.evaluate(X, labels, verbose=0, return_dict=True)
    assert named == {"loss": loss, "accuracy": accuracy}
    p = model.predict(X, verbose=0, batch_size=7)
    assert accuracy == pytest.approx((p.argmax(-1) == labels).mean())
    expected = -np.log(p[np.arange(50), labels]).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_cpu_is_the_reference():
    results = []
    for device in ("cpu", "reference"):
        model = classifier(device=device)
        history = model.fit(X, LABELS, epochs=3, verbose=0)
        results.append((history.history["loss"], model.get_weights()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_batch_normalisation_moves_its_statistics():
    layer = fc.layers.BatchNormalization(momentum=0.5)
    model = fc.Sequential([fc.Input((4,)), layer, fc.layers.Dense(1)])
    model.compile(loss="mse")
    model.predict(X, verbose=0)
    model.train_on_batch(X, X[:, :1])
    moving = {w.name.rsplit("/", 1)[-1]: w.numpy() for w in layer.weights}
    np.testing.assert_allclose(moving["moving_mean"], X.mean(0) / 2, atol=1e-6)
    np.testing.assert_allclose(moving["moving_variance"], 0.5 + X.var(0) / 2, rtol=1e-5)
    before = layer.get_weights()
    model.evaluate(X, X[:, :1], verbose=0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_changes_from_step_to_step():
    model = fc.Sequential([fc.Input((4,)), fc.layers.Dropout(0.5), fc.layers.Dense(1)])
    model.compile(fc.optimizers.SGD(0.0), "mse")
    y = X[:, :1]
    losses = [model.train_on_batch(X, y) for _ in range(4)]
    assert len(set(losses)) == 4
    assert model._seed_and_step.value[1] == 4
    assert model.test_on_batch(X, y) == model.test_on_batch(X, y)


def test_all_samples_at_once_with_validation_of_batches():
    batches = [(X[:20], LABELS[:20]), (X[20:], LABELS[20:])]
    model, other = classifier(), classifier()
    found = model.fit(
        X, LABELS, batch_size="all", verbose=0, validation_data=iter(batches)
    )
    expected = other.fit(
        X, LABELS, batch_size="all", verbose=0, validation_data=(X, LABELS)
    )
    np.testing.assert_allclose(
        found.history["val_loss"], expected.history["val_loss"], rtol=1e-5
    )
    with pytest.raises(ArgumentError, match="'all' needs arrays, received a list_it"):
        model.fit(iter(batches), batch_size="all", verbose=0)


def test_sample_weight_and_class_weight_agree():
    weights = np.where(LABELS == 1, 3.0, 1.0)
    one, two, three = classifier(), classifier("categorical_crossentropy"), classifier()
    one.fit(X, LABELS, epochs=2, verbose=0, sample_weight=weights)
    hot = fc.utils.to_categorical(LABELS, 3)
    two.fit(X, hot, epochs=2, verbose=0, class_weight={1: 3.0})
    three.fit(X, LABELS, epochs=2, verbose=0, class_weight={0: 1.0, 1: 3.0})
    for a, b, c in zip(
        one.get_weights(), two.get_weights(), three.get_weights(), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(a, c)


FACTORS = {0: 0.5, 2: 3.0}  # class 1 has weight 1
PLACES = RNG.integers(0, 3, (50, 5))
SERIES = RNG.standard_normal((50, 5, 4)).astype(np.float32)


def by_place(loss="sparse_categorical_crossentropy", activation="softmax", units=3):
    """A model whose output (N, 5, units) has a class for each of five places."""
    fc.utils.set_random_seed(3)
    model = fc.Sequential(
        [fc.Input((5, 4)), fc.layers.Dense(units, activation=activation, name="class")]
    )
    model.compile(fc.optimizers.SGD(0.1), loss)
    return model


def hot(labels):
    return fc.utils.to_categorical(labels, 3)


WEIGHED = [
    # make, x, y, sample_weight, class numbers
    pytest.param(classifier, X, LABELS, None, LABELS, id="numbers"),
    pytest.param(classifier, X, [LABELS], None, LABELS, id="list"),
    pytest.param(classifier, X, {"class": LABELS}, None, LABELS, id="dict"),
    pytest.param(classifier, X, LABELS[:, None], None, LABELS, id="column"),
    pytest.param(classifier, X, LABELS, (50, 1), LABELS, id="weights-column"),
    pytest.param(classifier, X, {"class": LABELS}, (50,), LABELS, id="dict-weights"),
    pytest.param(
        lambda: classifier("categorical_crossentropy"), X, hot(LABELS), (50,), LABELS,
        id="one-hot",
    ),
    pytest.param(by_place, SERIES, PLACES, None, PLACES, id="places"),
    pytest.param(by_place, SERIES, PLACES[..., None], (50,), PLACES, id="places-last"),
    pytest.param(by_place, SERIES, PLACES, (50, 5), PLACES, id="places-weights"),
    pytest.param(
        lambda: by_place("categorical_crossentropy"), SERIES, hot(PLACES), (50, 1),
        PLACES, id="places-one-hot",
    ),
    pytest.param(
        lambda: by_place("binary_crossentropy", "sigmoid", 1), SERIES, PLACES % 2,
        (50, 5, 1), PLACES % 2, id="places-binary",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "x", "y", "shape", "labels"), WEIGHED)
def test_class_weight_is_a_sample_weight(make, x, y, shape, labels):
    """At each place the weight of its class, looked up by hand, times the sample's."""
    given, weights = None, np.vectorize(lambda c: FACTORS.get(int(c), 1.0))(labels)
    if shape is not None:
        given = np.random.default_rng(4).uniform(0.5, 2, shape)
        full = given if given.ndim <= labels.ndim else given[..., 0]
        weights = weights * full.reshape(full.shape + (1,) * (labels.ndim - full.ndim))
    one, two = make(), make()
    found = one.train_on_batch(x, y, sample_weight=given, class_weight=FACTORS)
    plain = y["class"] if isinstance(y, dict) else y
    plain = plain[0] if isinstance(plain, list) else plain
    assert found == pytest.approx(two.train_on_batch(x, plain, weights), rel=1e-5)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    nothing = make()
    zero = nothing.train_on_batch(x, y, class_weight={0: 0.0, 1: 0.0, 2: 0.0})
    assert zero == 0


@pytest.mark.parametrize(
    ("make", "x", "y", "w", "error", "match"),
    [
        (linear, X, X[:, :1] * 9, None, ArgumentError, "expected classes as y, rec"),
        (lambda: by_place("mse", None, 4), SERIES, SERIES, None, ArgumentError,
         "rows that sum to 1"),
        (lambda: by_place("binary_crossentropy", "sigmoid"), SERIES,
         np.ones((50, 5, 3)), None, ArgumentError, "several labels a sample"),
        (by_place, SERIES, PLACES, np.ones((50, 4)), ShapeError,
         r"sample_weight: expected weights for classes of shape \(50, 5\)"),
        (classifier, X, LABELS, np.ones((50, 2)), ShapeError, r"shape \(50, 2"),
    ],
)  # fmt: skip
def test_class_weight_of_what_has_no_classes(make, x, y, w, error, match):
    with pytest.raises(error, match=match):
        make().train_on_batch(x, y, sample_weight=w, class_weight=FACTORS)


def test_class_weight_of_a_model_with_several_outputs_or_none():
    inputs = fc.Input((4,))
    model = fc.Model(inputs, [fc.layers.Dense(3)(inputs) for _ in range(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ArgumentError, match="one output, this one has 2"):
        model.train_on_batch(X, [hot(LABELS)] * 2, class_weight=FACTORS)

    class Steps(fc.Model):
        def train_step(self, data):
            _, _, weights = data
            return {"loss": fc.ops.sum(weights)}

    for y in (LABELS, hot(LABELS)):
        model = Steps()
        model.compile("sgd")
        found = model.train_on_batch(X, y, class_weight=FACTORS, return_dict=True)
        expected = sum(FACTORS.get(int(label), 1.0) for label in LABELS)
        assert found["loss"] == pytest.approx(expected)
    with pytest.raises(ArgumentError, match="may be class numbers or rows of 0 and 1"):
        model.train_on_batch(X, PLACES, class_weight=FACTORS)


def test_several_outputs():
    x = fc.Input((4,))
    a = fc.layers.Dense(1, name="a")(x)
    b = fc.layers.Dense(3, activation="softmax", name="b")(x)
    model = fc.Model(x, [a, b])
    model.compile(
        "sgd",
        loss={"a": "mse", "b": "sparse_categorical_crossentropy"},
        loss_weights={"a": 0.25},
        metrics={"b": ["accuracy"]},
    )
    y = {"b": LABELS, "a": X[:, :1]}
    logs = model.test_on_batch(X, y, return_dict=True)
    assert list(logs) == ["loss", "a_loss", "b_loss", "b_accuracy"]
    assert logs["loss"] == pytest.approx(0.25 * logs["a_loss"] + logs["b_loss"])
    history = model.fit(X, [X[:, :1], LABELS], epochs=5, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    with pytest.raises(ArgumentError, match="'c'"):
        model.compile("sgd", loss={"c": "mse"})
    with pytest.raises(ArgumentError, match="2 outputs"):
        model.compile("sgd", loss=["mse"] * 3)
    model.compile("sgd", ["mse", None])
    with pytest.raises(ArgumentError, match="expected 2"):
        model.fit(X, [X], verbose=0)


def test_output_without_a_loss():
    x = fc.Input((4,))
    a, b = fc.layers.Dense(1, name="a")(x), fc.layers.Dense(3, name="b")(x)
    model = fc.Model(x, [a, b])
    model.compile("sgd", {"a": "mse"})
    assert list(model.test_on_batch(X, {"a": X[:, :1]}, return_dict=True)) == [
        "loss", "a_loss"
    ]  # fmt: skip


def test_iterables_and_steps():
    batches = [(X[i : i + 10], LABELS[i : i + 10]) for i in range(0, 50, 10)]
    by_list, by_array = classifier(), classifier()
    by_list.fit(iter(batches), verbose=0)
    by_array.fit(X, LABELS, batch_size=10, shuffle=False, verbose=0)
    for a, b in zip(by_list.get_weights(), by_array.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    def endless():
        while True:
            yield from batches

    seen = []
    note = fc.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, _: seen.append(step)
    )
    model = classifier()
    model.fit(endless(), epochs=2, steps_per_epoch=3, verbose=0, callbacks=[note])
    assert seen == [0, 1, 2, 0, 1, 2]
    assert model.evaluate(endless(), steps=2, verbose=0) > 0
    with pytest.raises(ArgumentError, match="steps"):
        model.fit(X, LABELS, steps_per_epoch=0, verbose=0)


def test_all_in_one_batch_and_going_on():
    model = classifier()
    model.fit(X, LABELS, batch_size="all", epochs=2, verbose=0)
    assert model.optimizer.iterations == 2
    history = model.fit(X, LABELS, initial_epoch=2, epochs=4, verbose=0)
    assert history.epoch == [2, 3]
    with pytest.raises(ArgumentError, match="batch_size"):
        model.fit(X, LABELS, batch_size="some", verbose=0)


def test_order_depends_on_seed_and_epoch_only():
    straight, parts = classifier(), classifier()
    straight.fit(X, LABELS, epochs=3, verbose=0)
    parts.fit(X, LABELS, epochs=1, verbose=0)
    parts.fit(X, LABELS, initial_epoch=1, epochs=3, verbose=0)
    for a, b in zip(straight.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_validation_frequency():
    model = classifier()
    history = model.fit(
        X, LABELS, epochs=4, verbose=0, validation_data=(X, LABELS), validation_freq=2
    )
    assert len(history.history["val_loss"]) == 2


def test_own_loss_and_metric():
    def cube(y, p):
        return fc.ops.mean(fc.ops.abs(y - p) ** 3.0, axis=-1)

    def bias(y, p):
        return p - y

    model = linear()
    model.compile("sgd", cube, metrics=[bias, "mse"])
    logs = model.test_on_batch(X, X[:, :1], return_dict=True)
    assert list(logs) == ["loss", "bias", "mse"]
    difference = model.predict(X, verbose=0) - X[:, :1]
    assert logs["loss"] == pytest.approx((np.abs(difference) ** 3).mean(), rel=1e-4)
    assert logs["bias"] == pytest.approx(difference.mean(), rel=1e-3, abs=1e-6)


def test_learning_rate_schedule_runs_before_each_step():
    model = linear()
    model.optimizer.learning_rate = lambda step: 0.1 * (step == 0)
    model.train_on_batch(X, X[:, :1])
    weights = model.get_weights()
    model.train_on_batch(X, X[:, :1])
    np.testing.assert_array_equal(weights[0], model.get_weights()[0])


def test_one_line_an_epoch(capsys):
    linear().fit(X, X[:, :1], epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Epoch 1/2: ")
    assert "loss" in lines[1]


def test_bar(capsys):
    linear().fit(X, X[:, :1], epochs=1, verbose=1, validation_split=0.5)
    assert "val_loss" in capsys.readouterr().out


def test_empty_predict():
    assert classifier().predict(X[:0], verbose=0).shape == (0, 3)


BAD = {
    "no samples": (X[:0], LABELS[:0], DataError, "no samples"),
    "other lengths": (X, LABELS[:-1], ShapeError, "50"),
    "rank": (X[:, :, None, None], LABELS, ShapeError, "'features'.*expected shape"),
    "features": (X[:, :3], LABELS, ShapeError, r"\(None, 4\), received \(32, 3\)"),
    "NaN": (
        np.where(X[3, 1] == X, np.nan, X),
        LABELS,
        DataError,
        r"x: NaN at .*\(3, 1\)",
    ),
    "text": (np.full((50, 4), "a"), LABELS, DataError, "expected numbers"),
    "one-hot": (X, np.eye(3)[LABELS], ShapeError, "categorical_crossentropy"),
    "no targets": (X, None, ArgumentError, "targets"),
    "label too large": (X, np.full(50, 3), DataError, "3"),
    "label negative": (X, np.full(50, -1), DataError, "-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data(case):
    x, y, error, match = BAD[case]
    model = classifier()
    before = model.get_weights()
    with pytest.raises(error, match=match):
        model.fit(x, y, verbose=0)
    assert model.optimizer.iterations == 0
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_arguments():
    model = classifier()
    with pytest.raises(ArgumentError, match="compile"):
        fc.Sequential([fc.Input((4,)), fc.layers.Dense(1)]).fit(X, LABELS)
    with pytest.raises(UnknownNameError, match="optimizer"):
        model.compile("sdg")
    with pytest.raises(UnknownNameError, match="loss"):
        model.compile("sgd", "mes")
    with pytest.raises(UnknownNameError, match="metric"):
        model.compile("sgd", "mse", metrics=["accuraccy"])
    with pytest.raises(ArgumentError, match="epochs"):
        model.fit(X, LABELS, epochs=-1)
    with pytest.raises(ArgumentError, match="verbose"):
        model.fit(X, LABELS, verbose=3)
    with pytest.raises(ArgumentError, match="batch_size"):
        model.fit(X, LABELS, batch_size=0)
    with pytest.raises(ArgumentError, match="validation_split"):
        model.fit(X, LABELS, validation_split=1.5)


def test_memory_is_refused_with_a_batch_that_fits(monkeypatch):
    model = fc.Sequential([fc.Input((64, 64, 3)), fc.layers.Conv2D(8, 3)])
    limit = model.memory(20, training=False)["arena"]
    monkeypatch.setattr("fastconv.training.step_plans.available_bytes", lambda: limit)
    with pytest.raises(
        OutOfMemoryError, match=r"a batch size of (1[0-9]|20) would fit"
    ):
        model.predict_on_batch(np.zeros((128, 64, 64, 3), np.float32))
    assert len(model.predict_on_batch(np.zeros((16, 64, 64, 3), np.float32))) == 16


def test_metrics_in_the_place_of_loss_weights():
    model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(2, activation="softmax")])
    with pytest.raises(ArgumentError, match=r"metrics=\[\.\.\.\]"):
        model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
