"""Fusion: it happens where it may, does not where it may not, and changes no value."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv.reference
from fastconv import ops
from fastconv._core import Activation
from fastconv.graph.autodiff import grad
from fastconv.graph.passes.fuse import fuse
from fastconv.graph.trace import Trace

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 5, 3))
W = RNG.standard_normal((3, 3, 3, 4))
B = RNG.standard_normal(4)
POSITIVE = B**2 + 0.5
ROWS = RNG.standard_normal((5, 3))
DENSE = RNG.standard_normal((3, 4))
LABELS = np.array([0, 3, 1, 1, 2])


def fused_ops(python, *arrays) -> list[str]:
    """The ops that remain after fusion; the values must be those of before."""
    made = Trace()
    with made.active():
        inputs = [
            made.input(a.shape, a.dtype.name, f"x{i}") for i, a in enumerate(arrays)
        ]
        results = python(*inputs)
        graph = made.graph(
            list(results) if isinstance(results, list | tuple) else [results]
        )
    expected = fastconv.reference.run(graph, arrays)
    fused = fuse(graph)
    for a, e in zip(fastconv.reference.run(fused, arrays), expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-12)
    return [node.name for node in fused.nodes() if node.inputs]


def test_bias_into_conv_and_gemm():
    assert fused_ops(lambda x, w, b: ops.conv(x, w) + b, X, W, B) == ["conv"]
    assert fused_ops(lambda x, w, b: b + ops.conv(x, w), X, W, B) == ["conv"]
    assert fused_ops(lambda x, w, b: ops.matmul(x, w) + b, ROWS, DENSE, B) == ["gemm"]


def test_bias_stays_where_the_product_is_read_again():
    def twice(x, w, b):
        y = ops.matmul(x, w)
        return y + b, y * 2

    def result(x, w, b):
        y = ops.matmul(x, w)
        return y, y + b

    def itself(x, w):
        y = ops.matmul(x, w)
        return y + y

    assert fused_ops(twice, ROWS, DENSE, B).count("binary") == 2
    assert fused_ops(result, ROWS, DENSE, B) == ["gemm", "binary"]
    assert fused_ops(itself, ROWS, DENSE) == ["gemm", "binary"]


@pytest.mark.parametrize(
    "bias",
    [B[:1], RNG.standard_normal((5, 1)), RNG.standard_normal((1, 4)), np.array(2.0)],
)
def test_bias_of_another_shape_stays(bias):
    kept = fused_ops(lambda x, w, b: ops.matmul(x, w) + b, ROWS, DENSE, bias)
    assert kept == ["gemm", "binary"]


def test_a_tensor_into_conv_and_gemm():
    rows = RNG.standard_normal((5, 4))

    def last(x, w, b, r):
        return ops.relu(r + (ops.matmul(x, w) + b))

    def two(x, w, b, r):
        return ops.matmul(x, w) + r + r

    def late(x, w, b, r):
        y = ops.matmul(x, w)
        return y + ops.exp(r)

    assert fused_ops(last, ROWS, DENSE, B, rows) == ["gemm"]
    assert fused_ops(two, ROWS, DENSE, B, rows) == ["gemm", "binary"]
    assert fused_ops(late, ROWS, DENSE, B, rows) == ["gemm", "unary", "binary"]


def test_only_one_bias_and_nothing_after_an_activation():
    def two(x, w, b):
        return ops.matmul(x, w) + b + b

    def late(x, w, b):
        return ops.relu(ops.matmul(x, w)) + b

    assert fused_ops(two, ROWS, DENSE, B) == ["gemm", "binary"]
    assert fused_ops(late, ROWS, DENSE, B) == ["gemm", "binary"]


def test_other_operations_are_no_bias():
    for make in (ops.subtract, ops.multiply, ops.maximum):
        kept = fused_ops(lambda x, w, b, f=make: f(ops.matmul(x, w), b), ROWS, DENSE, B)
        assert kept == ["gemm", "binary"]


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "elu", "sigmoid", "swish"]
)
def test_activation_into_conv_and_gemm(activation):
    act = getattr(ops, activation)
    assert fused_ops(lambda x, w: act(ops.conv(x, w)), X, W) == ["conv"]
    assert fused_ops(lambda x, w, b: act(ops.conv(x, w) + b), X, W, B) == ["conv"]
    assert fused_ops(lambda x, w, b: act(ops.dense(x, w, b)), ROWS, DENSE, B) == [
        "gemm"
    ]


def test_activation_into_batch_norm():
    def inference(x, *statistics):
        return ops.relu(ops.batch_norm_inference(x, *statistics))

    def training(x, gamma, beta):
        y, mean, *_ = ops.batch_norm(x, gamma, beta)
        return ops.relu(y), mean

    x = RNG.standard_normal((5, 4))
    assert fused_ops(inference, x, B, B, B, POSITIVE) == ["batch_norm_inference"]
    assert fused_ops(training, x, B, B) == ["batch_norm"]


def test_activation_stays_where_its_source_is_read_again():
    def result(x, w):
        y = ops.matmul(x, w)
        return y, ops.relu(y)

    def second(x, w):
        y = ops.matmul(x, w)
        return ops.relu(y) + ops.tanh(y)

    def twice(x, w):
        return ops.tanh(ops.relu(ops.matmul(x, w)))

    assert fused_ops(result, ROWS, DENSE) == ["gemm", "activation"]
    assert fused_ops(second, ROWS, DENSE).count("activation") == 2
    assert fused_ops(twice, ROWS, DENSE) == ["gemm", "activation"]


@pytest.mark.parametrize(
    ("name", "kept"), [("relu", 0), ("sigmoid", 0), ("gelu", 1), ("swish", 1)]
)
def test_activation_whose_gradient_needs_its_source_stays(name, kept):
    def train(x, w, b):
        loss = ops.sum(getattr(ops, name)(ops.dense(x, w, b)))
        return [loss, *grad(loss, [x, w, b])]

    assert fused_ops(train, ROWS, DENSE, B).count("activation") == kept


def test_batch_norm_into_conv():
    def with_bias(x, w, b, *statistics):
        y = ops.conv(x, w) + b
        return ops.relu(ops.batch_norm_inference(y, *statistics))

    def without(x, w, *statistics):
        return ops.batch_norm_inference(ops.conv(x, w), *statistics)

    kept = fused_ops(with_bias, X, W, B, B, B, B, POSITIVE)
    assert kept.count("conv") == 1
    assert not {"batch_norm_inference", "activation"} & set(kept)
    assert "batch_norm_inference" not in fused_ops(without, X, W, B, B, B, POSITIVE)


def test_batch_norm_stays_where_it_must():
    def result(x, w, *statistics):
        y = ops.conv(x, w)
        return y, ops.batch_norm_inference(y, *statistics)

    def after_activation(x, w, *statistics):
        return ops.batch_norm_inference(ops.relu(ops.conv(x, w)), *statistics)

    for run in (result, after_activation):
        assert "batch_norm_inference" in fused_ops(run, X, W, B, B, B, POSITIVE)


def test_several_convolutions_with_batch_norm():
    def run(x, w, *statistics):
        for _ in range(3):
            x = ops.relu(
                ops.batch_norm_inference(ops.conv(x, w, 1, "same"), *statistics)
            )
        return x

    w = RNG.standard_normal((3, 3, 4, 4))
    x = RNG.standard_normal((1, 4, 4, 4))
    kept = fused_ops(run, x, w, B, B, B, POSITIVE)
    assert kept.count("conv") == 3
    assert not {"batch_norm_inference", "activation"} & set(kept)


@pytest.mark.parametrize("labels", [LABELS, np.eye(4)[LABELS] * 0.7 + 0.05])
def test_softmax_and_cross_entropy(labels):
    def train(x, labels):
        loss = ops.cross_entropy(ops.softmax(x), labels)
        return loss, grad(ops.mean(loss), x)

    logits = RNG.standard_normal((5, 4))
    kept = fused_ops(train, logits, labels)
    assert "softmax_cross_entropy" in kept
    assert "softmax_cross_entropy_backward" in kept
    assert not {"softmax", "cross_entropy", "softmax_backward"} & set(kept)


def test_softmax_that_is_a_result_is_still_made():
    def train(x, labels):
        probabilities = ops.softmax(x)
        loss = ops.cross_entropy(probabilities, labels)
        return probabilities, loss, grad(ops.mean(loss), x)

    kept = fused_ops(train, RNG.standard_normal((5, 4)), LABELS)
    assert "softmax_cross_entropy" in kept


def test_gradient_of_probabilities_that_is_read_elsewhere():
    def train(x, labels):
        probabilities = ops.softmax(x)
        loss = ops.mean(ops.cross_entropy(probabilities, labels))
        return grad(loss, [x, probabilities])

    kept = fused_ops(train, RNG.standard_normal((5, 4)), LABELS)
    assert "softmax_backward" in kept
    assert "softmax_cross_entropy_backward" not in kept


def test_two_losses_of_one_softmax():
    def train(x, labels):
        p = ops.softmax(x)
        loss = ops.cross_entropy(p, labels) + ops.cross_entropy(p, labels[::-1])
        return loss, grad(ops.sum(loss), x)

    fused_ops(train, RNG.standard_normal((5, 4)), LABELS)


def test_flags_are_set():
    made = Trace()
    with made.active():
        x, w, b = (made.input(a.shape, "float64", "x") for a in (ROWS, DENSE, B))
        y = ops.leaky_relu(ops.dense(x, w, b), 0.3)
        [gemm] = [n for n in fuse(made.graph([y])).nodes() if n.inputs]
    assert gemm.attrs.epilogue.bias == 1
    assert gemm.attrs.epilogue.activation == Activation.leaky_relu
    assert gemm.attrs.epilogue.alpha == np.float32(0.3)


def test_probabilities_come_from_the_fused_loss():
    def step(x, labels):
        y = ops.softmax(x)
        loss = ops.sum(ops.cross_entropy(y, labels))
        return loss, y, ops.sum(y * y), grad(loss, x)

    made = fused_ops(step, ROWS, np.array([0, 2, 1, 1, 2]))
    assert "softmax" not in made
    assert made.count("softmax_cross_entropy") == 1
    assert made.count("softmax_cross_entropy_backward") == 1


def test_who_reads_the_softmax_before_the_loss_keeps_it():
    def step(x, labels):
        y = ops.softmax(x)
        return ops.sum(ops.cross_entropy(y, labels + y * 0)), y

    made = fused_ops(step, ROWS, np.abs(ROWS))
    assert made.count("softmax") == 1


def test_nodes_are_not_changed():
    made = Trace()
    with made.active():
        x, w = (made.input(a.shape, "float32", "x") for a in (X, W))
        y = ops.batch_norm_inference(ops.conv(x, w), B, B, B, POSITIVE)
        graph = made.graph([ops.relu(y)])
    before = [(node, node.order) for node in graph.nodes()]
    fuse(graph)
    assert before == [(node, node.order) for node in graph.nodes()]
