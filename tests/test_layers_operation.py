"""Ops and operators on the tensors of a model."""

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, layers, ops
from fastconv.operators import OPERATORS

EXPRESSIONS = {
    "scale": lambda x: (2.0 * x + 1.0) / 4.0 - x,
    "reverse": lambda x: 1.0 - (3.0 / (x + 5.0)),
    "negative": lambda x: -(x**2.0),
    "index": lambda x: x[:, 1:, ..., None],
    "keywords": lambda x: ops.sum(x, axis=(1, 2), keepdims=True),
    "array": lambda x: x + np.arange(3, dtype=np.float32),
    "matrix": lambda x: x @ np.ones((3, 5), np.float32),
    "dtype": lambda x: ops.cast(ops.cast(x, np.int32), "float32"),
    "square": lambda x: x * x,
    "activation": lambda x: fc.activations.scaled_tanh(fc.activations.gelu(x)),
}


def replay(output, x):
    """The value of a described tensor, each layer made anew from its saved config."""

    def value(tensor):
        if tensor.origin is None:
            return x
        layer = tensor.origin.layer
        config = json.loads(json.dumps(layer.get_config()))
        return type(layer).from_config(config)(*map(value, tensor.origin.inputs))

    return value(output)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_described_and_saved_is_computed(name):
    f = EXPRESSIONS[name]
    x = np.random.default_rng(0).uniform(0.5, 2, (4, 2, 3)).astype(np.float32)
    described = f(fc.Input((2, 3)))
    expected = fc.function(f)(x)
    assert described.shape[1:] == expected.shape[1:]
    np.testing.assert_allclose(replay(described, x), expected, rtol=1e-6)


def test_layers_are_named_after_ops():
    described = ops.relu(fc.Input((2,)))
    assert described.origin.layer.name.startswith("relu")


def test_operators_have_names_that_are_found_again():
    for name in OPERATORS:
        assert layers.OpLayer(name).function is OPERATORS[name]


def test_a_variable_belongs_in_a_layer():
    with pytest.raises(errors.ArgumentError, match=r"weights.*belong in a layer"):
        fc.Input((2,)) * fc.Variable(np.ones(2))


def test_two_tensors():
    a, b = fc.Input((2,)), fc.Input((2,))
    assert (a + b).shape == (None, 2)
    assert len((a + b).origin.inputs) == 2
    assert len((a + a).origin.inputs) == 1


def test_arguments_that_are_weights():
    args = {"tuple": [{"tensor": 0}, {"weight": [2]}]}
    x = fc.Input((2,))
    model = fc.Model(x, layers.OpLayer("multiply", args, name="scale")(x))
    model.get_layer("scale").set_weights([np.array([2.0, 3.0])])
    again = fc.training.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    given = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(again.predict(given, verbose=0), [[2, 3]])
    assert [w.name for w in again.trainable_weights] == ["scale/weight"]
