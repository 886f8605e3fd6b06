"""Wrong arguments and inputs: the class of the error, and that it names the layer."""

import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, layers
from layer_cases import data

WRONG = [
    (lambda: layers.Conv2D(0, 3), "filters.*>= 1.*received 0"),
    (lambda: layers.Conv2D(2.0, 3), "filters.*received 2.0"),
    (lambda: layers.Conv2D(2, 0), "kernel_size.*>= 1.*received 0"),
    (lambda: layers.Conv2D(2, (3, -1)), r"kernel_size.*\(3, -1\)"),
    (lambda: layers.Conv2D(2, 2.5), "kernel_size.*2.5"),
    (lambda: layers.Conv2D(2, (3, 3, 3)), r"kernel_size.*2.*\(3, 3, 3\)"),
    (lambda: layers.Conv1D(2, 3, strides=0), "strides.*received 0"),
    (lambda: layers.Conv3D(2, 3, dilation_rate=0), "dilation_rate.*received 0"),
    (lambda: layers.Conv2D(6, 3, groups=4), "groups that divide the 6 filters.*4"),
    (lambda: layers.Conv2D(2, 3, padding="full"), "padding of layer.*'full'.*same"),
    (lambda: layers.Conv2D(2, 3, padding="causal"), "padding.*'causal'"),
    (lambda: layers.Conv2D(2, 3, activation="rely"), "'rely'.*Did you mean.*'relu'"),
    (lambda: layers.Conv2D(2, 3, data_format="first"), "data_format 'first'"),
    (lambda: layers.Conv2D(2, 3, kernel_initializer="he"), "initializer 'he'.*he_n"),
    (lambda: layers.Conv2D(2, 3, stride=2), "unknown argument 'stride'.*strides"),
    (lambda: layers.Dense(-1), "units.*received -1"),
    (lambda: layers.Dense(True), "units.*received True"),
    (lambda: layers.Dense(2, activation=3), "activation.*received 3"),
    (lambda: layers.Dense(2, kernel_initializer=3), "initializer.*received 3"),
    (lambda: layers.MaxPooling2D(0), "pool_size.*received 0"),
    (lambda: layers.LpPooling2D(2, p=0.5), "p, a number in.*0.5"),
    (lambda: layers.Dropout(1.5), r"rate.*\[0, 1\).*1.5"),
    (lambda: layers.BatchNormalization(epsilon=0.0), "epsilon.*received 0.0"),
    (lambda: layers.Reshape((2, 0)), r"target_shape.*\(2, 0\)"),
    (lambda: layers.Reshape(4), "target_shape.*received 4"),
    (lambda: layers.Permute((0, 1)), "permutation"),
    (lambda: layers.ZeroPadding2D(-1), "padding.*received -1"),
    (lambda: layers.Cropping2D((1, 2, 3)), "cropping.*2 axes"),
    (lambda: layers.Rescaling("x"), "scale, finite numbers, received 'x'"),
    (lambda: layers.Rescaling(1, offset=[0, np.inf]), "offset, finite.*inf"),
    (lambda: layers.Lambda(3), "function.*received 3"),
    (lambda: layers.Lambda("unheard"), "custom_objects"),
    (lambda: layers.OpLayer("rely"), "op 'rely'.*relu"),
    (lambda: layers.PartialConv2D([[0], []], 3), "connections"),
    (lambda: layers.RBF([1.0]), "codes"),
    (lambda: fc.Input((3, 0)), r"Input.*\(3, 0\)"),
    (fc.Input, "Input: expected a shape"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_arguments(make, message):
    with pytest.raises(errors.FastconvError, match=message) as caught:
        make()
    assert isinstance(caught.value, ValueError)
    assert len(re.findall("expected|unknown", str(caught.value))) >= 1 or "pass" in str(
        caught.value
    )


MISFITS = [
    (layers.Conv2D(2, 3, name="c"), (1, 5, 5), "layer 'c'.*4 axes.*(1|None), 5, 5"),
    (layers.Conv2D(2, 3, name="c"), (1, 2, 5, 3), "layer 'c'.*does not fit.*same"),
    (
        layers.Conv2D(2, 3, groups=2, name="c"),
        (1, 5, 5, 3),
        "'c'.*3 channels.*groups=2",
    ),
    (layers.MaxPooling1D(3, name="m"), (1, 2, 1), "layer 'm'.*does not fit"),
    (layers.Dense(2, name="d"), (3,), "layer 'd'.*at least 2 axes"),
    (layers.Reshape((3, -1), name="r"), (2, 8), "layer 'r'.*8 elements"),
    (layers.Reshape((3,), name="r"), (2, 8), "layer 'r'.*8 elements"),
    (layers.Cropping1D(2, name="k"), (1, 4, 1), "layer 'k'.*cropping.*4"),
    (layers.BatchNormalization(axis=3, name="b"), (2, 3), "layer 'b'.*axis.*3"),
    (layers.BatchNormalization(axis=0, name="b"), (2, 3), "layer 'b'.*axis.*0"),
    (layers.Dropout(0.5, (1,), name="o"), (2, 3), "layer 'o'.*noise_shape"),
    (layers.PartialConv2D([[2]], 3, name="p"), (1, 5, 5, 2), "layer 'p'.*3.*channels"),
    (layers.RBF([[1.0]], name="f"), (1, 5), "layer 'f'.*1 features"),
    (layers.Add(name="a"), (1, 2), "layer 'a'.*list"),
]


@pytest.mark.parametrize(("layer", "shape", "message"), MISFITS)
def test_wrong_inputs(layer, shape, message):
    with pytest.raises(errors.FastconvError, match=f"(?s){message}"):
        layer(data(*shape), training=True)


def test_other_features_than_before():
    layer = layers.Dense(2, name="d")
    layer(data(1, 3))
    with pytest.raises(errors.ShapeError, match=r"layer 'd'.*\(3, 2\).*\(1, 4\)"):
        layer(data(1, 4))


def test_integers_are_no_images():
    with pytest.raises(errors.DtypeError, match=r"layer 'c'.*int64.*cast"):
        layers.Conv2D(1, 1, name="c")(np.ones((1, 2, 2, 1), np.int64))


def test_subtract_wants_two():
    with pytest.raises(errors.ArgumentError, match="list of 2 inputs, received 3"):
        layers.Subtract()([data(1, 2)] * 3)


def test_unknown_features():
    with pytest.raises(errors.ShapeError, match=r"features.*None"):
        layers.Dense(2)(fc.Input((None,)))


def test_wrong_weights():
    layer = layers.Dense(2, name="d")
    layer(data(1, 3))
    with pytest.raises(errors.ArgumentError, match=r"layer 'd'.*2 arrays.*received 1"):
        layer.set_weights([np.zeros((3, 2))])
    with pytest.raises(errors.ShapeError, match=r"kernel.*\(3, 2\).*\(2, 3\)"):
        layer.set_weights([np.zeros((2, 3)), np.zeros(2)])


def test_not_connected_yet():
    with pytest.raises(errors.ArgumentError, match="not connected"):
        _ = layers.Dense(2).output


def test_a_lambda_cannot_be_saved_but_a_named_function_can():
    def double(x):
        return x * 2.0

    with pytest.raises(errors.ArgumentError, match="custom_objects"):
        layers.Lambda(lambda x: x).get_config()
    config = layers.Lambda(double).get_config()
    with pytest.raises(errors.UnknownNameError, match=r"'double'.*custom_objects"):
        layers.Lambda.from_config(config)
    with fc.custom_objects.custom_object_scope({"double": double}):
        assert layers.Lambda.from_config(config)([2.0]) == [4.0]


def test_a_function_of_a_known_name_cannot_be_saved():
    def relu(x):
        return x * 2.0

    with pytest.raises(errors.ArgumentError, match="no name of its own"):
        layers.Activation(relu).get_config()


def test_config_of_a_layer_that_hides_its_argument():
    class Hides(layers.Layer):
        def __init__(self, secret, **kwargs):
            super().__init__(**kwargs)
            self.kept = secret

    with pytest.raises(errors.ArgumentError, match=r"'secret'.*get_config"):
        Hides(1).get_config()
