"""Which tensors are stored in bfloat16, and that training in it is training."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core, mixed_precision, ops
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.graph.scope import scope
from narrowed import assert_near, random


@pytest.fixture(autouse=True)
def suited(monkeypatch):
    """Any CPU counts as one that gains by bfloat16: the kernels are on all of them."""
    monkeypatch.setattr(mixed_precision, "SUITED", (_core.active_isa(),))


def network(mixed, smooth=False):
    """Two convolutions with what stands around them, its loss and its gradients.

    smooth: nothing in it takes another way where two values are nearly the same.
    """
    activation = ops.swish if smooth else ops.relu
    pool = ops.average_pool if smooth else ops.max_pool

    def run(x, first, gamma, beta, second, dense):
        with scope("layer", "bfloat16" if mixed else None):
            y = ops.conv(x, first, padding="same")
            y, *_ = ops.batch_norm(y, gamma, beta)
            y = pool(activation(y), 2)
            z = activation(ops.conv(y, second, padding="same") + y)
            z = ops.concatenate([y, z], -1)
            logits = ops.matmul(ops.mean(z, axis=(1, 2)), dense)
        loss = ops.mean(ops.square(logits))
        parameters = [first, gamma, beta, second, dense]
        return [loss, logits, *grad(loss, parameters)]

    return run


ARRAYS = random(
    0, (4, 32, 32, 32), (1, 1, 32, 64), (64,), (64,), (3, 3, 64, 64), (128, 10)
)
ARRAYS[4] /= 16  # of many products


def graph_of(function):
    return Function(function).compile(*ARRAYS).graph


def test_results_of_kernels_that_take_it_are_bfloat16():
    graph = graph_of(network(True))
    kinds = {
        node.name: {t.dtype for t in (*node.inputs, *node.outputs)}
        for node in graph.nodes()
        if node.name in ("max_pool", "concat", "batch_norm_backward", "gemm")
    }
    assert kinds["max_pool"] == {"bfloat16", "int32"}
    assert kinds["concat"] == {"bfloat16"}
    assert kinds["batch_norm_backward"] == {"bfloat16", "float32"}
    assert kinds["gemm"] == {"float32"}  # four rows
    assert all(t.dtype == "float32" for t in graph.outputs)


def test_other_layers_stay_as_they_are():
    graph = graph_of(network(False))
    dtypes = {t.dtype for node in graph.nodes() for t in node.outputs}
    assert "bfloat16" not in dtypes


def test_results_are_near_those_of_float32(reference):
    actual = Function(network(True, smooth=True))(*ARRAYS)
    assert_near(actual, reference(network(False, smooth=True), *ARRAYS), 2e-2)


def test_less_memory():
    sizes = [Function(network(m)).compile(*ARRAYS).arena_bytes for m in (True, False)]
    assert sizes[0] < 0.8 * sizes[1]  # gradients of weights are float32


def test_a_result_that_is_also_read_is_float32():
    def run(x, weights):
        with scope("layer", "bfloat16"):
            y = ops.conv(x, weights)
            return [y, ops.relu(y) * 1.0]

    x, weights = random(1, (2, 8, 8, 16), (1, 1, 16, 16))
    y, z = Function(run)(x, weights)
    assert y.dtype == z.dtype == np.float32
    np.testing.assert_array_equal(np.maximum(y, 0), z)


def images(count, rng):
    """Bright squares on noise; the label is the quarter that the square is in."""
    labels = rng.integers(0, 4, count)
    x = rng.normal(0, 0.3, (count, 16, 16, 4)).astype("f4")
    for image, label in zip(x, labels, strict=True):
        top, left = label // 2 * 8 + 2, label % 2 * 8 + 2
        image[top : top + 4, left : left + 4] += 1
    return x, labels


@pytest.mark.filterwarnings("ignore:mixed_bfloat16")
def test_a_residual_network_learns_as_in_float32():
    rng = np.random.default_rng(0)
    train, test = images(256, rng), images(128, rng)
    accuracy = {}
    for policy in ("float32", "mixed_bfloat16"):
        fc.utils.set_random_seed(1)
        inputs = fc.Input((16, 16, 4))
        x = inputs
        for filters in (16, 32):
            x = convolution(x, filters, policy, 2)
            y = convolution(convolution(x, filters, policy), filters, policy)
            x = fc.layers.Add(dtype=policy)([x, y])
        x = fc.layers.GlobalAveragePooling2D(dtype=policy)(x)
        model = fc.Model(inputs, fc.layers.Dense(4, "softmax", dtype=policy)(x))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(*train, batch_size=32, epochs=4, verbose=0)
        accuracy[policy] = model.evaluate(*test, verbose=0)[1]
    assert accuracy["float32"] > 0.95
    assert accuracy["mixed_bfloat16"] > accuracy["float32"] - 0.02


def convolution(x, filters, policy, strides=1):
    x = fc.layers.Conv2D(filters, 3, strides, "same", use_bias=False, dtype=policy)(x)
    x = fc.layers.BatchNormalization(dtype=policy)(x)
    return fc.layers.ReLU(dtype=policy)(x)
