"""Dtype policies: what is accepted, what is said, and what is saved."""

import warnings

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core, mixed_precision
from fastconv.errors import ArgumentError, DtypeError, FastconvWarning


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(mixed_precision, "_said", False)
    yield
    mixed_precision.set_global_policy("float32")


def test_where_it_is_slower_float32_is_computed_and_said_so_once(monkeypatch):
    monkeypatch.setattr(mixed_precision, "SUITED", ())
    with pytest.warns(FastconvWarning, match="computing in float32"):
        mixed_precision.set_global_policy("mixed_bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = fc.layers.Dense(2)
        fc.layers.Dense(2, dtype="mixed_bfloat16")
        mixed_precision.DTypePolicy("mixed_bfloat16")
    layer.build((None, 3))
    assert layer.dtype_policy.name == "mixed_bfloat16"
    assert {w.dtype for w in layer.weights} == {"float32"}
    assert layer.dtype_policy.compute_dtype == "float32"
    assert layer(np.ones((1, 3), "f4")).dtype == np.float32


def test_results_are_bfloat16_and_weights_float32(monkeypatch):
    monkeypatch.setattr(mixed_precision, "SUITED", (_core.active_isa(),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = fc.layers.Conv2D(64, 1, use_bias=False, dtype="mixed_bfloat16")
    assert layer.dtype_policy.compute_dtype == "bfloat16"
    y = layer(np.full((1, 3, 3, 64), 1 + 2**-10, "f4"))
    assert y.dtype == np.float32
    assert (y.view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_array_equal(y[0, 0, 0], layer(np.ones((1, 1, 1, 64)))[0, 0, 0])
    assert {w.dtype for w in layer.weights} == {"float32"}


@pytest.mark.filterwarnings("ignore:mixed_bfloat16")
def test_policies_are_saved(tmp_path):
    dense = fc.layers.Dense(2, dtype="mixed_bfloat16")
    model = fc.Sequential([fc.Input((3,)), dense, fc.layers.Dense(1)])
    model.save(tmp_path / "m.safetensors")
    again = fc.load_model(tmp_path / "m.safetensors")
    assert [layer.dtype_policy.name for layer in again.layers] == [
        "mixed_bfloat16", "float32",
    ]  # fmt: skip
    policy = mixed_precision.DTypePolicy("mixed_bfloat16")
    assert mixed_precision.DTypePolicy.from_config(policy.get_config()) == policy
    assert fc.layers.Dense(2, dtype=policy).dtype_policy == policy


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_weights_in_halves_are_refused(name):
    with pytest.raises(DtypeError, match=f"use 'mixed_{name}'"):
        mixed_precision.set_global_policy(name)
    with pytest.raises(DtypeError, match=name):
        fc.layers.Dense(
            2, dtype={"class_name": "DTypePolicy", "config": {"name": name}}
        )


def network(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed_precision.set_global_policy("mixed_float16")
        model = fc.Sequential([fc.Input((3,)), fc.layers.Dense(2, name="first")])
    assert model.layers[0].dtype_policy.compute_dtype == "float16"
    assert {w.dtype for w in model.weights} == {"float32"}
    model.compile("sgd", "mse", **options)
    return model


def test_float16_needs_a_gpu():
    model = network(device="cpu")
    message = "layer 'first': mixed_float16 needs a GPU.*use 'mixed_bfloat16', which"
    with pytest.raises(DtypeError, match=message):
        model.predict(np.ones((1, 3)))
    with pytest.raises(DtypeError, match=message):
        model.fit(np.ones((1, 3)), np.ones((1, 2)), verbose=0)


def test_compile_scales_the_loss_of_float16_alone(tmp_path):
    scaled = fc.optimizers.LossScaleOptimizer
    optimizer = network(device="reference").optimizer
    assert isinstance(optimizer, scaled)
    assert isinstance(optimizer.inner_optimizer, fc.optimizers.SGD)
    assert not isinstance(network(auto_scale_loss=False).optimizer, scaled)
    model = network(device="reference")
    model.compile(scaled(fc.optimizers.Adam(), 4), "mse", device="reference")
    assert model.optimizer.dynamic_scale == 4
    model.save(tmp_path / "m.safetensors")
    again = fc.load_model(tmp_path / "m.safetensors")
    assert again.layers[0].dtype_policy.name == "mixed_float16"
    assert isinstance(again.optimizer.inner_optimizer, fc.optimizers.Adam)
    mixed_precision.set_global_policy("float32")
    model = fc.Sequential([fc.Input((3,)), fc.layers.Dense(2)])
    model.compile("sgd", "mse")
    assert not isinstance(model.optimizer, scaled)


def test_a_step_of_ones_own_has_to_scale_its_loss():
    class Own(fc.Model):
        scales = False

        def __init__(self):
            super().__init__()
            self.dense = fc.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            loss = fc.ops.sum(fc.ops.square(self(data[0]) - data[1]))
            scaled = self.optimizer.scale_loss(loss) if self.scales else loss
            gradients = fc.grad(scaled, self.trainable_weights)
            self.optimizer.apply(gradients, self.trainable_weights)
            return {"loss": loss}

    mixed_precision.set_global_policy("mixed_float16")
    model = Own()
    model.compile(fc.optimizers.SGD(0.1), "mse", device="reference")
    x, y = np.ones((4, 3), "f4"), np.ones((4, 2), "f4")
    with pytest.raises(ArgumentError, match=r"optimizer\.scale_loss"):
        model.fit(x, y, verbose=0)
    model.scales = True
    model.fit(x, y, verbose=0)
    assert model.optimizer.iterations == 1


def test_plain_dtypes_stay_what_they_are():
    layer = fc.layers.Flatten(dtype="int64")
    assert layer.dtype == "int64"
    assert layer.get_config()["dtype"] == "int64"
    assert fc.layers.Flatten().dtype_policy == mixed_precision.DTypePolicy("float32")
