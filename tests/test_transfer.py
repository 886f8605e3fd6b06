"""Transfer learning: frozen bases, rates by group, unfreezing, features in files."""

from collections import Counter

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, models
from fastconv.training import plan_report

HEAD = {  # the ops that a softmax head, its loss and an update add to inference
    "gemm", "reshape", "concat", "binary", "reduce", "broadcast", "sgd",
    "softmax_cross_entropy", "softmax_cross_entropy_backward",
}  # fmt: skip


def network(seed=0):
    fc.utils.set_random_seed(seed)
    base = fc.Sequential(
        [
            fc.Input((8, 8, 1)),
            fc.layers.Conv2D(4, 3, name="first"),
            fc.layers.BatchNormalization(name="norm"),
            fc.layers.Activation("relu", name="relu"),
            fc.layers.Conv2D(6, 3, activation="relu", name="second"),
            fc.layers.GlobalAveragePooling2D(name="mean"),
        ],
        name="base",
    )
    return fc.Sequential([base, fc.layers.Dense(3, "softmax", name="head")])


def data(count=24):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 8, 8, 1)).astype("f")
    return x, rng.integers(0, 3, count)


def names(groups):
    return [[layer.name for layer in group] for group in groups]


# What a frozen base costs


@pytest.mark.parametrize(
    "name", ["ResNet18", "MobileNetV2", "InceptionV3", "VGG11", "DenseNet121"]
)
def test_a_frozen_base_costs_inference(name):
    network = getattr(models, name)
    shape = (network.smallest, network.smallest, 3)
    base = network(include_top=False, weights=None, input_shape=shape, pooling="avg")
    base.trainable = False
    base.compile()
    head = fc.layers.Dense(4, activation="softmax")(base.output)
    model = fc.Model(base.input, head)
    model.compile(fc.optimizers.SGD(0.1, 0.9), "sparse_categorical_crossentropy")
    step = plan_report.plan(model, 8, training=True)
    inference = plan_report.plan(base, 8, training=False)

    trained, inferred = (Counter(r.op for r in p.report()) for p in (step, inference))
    assert trained >= inferred
    assert set(trained - inferred) <= HEAD  # no backward work, nothing normalised
    assert "batch_norm" not in trained
    flops = [sum(r.flops for r in p.report()) for p in (step, inference)]
    assert flops[0] < 1.1 * flops[1]
    assert step.arena_bytes <= 1.01 * inference.arena_bytes  # no activation is kept
    extra = model.memory(8)["total"] - base.memory(8, training=False)["total"]
    slots = 2 * sum(w.nbytes for w in model.layers[-1].get_weights())  # and weights
    assert extra < slots + 4096


def test_a_frozen_layer_in_training_is_as_in_inference():
    model = network()
    x, y = data()
    model.layers[0].trainable = False
    model.compile(fc.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    before = model.layers[0].get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    for ours, theirs in zip(model.layers[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Groups and rates


def test_groups_of_layers():
    model = network()
    groups = fc.transfer.layer_groups(model, ["relu", "base"])
    assert names(groups) == [["first", "norm"], ["second"], ["head"]]
    assert names(fc.transfer.layer_groups(model, ["relu", "second", "mean"])) == (
        names(groups)
    )
    assert names(fc.transfer.layer_groups(model, []))[0][-1] == "head"
    with pytest.raises(errors.UnknownNameError, match="second"):
        fc.transfer.layer_groups(model, ["secondd"])


def test_groups_of_a_network_of_the_zoo():
    base = models.ResNet20(include_top=False, pooling="avg")
    model = fc.Model(base.input, fc.layers.Dense(5, name="head")(base.output))
    groups = fc.transfer.layer_groups(model, models.ResNet20.levels.values())
    assert [group[0].name for group in groups] == [
        "conv1", "layer2.0.conv1", "layer3.0.conv1", "head",
    ]  # fmt: skip
    assert sum(len(group) for group in groups) == sum(
        bool(layer.weights) for layer in model.layers
    )


def test_rates_of_groups():
    model = network()
    x, y = data()
    groups = fc.transfer.layer_groups(model, ["relu", "base"])
    fc.transfer.discriminative_rates(groups)
    rates = [group[0].learning_rate_multiplier for group in groups]
    np.testing.assert_allclose(rates, [2.6**-2, 1 / 2.6, 1.0])
    fc.transfer.discriminative_rates(groups, [0.0, 0.5, 1.0])
    model.compile(fc.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    start = network()
    model.train_on_batch(x, y)
    start.compile(fc.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    initial = network()
    start.train_on_batch(x, y)
    moved = []
    for layer in ("first", "second"):
        ours, full, zero = (
            m.layers[0].get_layer(layer).kernel.numpy() for m in (model, start, initial)
        )
        moved.append(np.abs(ours - zero).sum() / np.abs(full - zero).sum())
    np.testing.assert_allclose(moved, [0.0, 0.5], rtol=1e-3)
    for bad in ([1.0], 0, [1.0, -1.0, 1.0]):
        with pytest.raises(errors.ArgumentError):
            fc.transfer.discriminative_rates(groups, bad)


# Unfreezing


def unfreezing(model, epochs=1):
    groups = fc.transfer.layer_groups(model, ["relu", "base"])
    return fc.callbacks.GradualUnfreezing(groups, epochs)


def compiled(model):
    model.compile(
        fc.optimizers.Adam(0.01, global_clipnorm=1.0), "sparse_categorical_crossentropy"
    )
    return model


class Watch(fc.callbacks.Callback):
    """Which layers change in each epoch."""

    def __init__(self):
        self.changed = []

    def kernels(self):
        base, head = self.model.layers
        return [base.get_layer("first"), base.get_layer("second"), head]

    def on_epoch_begin(self, epoch, logs=None):
        self.before = [layer.kernel.numpy() for layer in self.kernels()]

    def on_epoch_end(self, epoch, logs=None):
        now = [layer.kernel.numpy() for layer in self.kernels()]
        self.changed.append(
            [not np.array_equal(a, b) for a, b in zip(now, self.before, strict=True)]
        )


def test_groups_join_by_and_by():
    model, watch = compiled(network()), Watch()
    x, y = data()
    model.fit(x, y, epochs=5, verbose=0, callbacks=[unfreezing(model, [1, 3]), watch])
    assert watch.changed == [
        [False, False, True],
        [False, True, True],
        [False, True, True],
        [True, True, True],
        [True, True, True],
    ]
    assert model.optimizer.iterations == 5
    momentum = next(iter(model.optimizer.variables().values()))
    assert set(momentum) == set(model.trainable_weights)
    assert all(np.abs(slot.value).sum() > 0 for slot in momentum.values())


@pytest.mark.parametrize("freq", ["epoch", 1])
def test_unfreezing_goes_on(tmp_path, freq):
    x, y = data(96)

    class Stop(fc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (self.model.optimizer.iterations, self.stop) == (5, True):
                raise RuntimeError("cut off")

    def train(folder, stop):
        model, cut = compiled(network()), Stop()
        cut.stop = stop
        backup = fc.callbacks.BackupAndRestore(folder, freq, delete_checkpoint=False)
        model.fit(x, y, epochs=3, verbose=0, callbacks=[unfreezing(model), cut, backup])
        return model.get_weights()

    whole = train(tmp_path / "whole", False)
    with pytest.raises(RuntimeError, match="cut off"):
        train(tmp_path / "cut", True)
    for ours, theirs in zip(train(tmp_path / "cut", False), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("epochs", [0, [1], [2, 1], [1, 2, 3]])
def test_epochs_that_do_not_fit(epochs):
    with pytest.raises(errors.ArgumentError, match="rising list"):
        unfreezing(network(), epochs)


# Features


def test_features_in_a_file(tmp_path):
    base = network().layers[0]
    x, y = data(50)
    expected = base.predict(x, batch_size=7, verbose=0)
    features = fc.transfer.extract(base, x, tmp_path / "x.npy", batch_size=7)
    assert isinstance(features, np.memmap)
    np.testing.assert_array_equal(features, expected)
    batches = ((x[i : i + 20], y[i : i + 20]) for i in range(0, 50, 20))
    features, labels = fc.transfer.extract(
        base, batches, tmp_path / "x.npy", labels=tmp_path / "y.npy"
    )
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, y)
    head = fc.Sequential([fc.Input((6,)), fc.layers.Dense(3, "softmax")])
    head.compile("adam", "sparse_categorical_crossentropy")
    history = head.fit(features, labels, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "y.npy"]


def test_features_that_cannot_be_written(tmp_path):
    base = network().layers[0]
    x, _ = data()
    with pytest.raises(errors.DataError, match="no y"):
        fc.transfer.extract(base, x, tmp_path / "x.npy", labels=tmp_path / "y.npy")
    with pytest.raises(errors.DataError, match="no samples"):
        fc.transfer.extract(base, x[:0], tmp_path / "x.npy")
    several = models.ResNet20(features_only=True)
    with pytest.raises(errors.ArgumentError, match="one output"):
        fc.transfer.extract(several, np.zeros((2, 32, 32, 3)), tmp_path / "x.npy")
    with pytest.raises(OSError, match=r"x\.npy"):
        fc.transfer.extract(base, x, tmp_path / "nowhere" / "x.npy")
    assert not list(tmp_path.iterdir())
