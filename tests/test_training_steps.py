"""Steps of one's own, added losses, and metrics inside of steps."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError

rng = np.random.default_rng(5)
X = rng.standard_normal((20, 3)).astype("f4")
Y = rng.standard_normal((20, 2)).astype("f4")
W = rng.random(20).astype("f4")
OPTIONS = {"batch_size": 8, "epochs": 3, "verbose": 0, "shuffle": False}


class Plain(fc.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [fc.layers.Dense(4, "tanh"), fc.layers.Dense(2)]
        fc.random.set_seed(1)
        self.build((None, 3))

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        return x


class AsKeras(Plain):
    """As the guides of Keras write a step."""

    def train_step(self, data):
        x, y, *w = data
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred, sample_weight=w[0] if w else None)
        gradients = fc.grad(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return self.compute_metrics(x, y, y_pred, w[0] if w else None)


def fitted(model, *data, **options):
    model.compile(fc.optimizers.Adam(0.05), "mse", metrics=["mae"])
    history = model.fit(*data, **{**OPTIONS, **options}).history
    return history, model.get_weights()


@pytest.mark.parametrize("w", [None, W])
def test_a_step_of_ones_own_is_the_step_of_the_model(w):
    history, weights = fitted(Plain(), X, Y, sample_weight=w)
    own, own_weights = fitted(AsKeras(), X, Y, sample_weight=w)
    assert own == history
    for a, b in zip(weights, own_weights, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_step_is_traced_once_for_a_shape():
    traced = []

    class Counting(AsKeras):
        def train_step(self, data):
            traced.append(data[0].shape[0])
            return super().train_step(data)

    fitted(Counting(), X, Y)
    assert traced == [8, 4]


def test_what_a_step_returns_is_logged_as_a_mean_over_samples():
    class Logs(Plain):
        def train_step(self, data):
            x, _ = data
            logs = {"first": fc.ops.mean(x), "two": 2.0}
            return {**logs, **AsKeras.train_step(self, data)}

        def test_step(self, data):
            return {"size": fc.ops.sum(fc.ops.ones_like(data[0]))}

    history, _ = fitted(Logs(), X, Y)
    assert set(history) == {"loss", "mae", "first", "two"}
    np.testing.assert_allclose(history["first"], X.mean(), rtol=1e-5)
    model = Logs()
    fitted(model, X, Y, epochs=1)
    sizes = model.evaluate(X, Y, 8, 0, return_dict=True)
    assert sizes == {"size": pytest.approx((24 * 8 + 24 * 8 + 12 * 4) / 20)}


def test_metrics_inside_a_step():
    """The loop of Keras's guide, with metrics in attributes of the model."""

    class Own(Plain):
        def __init__(self):
            super().__init__()
            self.tracker = fc.metrics.Mean(name="loss")
            self.mae = fc.metrics.MeanAbsoluteError(name="mae")
            self.precision = fc.metrics.Precision(thresholds=[0.2, 0.6])

        def train_step(self, data):
            x, y = data
            y_pred = self(x, training=True)
            loss = fc.ops.mean(fc.ops.square(y - y_pred))
            self.optimizer.apply_gradients(
                zip(fc.grad(loss, self.trainable_weights), self.trainable_weights,
                    strict=True)
            )  # fmt: skip
            self.tracker.update_state(loss)
            self.precision.update_state(y > 0.0, fc.ops.sigmoid(y_pred))
            return {"loss": self.tracker.result(), "mae": self.mae(y, y_pred),
                    "precision": self.precision.result()}  # fmt: skip

    own, plain = Own(), Plain()
    a, weights = fitted(own, X[:16], Y[:16])
    b, expected = fitted(plain, X[:16], Y[:16])
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-6)
    np.testing.assert_allclose(a["mae"], b["mae"], rtol=1e-6)
    assert {"precision_0", "precision_1"} < set(a)
    assert [m.name for m in own.metrics[:3]] == ["loss", "mae", "precision"]
    for v, e in zip(weights, expected, strict=True):
        np.testing.assert_allclose(v, e, rtol=1e-6)


def test_a_loss_of_ones_own():
    class Half(Plain):
        def compute_loss(self, *args, **kwargs):
            return 0.5 * super().compute_loss(*args, **kwargs)

    half, whole = Half(), Plain()
    for model, scale in ((half, 1.0), (whole, 0.5)):
        model.compile(fc.optimizers.SGD(0.1 * scale), "mse")
        model.fit(X, Y, **OPTIONS)
        loss = model.evaluate(X, Y, verbose=0) * scale
    assert half.evaluate(X, Y, verbose=0) == pytest.approx(loss, 1e-5)
    for a, b in zip(half.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class Penalty(fc.layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * fc.ops.mean(fc.ops.square(x)))
        return x


def test_added_losses_are_part_of_the_loss():
    dense, penalty = fc.layers.Dense(2, use_bias=False), Penalty()
    model = fc.Sequential([fc.Input((3,)), dense, penalty])
    model.compile(fc.optimizers.SGD(0.1), "mse")
    k = dense.kernel.numpy().astype(float)
    y = X @ k
    total = ((Y - y) ** 2).mean() + 0.1 * (y**2).mean()
    slope = X.T @ (2 * (y - Y) + 0.2 * y) / y.size
    assert model.evaluate(X, Y, verbose=0, batch_size=20) == pytest.approx(total, 1e-5)
    assert model.train_on_batch(X, Y) == pytest.approx(total, 1e-5)
    np.testing.assert_allclose(dense.kernel.numpy(), k - 0.1 * slope, rtol=1e-4)
    assert model.losses == []


def test_added_losses_alone():
    model = fc.Sequential([fc.Input((3,)), fc.layers.Dense(2), Penalty()])
    model.compile("sgd")
    history = model.fit(X, **OPTIONS).history["loss"]
    assert history[-1] < history[0]
    silent = fc.Sequential([fc.Input((3,)), fc.layers.Dense(2)])
    silent.compile("sgd")
    with pytest.raises(ArgumentError, match="add_loss in a layer"):
        silent.fit(X, **OPTIONS)


def test_add_loss_takes_scalars():
    class Wrong(fc.layers.Layer):
        def call(self, x):
            self.add_loss(x)
            return x

    with pytest.raises(fc.errors.ShapeError, match="add_loss expected a scalar"):
        fc.Sequential([fc.Input((3,)), Wrong(name="w")])


class Adversary(fc.Model):
    """Two networks, two optimisers, no call."""

    def __init__(self):
        super().__init__()
        self.maker = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
        self.judge = fc.Sequential([fc.Input((3,)), fc.layers.Dense(1)])

    def compile(self, judge_optimizer, maker_optimizer):
        super().compile()
        self.judge_optimizer, self.maker_optimizer = judge_optimizer, maker_optimizer

    def train_step(self, data):
        real, noise = data
        bce = fc.losses.BinaryCrossentropy(from_logits=True)
        ones = fc.ops.ones((real.shape[0], 1))
        made = self.maker(noise, training=True)
        judged = bce(ones, self.judge(real)) + bce(0.0 * ones, self.judge(made))
        weights = self.judge.trainable_weights
        self.judge_optimizer.apply(fc.grad(judged, weights), weights)
        fooled = bce(ones, self.judge(made))  # by the judge as it is now
        weights = self.maker.trainable_weights
        self.maker_optimizer.apply(fc.grad(fooled, weights), weights)
        return {"judged": judged, "fooled": fooled}


def test_two_networks_against_each_other():
    model = Adversary()
    first, second = fc.optimizers.Adam(0.01), fc.optimizers.SGD(0.02)
    model.compile(first, second)
    before = model.get_weights()
    history = model.fit(X, X[:, :2], **OPTIONS).history
    assert set(history) == {"judged", "fooled"}
    assert (first.iterations, second.iterations) == (9, 9)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_mistakes_in_steps_are_told():
    class NoDict(Plain):
        def train_step(self, data):
            return data[0]

    class NoLoss(Plain):
        def train_step(self, data):
            return self.compute_metrics(*data, self(data[0]))

    for model, match in ((NoDict(), "returns a dict"), (NoLoss(), "compute_loss")):
        model.compile("sgd", "mse")
        with pytest.raises(ArgumentError, match=match):
            model.fit(X, Y, verbose=0)
    with pytest.raises(ArgumentError, match="train_step and test_step"):
        fc.function(lambda v: fc.metrics.Mean().update_state(v))(X)
    with pytest.raises(ArgumentError, match="call compile"):
        Plain().fit(X, Y)
