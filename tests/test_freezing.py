"""fc.freeze: models for inference, whose kernels keep their weights packed."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core, mixed_precision
from fastconv.errors import ArgumentError
from fastconv.training import plan_report


def network(*layers, shape, seed=0):
    fc.random.set_seed(seed)
    model = fc.Sequential([fc.Input(shape), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def images(model, batch, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, *model.input_shape[1:]), np.float32)


def residual_network(policy=None):
    fc.random.set_seed(0)
    conv = fc.layers.Conv2D
    x = entry = fc.Input((14, 14, 32))
    for stride in (1, 2):
        same = conv(64, 1, stride, dtype=policy)(x)
        x = conv(64, 3, stride, padding="same", use_bias=False, dtype=policy)(x)
        x = fc.layers.BatchNormalization(dtype=policy)(x)
        x = fc.layers.ReLU(dtype=policy)(fc.layers.Add(dtype=policy)([x, same]))
    x = conv(96, 3, padding="same", activation="relu", dtype=policy)(x)
    x = fc.layers.GlobalAveragePooling2D(dtype=policy)(x)
    model = fc.Model(entry, fc.layers.Dense(10, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def kernels_of(model, batch):
    return {(s.op, s.kernel) for s in plan_report.plan(model, batch, False).report()}


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_a_frozen_network_computes_what_the_model_does(batch):
    model = residual_network()
    x, labels = images(model, 40), np.arange(40) % 10
    model.fit(x, labels, epochs=2, batch_size=8, verbose=0)
    frozen = fc.freeze(model)
    made, expected = (m.predict_on_batch(x[:batch]) for m in (frozen, model))
    np.testing.assert_allclose(made, expected, rtol=2e-4, atol=2e-6)
    assert np.isclose(
        frozen.evaluate(x, labels, verbose=0), model.evaluate(x, labels, verbose=0)
    )


@pytest.mark.parametrize(
    ("kernel", "layer", "shape"),
    [
        ("winograd", fc.layers.Conv2D(64, 3, padding="same"), (14, 14, 64)),
        ("winograd", fc.layers.Conv2D(37, 5, padding="same"), (13, 15, 48)),
        ("winograd", fc.layers.Conv2D(96, 3, padding="same"), (60, 52, 32)),
        ("implicit_gemm", fc.layers.Conv2D(70, 3, 2), (15, 14, 33)),
        ("implicit_gemm", fc.layers.Conv2D(64, 3, 2, groups=4), (9, 9, 96)),
        ("winograd", fc.layers.Conv2D(64, 3, groups=4), (9, 9, 96)),
        ("gemm", fc.layers.Conv2D(200, 1), (7, 7, 65)),
        ("gemm", fc.layers.Conv2D(130, 1, activation="relu"), (12, 11, 40)),
    ],
)
@pytest.mark.parametrize("batch", [1, 5])
def test_kept_weights_give_the_results_of_fresh_ones(kernel, layer, shape, batch):
    model = network(layer, shape=shape)
    frozen = fc.freeze(model)
    assert ("conv", kernel) in kernels_of(frozen, batch)
    assert plan_report.memory(frozen, batch, False)["prepared"] > 0
    x = images(model, batch)
    made = frozen.predict_on_batch(x)
    np.testing.assert_allclose(made, model.predict_on_batch(x), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(made, frozen.predict_on_batch(x))


def test_dense_layers_keep_theirs_for_many_rows_only():
    model = network(fc.layers.Dense(100), shape=(70,))
    frozen = fc.freeze(model)
    assert plan_report.memory(frozen, 4, False)["prepared"] == 0
    assert plan_report.memory(frozen, 64, False)["prepared"] > 0
    x = images(model, 64)
    np.testing.assert_allclose(
        frozen.predict_on_batch(x), model.predict_on_batch(x), rtol=1e-4, atol=1e-5
    )


def test_dense_layers_in_bfloat16_keep_theirs(monkeypatch):
    monkeypatch.setattr(mixed_precision, "SUITED", (_core.active_isa(),))
    layers = [fc.layers.Dense(n, dtype="mixed_bfloat16") for n in (130, 33)]
    model = network(*layers, shape=(71,))
    frozen = fc.freeze(model)
    for batch in (1, 4, 64):
        assert ("gemm", "bfloat16") in kernels_of(frozen, batch)
        assert plan_report.memory(frozen, batch, False)["prepared"] > 0
        x = images(model, batch)
        made, expected = frozen.predict_on_batch(x), model.predict_on_batch(x)
        np.testing.assert_allclose(made, expected, rtol=0.03, atol=0.03)


def test_assigned_weights_are_packed_again():
    model = network(fc.layers.Conv2D(64, 3, padding="same"), shape=(8, 8, 64))
    frozen = fc.freeze(model)
    x = images(model, 2)
    before = frozen.predict_on_batch(x)
    for weight in frozen.weights:
        weight.assign(2 * weight.numpy())
    np.testing.assert_allclose(frozen.predict_on_batch(x), 2 * before, rtol=1e-5)


def test_mixed_bfloat16_stays_so(monkeypatch):
    monkeypatch.setattr(mixed_precision, "SUITED", (_core.active_isa(),))
    model = residual_network("mixed_bfloat16")
    frozen = fc.freeze(model)
    assert kernels_of(frozen, 2) <= kernels_of(model, 2) | {("conv", "winograd")}
    x = images(model, 2)
    made, expected = frozen.predict_on_batch(x), model.predict_on_batch(x)
    np.testing.assert_allclose(made, expected, rtol=0.03, atol=3e-3)


def test_a_file_keeps_it(tmp_path):
    model = residual_network()
    frozen = fc.freeze(model, name="fixed")
    frozen.save(tmp_path / "fixed.fastconv")
    again = fc.load_model(tmp_path / "fixed.fastconv")
    x = images(model, 2)
    np.testing.assert_array_equal(again.predict_on_batch(x), frozen.predict_on_batch(x))


def test_sizes_left_open_have_to_be_given():
    model = fc.Sequential([fc.Input((None, None, 3)), fc.layers.Conv2D(4, 3)])
    with pytest.raises(ArgumentError, match="input_shape"):
        fc.freeze(model)
    assert fc.freeze(model, (9, 8, 3)).output_shape == (None, 7, 6, 4)


def test_what_cannot_be_frozen():
    with pytest.raises(ArgumentError, match="inputs are known"):
        fc.freeze(fc.Sequential([fc.layers.Dense(3)]))
    frozen = fc.freeze(network(fc.layers.Dense(3), shape=(4,)))
    with pytest.raises(ArgumentError, match="cannot be trained"):
        frozen.fit(np.zeros((4, 4)), np.zeros(4, int), verbose=0)
