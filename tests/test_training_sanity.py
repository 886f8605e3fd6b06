"""Checks before the first epoch: planted faults are named, a healthy run passes."""

import logging

import numpy as np
import pytest

import fastconv as fc
from fastconv.callbacks import LambdaCallback
from fastconv.data import digits
from fastconv.models.lenet import LeNet5
from fastconv.training import sanity
from fastconv.training.feeding import Epochs, feed
from fastconv.training.sanity import duplicates, probe

RNG = np.random.default_rng(3)
X = RNG.standard_normal((256, 6)).astype(np.float32)
Y = RNG.integers(0, 4, 256)
VALIDATION = (X + 1, Y)
Dense, Input = fc.layers.Dense, fc.Input


def classifier(*middle, units=4, activation="softmax", loss=None, **options):
    fc.utils.set_random_seed(2)
    layers = middle or (Dense(16, activation="relu", name="hidden"),)
    last = Dense(units, activation=activation, name="out")
    model = fc.Sequential([Input((6,)), *layers, last])
    model.compile("adam", loss or "sparse_categorical_crossentropy", **options)
    return model


def findings(model, x=X, y=Y, **options):
    """The messages by check."""
    history = model.fit(x, y, verbose=0, **options)
    found: dict[str, str] = {}
    for finding in history.findings:
        found[finding.check] = found.get(finding.check, "") + finding.message
    return found


def looked(model, x, y, validation=None):
    """The same, without training after it."""
    other = None if validation is None else Epochs(feed(*validation), None)
    found: dict[str, str] = {}
    for finding in sanity.check(model, Epochs(feed(x, y), None), other):
        found[finding.check] = found.get(finding.check, "") + finding.message
    return found


def lenet(variant="modern"):
    fc.utils.set_random_seed(0)
    model = LeNet5(variant=variant)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("variant", ["modern", "paper"])
def test_a_healthy_lenet_has_no_findings(variant):
    (x, y), (x_test, y_test) = digits.load_data()
    x, x_test = (np.float32(part) / 255 for part in (x, x_test))
    assert looked(lenet(variant), x, y, (x_test, y_test)) == {}


def test_healthy_small_models_have_no_findings():
    assert findings(classifier(), validation_data=VALIDATION) == {}
    hot = fc.utils.to_categorical(Y, 4)
    assert findings(classifier(loss="categorical_crossentropy"), y=hot) == {}
    logits = fc.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert findings(classifier(activation=None, loss=logits)) == {}
    yes = (X[:, 0] > 0).astype(np.float32)
    binary = classifier(units=1, activation="sigmoid", loss="binary_crossentropy")
    assert findings(binary, y=yes) == {}
    line = classifier(units=1, activation=None, loss="mse")
    assert findings(line, y=X[:, :1] * 2) == {}


def test_training_is_the_same_to_the_byte_with_and_without():
    def trained(check):
        layers = fc.layers
        model = classifier(
            Dense(12, activation="relu"), layers.BatchNormalization(),
            layers.Dropout(0.3),
        )  # fmt: skip
        model.fit(X, Y, epochs=2, verbose=0, sanity=check, validation_data=VALIDATION)
        slots = [
            slot.numpy()
            for known in model.optimizer.variables().values()
            for slot in known.values()
        ]
        state = [model._seed_and_step.numpy(), np.array(model.optimizer.iterations)]
        return [*model.get_weights(), *slots, *state]

    def unbuilt(check):
        fc.utils.set_random_seed(2)
        model = fc.Sequential([Dense(8, activation="relu"), Dense(4, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        batches = ((X[i : i + 32], Y[i : i + 32]) for i in range(0, 256, 32))
        model.fit(batches, verbose=0, sanity=check)
        return model.get_weights()

    for run in (trained, unbuilt):
        for a, b in zip(run(True), run(False), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_check_itself_changes_nothing():
    norm = fc.layers.BatchNormalization()
    model = classifier(norm, Dense(8, activation="relu"), fc.layers.Dropout(0.5))
    before = [w.numpy() for w in (*model.weights, model._seed_and_step)]
    sanity.check(model, Epochs(feed(X, Y), None), None)
    for a, b in zip(before, (*model.weights, model._seed_and_step), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0
    assert not any(model.optimizer.variables().values())


def test_when_it_runs(monkeypatch, caplog):
    model = classifier()
    assert "scale" in findings(model, X * 1000)
    assert caplog.text.count("reads inputs of mean") == 1
    assert findings(model, X * 1000) == {}, "only a fresh model is checked"
    assert findings(classifier(), X * 1000, initial_epoch=1, epochs=2) == {}
    assert findings(classifier(), X * 1000, sanity=False) == {}
    monkeypatch.setenv("FASTCONV_SANITY", "0")
    assert findings(classifier(), X * 1000) == {}
    assert "scale" in findings(classifier(), X * 1000, sanity=True)


def test_it_comes_before_the_first_callback():
    model = classifier()
    seen = []
    note = LambdaCallback(on_train_begin=lambda *_: seen.extend(model.history.findings))
    model.fit(X * 1000, Y, verbose=0, callbacks=[note])
    assert seen


# Planted faults


def test_scale_after_the_layers_that_prepare():
    pixels = RNG.integers(0, 256, (128, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(128) % 4

    def model(*first):
        fc.utils.set_random_seed(1)
        conv = fc.layers.Conv2D(4, 3, activation="relu", name="conv")
        rest = [conv, fc.layers.Flatten(), Dense(4, activation="softmax")]
        model = fc.Sequential([Input((8, 8, 1)), *first, *rest])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    raw = looked(model(), pixels, labels)
    assert "'conv' reads inputs of mean 12" in raw["scale"]
    for first in (fc.layers.Rescaling(1 / 255), fc.layers.BatchNormalization()):
        assert "scale" not in looked(model(first), pixels, labels)
    assert "scale" in looked(model(fc.layers.Rescaling(1e-6)), pixels, labels)


def test_constant_and_infinite_inputs():
    assert "256 samples" in looked(classifier(), np.ones_like(X), Y)["constant"]
    wild = X.copy()
    wild[3, 2] = np.inf
    assert "1 of 1536 values" in looked(classifier(), wild, Y)["finite"]


def test_labels_out_of_range():
    found = looked(classifier(), X, Y + 1)["labels"]
    assert "from 1 to 4, expected 0 to 3" in found
    assert "from -1 to 2" in looked(classifier(), X, Y - 1)["labels"]
    model = classifier()
    with pytest.raises(fc.errors.DataError):
        model.fit(X, Y + 1, verbose=0)
    assert "expected 0 to 3" in model.history.findings[0].message


def test_labels_that_are_no_classes():
    assert "class numbers" in looked(classifier(), X, Y + 0.5)["labels"]
    hot = fc.utils.to_categorical(Y, 4)
    one_hot = classifier(loss="categorical_crossentropy")
    assert "sums to 2" in looked(one_hot, X, hot * 2)["labels"]
    binary = classifier(units=1, activation="sigmoid", loss="binary_crossentropy")
    assert "from 0 to 3" in looked(binary, X, np.float32(Y))["labels"]
    missing = np.float32(Y)
    missing[5] = np.nan
    batches = feed(iter([(X, missing)]))
    found = sanity.check(classifier(), Epochs(batches, None), None)
    assert "1 of 256 targets are NaN" in found[0].message


def test_ignored_labels_are_no_fault():
    loss = fc.losses.SparseCategoricalCrossentropy(ignore_class=255)
    labels = np.where(np.arange(256) % 9 == 0, 255, Y)
    assert "labels" not in looked(classifier(loss=loss), X, labels)


def test_units_and_classes():
    assert "has 7 units" in looked(classifier(units=7), X, Y)["units"]
    assert "softmax over one" in looked(classifier(units=1), X, Y * 0)["units"]


def test_imbalance():
    labels = np.repeat([0, 1, 2, 3], [220, 12, 12, 12])
    found = looked(classifier(), X, labels)["imbalance"]
    assert "220 samples" in found
    assert "85.9%" in found
    assert "labels looked at are 2" in looked(classifier(), X, Y * 0 + 2)["constant"]


def test_same_samples_in_training_and_validation():
    other = np.concatenate([X[40:50], X[:90] + 1])
    found = looked(classifier(), X, Y, (other, Y[:100]))["duplicates"]
    assert found.startswith("10 of 100 validation samples")
    assert "validation 0 is training 40" in found
    assert "duplicates" not in looked(classifier(), X, Y, (X + 1, Y))


@pytest.mark.parametrize("given", [True, False])
def test_augmentation_hides_nothing(given):
    """All targets, and the images before the changes, are looked at as without it."""
    x = RNG.standard_normal((256, 4, 4, 1)).astype(np.float32)
    labels = np.repeat([0, 1, 2], [232, 12, 12])
    model = fc.Sequential([Input((4, 4, 1)), fc.layers.Flatten(), Dense(4)])
    model.compile("sgd", fc.losses.SparseCategoricalCrossentropy(from_logits=True))
    turn = fc.layers.RandomFlip("horizontal", seed=1)
    other = {"validation_data": (x[40:50], labels[40:50]), "verbose": 0}
    if given:
        data = fc.data.augment((x, labels), turn, batch_size=32)
        found = model.fit(data, **other).findings
    else:
        found = model.fit(x, labels, augment=turn, **other).findings
    messages = {finding.check: finding.message for finding in found}
    assert "10 of 10 validation samples" in messages["duplicates"]
    assert "232 samples" in messages["imbalance"]
    assert "the labels go only to 2" in messages["units"]


def test_rows_that_differ_in_one_value_are_no_duplicates():
    wide = RNG.standard_normal((20, 1000)).astype(np.float32)
    for column in (0, 1, 7, 999):
        near = wide.copy()
        near[:, column] += 1
        assert duplicates.faults(wide, near) == []
    assert len(duplicates.faults(wide, wide[::-1])) == 1
    parts = {"a": wide, "b": wide}
    assert duplicates.faults(parts, {"a": wide, "b": wide + 1}) == []
    assert duplicates.faults(wide, None) == []
    assert duplicates.faults(wide, wide[:, :9]) == []


def test_comparing_is_bounded(tmp_path, monkeypatch):
    wide = RNG.standard_normal((50, 200)).astype(np.float32)
    monkeypatch.setattr(duplicates, "VALUES", 200 * 9)
    assert "10 of 10" in duplicates.faults(wide, wide)[0].message
    np.save(tmp_path / "x.npy", wide)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert len(duplicates._marks([mapped])) == 200 * 9 // 800
    turned = np.moveaxis(wide.reshape(50, 2, 100), 1, -1)  # not contiguous
    assert len(duplicates.faults(turned, np.ascontiguousarray(turned)[40:])) == 1
    blank = np.zeros((50, 3), np.float32)
    assert "50 of 50" in duplicates.faults(blank, blank)[0].message
    numbers = np.arange(20.0)
    assert "20 of 20" in duplicates.faults(numbers, numbers)[0].message
    monkeypatch.setattr(sanity, "BYTES", 24 * 10)
    rows = []
    monkeypatch.setattr(sanity.inputs, "faults", lambda x: rows.append(len(x)) or [])
    looked(classifier(), X, Y)
    assert rows == [10]


def test_initial_loss():
    big = fc.initializers.RandomNormal(stddev=30.0)
    found = looked(classifier(Dense(8, kernel_initializer=big)), X, Y)["loss"]
    assert "expected about 1.386 (ln 4)" in found
    far = looked(classifier(units=1, activation=None, loss="mse"), X, X[:, 0] + 100)
    assert "the variance of y" in far["loss"]
    leak = np.eye(4, 6, dtype=np.float32)[Y] * 40
    model = classifier(fc.layers.Dropout(0.0))
    model.set_weights([np.eye(6, 4, dtype=np.float32), np.zeros(4, np.float32)])
    assert "hold the labels" in looked(model, leak, Y)["loss"]
    huge = classifier(units=1, activation=None, loss="mse")
    huge.set_weights([w * 1e30 for w in huge.get_weights()])
    assert "is inf" in looked(huge, X, X[:, :1])["loss"]


def test_loss_and_activation_that_do_not_fit():
    logits = fc.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert "again" in looked(classifier(loss=logits), X, Y)["activation"]
    plain = looked(classifier(activation=None), X, Y)["activation"]
    assert "end the model with softmax" in plain
    many = classifier(activation="sigmoid", loss="categorical_crossentropy")
    hot = fc.utils.to_categorical(Y, 4)
    assert "end the model with softmax" in looked(many, X, hot)["activation"]
    yes = np.float32(Y > 1)
    bare = classifier(units=1, activation=None, loss="binary_crossentropy")
    assert "sigmoid" in looked(bare, X, yes)["activation"]
    loss = fc.losses.BinaryCrossentropy(from_logits=True)
    twice = classifier(units=1, activation="sigmoid", loss=loss)
    assert "applies another" in looked(twice, X, yes)["activation"]


def test_dead_units_and_layers_without_gradient():
    low = fc.initializers.Constant(-100.0)
    dead = Dense(16, activation="relu", bias_initializer=low, name="dead")
    found = looked(classifier(Dense(8, name="first"), dead), X, Y)
    assert "'dead' 16 of 16" in found["dead"]
    assert "'first', 'dead'" in found["gradient"]
    assert "same for all samples" in found["predictions"]


def test_zeros_behind_a_layer_stop_its_gradient():
    model = classifier()
    hidden, bias, last, _ = model.get_weights()
    model.set_weights([hidden, bias, last * 0, np.zeros(4, np.float32)])
    found = looked(model, X, Y)
    assert "'hidden'" in found["gradient"]
    assert "'out'" not in found["gradient"]


def test_gradient_that_is_no_number():
    class Root(fc.layers.Layer):
        def call(self, x):
            return fc.ops.sqrt(fc.ops.abs(x) * 0.0)

    found = looked(classifier(Dense(6, name="first"), Root()), X, Y)
    assert "'first'" in found["gradient"]
    assert "infinite or NaN" in found["gradient"]


def test_several_outputs_and_one_without_a_loss():
    x = Input((6,))
    a, b = Dense(1, name="a")(x), Dense(4, activation="softmax", name="b")(x)
    c = Dense(2, name="c")(x)
    model = fc.Model(x, [a, b, c])
    losses = {"a": "mse", "b": "sparse_categorical_crossentropy"}
    model.compile("sgd", losses)
    found = looked(model, X, {"a": X[:, :1], "b": Y + 1})
    assert "output 'b'" in found["labels"]
    found = looked(model, X, {"a": X[:, :1], "b": Y})
    assert list(found) == ["gradient"]
    assert "'c'" in found["gradient"]


# What is left out


def test_work_is_bounded(monkeypatch, caplog):
    (x, y), _ = digits.load_data()
    model = lenet()
    look = probe.Probe(model, np.float32(x[:64]) / 255, [y[:64]], True)
    assert look.skipped == []
    assert 0 < look.cost * probe.BACKWARD < probe.WORK / 10
    monkeypatch.setattr(probe, "WORK", look.cost * 2)
    half = probe.Probe(model, np.float32(x[:64]) / 255, [y[:64]], True)
    assert "gradients" not in half.figures
    assert "losses" in half.figures
    monkeypatch.setattr(probe, "WORK", look.cost // 2)
    with caplog.at_level(logging.DEBUG, "fastconv"):
        found = looked(model, x, y)
    assert "left out" in caplog.text
    assert list(found) == ["scale"], "the scale is known without the pass"


def test_no_more_memory_than_there_is(monkeypatch):
    monkeypatch.setattr(probe, "available_bytes", lambda: 1000)
    look = probe.Probe(classifier(), X, [Y], True)
    assert look.figures == {}
    assert "1,000 are available" in look.skipped[0]


def test_host_functions_and_other_devices_are_left_alone():
    called = []

    def double(a):
        called.append(len(a))
        return a * 2

    class Host(fc.layers.Layer):
        def call(self, x):
            return fc.ops.callback(double, x, (x.shape, x.dtype))

    model = fc.Sequential([Input((6,)), Host(), Dense(4, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    look = probe.Probe(model, X, [Y], True)
    assert called == []
    assert "host functions" in look.skipped[0]
    plain = classifier(device="reference")
    assert "no plans" in probe.Probe(plain, X, [Y], True).skipped[0]


def test_a_generator_loses_no_batch():
    batches = [(X[i : i + 64], Y[i : i + 64]) for i in range(0, 256, 64)]
    for steps in (None, 4):
        seen = []

        def source(seen=seen):
            for x, y in batches:
                seen.append(x[0, 0])
                yield x, y

        count = []
        note = LambdaCallback(on_train_batch_end=lambda b, _, c=count: c.append(b))
        model = classifier()
        model.fit(source(), verbose=0, steps_per_epoch=steps, callbacks=[note])
        assert seen == [x[0, 0] for x, _ in batches]
        assert count == [0, 1, 2, 3]
