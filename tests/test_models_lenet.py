"""LeNet-5: the figures of the paper, and that both variants learn."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, models
from fastconv.models.lenet import C3_CONNECTIONS, rbf_loss
from fastconv.models.lenet_codes import digit_codes
from layer_cases import data

LAYERS = ("C1", "S2", "C3", "S4", "C5", "F6", "output")


def parameters(model):
    return [model.get_layer(name).count_params() for name in LAYERS]


def test_parameters_of_the_paper():
    model = models.LeNet5(variant="paper", output="rbf")
    assert parameters(model) == [156, 12, 1516, 32, 48120, 10164, 0]
    assert model.count_params() == 60000


def test_parameters_of_the_modern_variant():
    model = models.LeNet5()
    assert parameters(model) == [156, 0, 2416, 0, 48120, 10164, 850]
    assert model.count_params() == 61706


def test_shapes_of_the_paper():
    model = models.LeNet5(variant="paper")
    shapes = [model.get_layer(name).output.shape[1:] for name in LAYERS]
    assert shapes == [
        (28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (1, 1, 120), (84,), (10,),
    ]  # fmt: skip


def test_connections_are_those_of_table_1():
    seen = [sum(c in maps for maps in C3_CONNECTIONS) for c in range(6)]
    assert seen == [10] * 6
    assert [len(maps) for maps in C3_CONNECTIONS] == [3] * 6 + [4] * 9 + [6]


def test_codes_of_digits_differ():
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1, 1}
    distances = ((codes[:, None] - codes) ** 2).sum(-1) + 1000 * np.eye(10)
    assert distances.min() >= 16


def test_rbf_output_and_its_loss():
    codes = digit_codes()
    scores = fc.layers.RBF(codes)(codes)
    np.testing.assert_array_equal(scores.argmax(-1), np.arange(10))
    labels = np.array([3, 5])
    loss = fc.function(rbf_loss)
    expected = ((codes[[0, 1]] - codes[labels]) ** 2).sum(-1)
    np.testing.assert_array_equal(loss(labels, scores[:2]), expected)
    np.testing.assert_array_equal(loss(labels[:, None], scores[:2]), expected)
    one_hot = np.eye(10, dtype=np.float32)[labels]
    np.testing.assert_array_equal(loss(one_hot, scores[:2]), expected)


@pytest.mark.parametrize(
    ("arguments", "loss", "rate"),
    [
        ({}, "sparse_categorical_crossentropy", 0.05),
        ({"variant": "paper"}, "sparse_categorical_crossentropy", 0.05),
        ({"variant": "paper", "output": "rbf"}, rbf_loss, 0.0005),
    ],
    ids=["modern", "paper", "rbf"],
)
def test_it_learns_a_few_images(arguments, loss, rate):
    fc.random.set_seed(1)
    x, y = data(20, 32, 32, 1), np.arange(20) % 10
    model = models.LeNet5(**arguments)
    optimizer = fc.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=20, epochs=40, verbose=0).history
    fc.random.set_seed(0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["accuracy"][-1] > 0.8


def test_registry():
    assert {"lenet", "lenet5"} <= set(models.names())
    assert models.get("lenet") is models.LeNet5
    assert models.get("LeNet-5") is models.LeNet5
    with pytest.raises(errors.UnknownNameError, match=r"model 'alixnet'.*lenet"):
        models.get("alixnet")


def test_errors():
    with pytest.raises(errors.UnknownNameError, match=r"variant.*'old'.*modern"):
        models.LeNet5(variant="old")
    with pytest.raises(errors.UnknownNameError, match=r"output.*'svm'.*rbf"):
        models.LeNet5(output="svm")
    with pytest.raises(errors.ArgumentError, match=r"10 classes.*26.*softmax"):
        models.LeNet5(classes=26, output="rbf")
    with pytest.raises(errors.ShapeError, match=r"'C5'.*does not fit"):
        models.LeNet5(input_shape=(28, 28, 1))
