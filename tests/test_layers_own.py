"""Layers that users write: what they hold, their names in files, their flags."""

import copy
import pickle
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, layers
from fastconv.custom_objects import custom_object_scope
from fastconv.layers import registry

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)


# What a layer holds


class Net(fc.Model):
    """Layers appended to a list, in a dict, and a variable."""

    def __init__(self, **options):
        super().__init__(**options)
        self.blocks = []
        for i in range(2):
            self.blocks.append(layers.Dense(3, name=f"block{i}"))
        self.named = {"a": [layers.Dense(2, name="inner")]}
        self.scale = fc.Variable(np.ones(2), name="scale")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.named["a"][0](x) * self.scale


def test_weights_in_containers_are_trained_and_saved(tmp_path):
    model = Net()
    model.compile(fc.optimizers.SGD(0.1), "mse")
    model.fit(X, np.ones((4, 2)), verbose=0)
    assert len(model.trainable_weights) == 7
    assert model.weights[0] is model.scale
    assert [w.name for w in model.weights[1:3]] == ["block0/kernel", "block0/bias"]
    assert not np.array_equal(model.scale.value, np.ones(2))
    model.save(tmp_path / "m")
    again = fc.load_model(tmp_path / "m")
    np.testing.assert_array_equal(again.scale.value, model.scale.value)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X))


def test_each_weight_counts_once_and_parents_are_no_trap():
    outer, inner = layers.Layer(), layers.Dense(2)
    inner(X)
    outer.pair, outer.again, inner.parent = (inner, inner), inner, outer
    assert outer.weights == [inner.kernel, inner.bias]
    outer.trainable = False
    assert not inner.trainable
    assert outer.trainable_weights == []
    del inner.parent
    inner.trainable = True
    assert outer.trainable_weights == []
    outer.trainable, inner.trainable = True, False
    assert outer.trainable_weights == []


def test_the_random_state_of_a_model_is_no_weight():
    model = fc.Sequential([fc.Input((2,)), layers.Dropout(0.5), layers.Dense(1)])
    assert model._seed_and_step is not None
    assert len(model.weights) == 2


def test_layers_beside_a_sequential_are_not_run():
    model = fc.Sequential([fc.Input((2,)), layers.Dense(3)])
    model.beside = layers.Dense(5)
    assert model(X).shape == (4, 3)
    assert len(model.layers) == 1


def test_a_copy_has_weights_of_its_own():
    layer = layers.Dense(3)
    y = layer(X)
    again = copy.deepcopy(layer)
    np.testing.assert_array_equal(again(X), y)
    again.set_weights([w * 0 for w in again.get_weights()])
    assert not again(X).any()
    np.testing.assert_array_equal(layer(X), y)


# Making weights


def test_add_weight_has_the_arguments_of_keras():
    layer = layers.Layer(name="own")
    weight = layer.add_weight((2, 3), "ones", "float64", False, name="w")
    assert (weight.name, weight.shape, weight.dtype) == ("own/w", (2, 3), "float64")
    assert not weight.trainable
    assert layer.add_weight(dtype="int64").value == 0
    with pytest.raises(errors.ArgumentError, match="name='w'"):
        layer.add_weight("w", (2, 3))


# Flags


class Block(layers.Layer):
    def __init__(self):
        super().__init__()
        self.inside = [layers.BatchNormalization()]

    def call(self, x):
        return self.inside[0](x)


def test_a_frozen_layer_is_planned_anew():
    block, x = Block(), X * 5 + 1
    norm = block.inside[0]
    for layer in (norm, block):
        trained = layer(x, training=True)
        before = norm.get_weights()
        norm.trainable = False
        frozen = layer(x, training=True)
        assert np.abs(trained - frozen).max() > 0.1
        for a, b in zip(before, norm.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        norm.trainable = True
        np.testing.assert_allclose(layer(x, training=True), trained)


# Names


def own(name, factor, module=__name__):
    """A layer class as a program of that module would define it."""

    def call(self, x):
        return x * factor

    return type(name, (layers.Layer,), {"call": call, "__module__": module})


def saved(cls, tmp_path):
    model = fc.Sequential([fc.Input((2,)), layers.Flatten(), cls()])
    model.save(tmp_path / "m")
    return tmp_path / "m"


def test_an_own_class_may_have_the_name_of_a_built_in_one(tmp_path, monkeypatch):
    cls = own("Flatten", 3.0)
    monkeypatch.setattr(sys.modules[__name__], "Flatten", cls, raising=False)
    path = saved(cls, tmp_path)
    for objects in (None, {"Flatten": cls}):
        found = fc.load_model(path, objects).layers
        assert [type(layer) for layer in found] == [layers.Flatten, cls]
    model = fc.load_model(path)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X, verbose=0), X * 3)


def test_the_last_class_of_a_name_counts(tmp_path):
    path = saved(own("Again", 2.0), tmp_path)
    cls = own("Again", 5.0)
    assert type(fc.load_model(path).layers[-1]) is cls


def test_classes_of_other_modules_do_not_stand_in(tmp_path):
    path = saved(own("Elsewhere", 2.0, "first.module"), tmp_path)
    registry._own.pop("first.module.Elsewhere")
    cls = own("Elsewhere", 3.0, "second.module")
    with pytest.raises(errors.FormatError, match=r"custom_objects=\{'Elsewhere'"):
        fc.load_model(path)
    assert type(fc.load_model(path, {"Elsewhere": cls}).layers[-1]) is cls


def test_a_script_that_is_imported_later(tmp_path):
    path = saved(own("Script", 2.0, "__main__"), tmp_path)
    registry._own.pop("__main__.Script")
    cls = own("Script", 2.0, "first")
    assert type(fc.load_model(path).layers[-1]) is cls
    own("Script", 3.0, "second")
    with pytest.raises(errors.FormatError, match=r"first\.Script, second\.Script"):
        fc.load_model(path)
    with custom_object_scope({"__main__.Script": cls}):
        assert registry.layer_class("__main__.Script") is cls


def test_build_may_be_called_from_outside():
    class Pair(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.Dense(2)

        def build(self, input_shape):
            self.inner.build(input_shape)

        def call(self, x):
            return self.inner(x)

    layer = Pair()
    layer.build((None, 3))
    kernel = layer.inner.kernel
    layer(np.ones((1, 3), np.float32))
    assert layer.inner.kernel is kernel
    assert len(layer.weights) == 2


def test_a_layer_may_thaw_in_a_frozen_one():
    base = fc.Sequential([fc.Input((3,)), layers.Dense(2), layers.Dense(2)])
    model = fc.Sequential([fc.Input((3,)), base, layers.Dense(1)])
    base.trainable = False
    assert len(model.trainable_weights) == 2
    base.layers[1].trainable = True
    assert len(model.trainable_weights) == 4
    assert base.trainable_weights == []
