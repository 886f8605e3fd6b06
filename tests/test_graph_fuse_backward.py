"""Fusion of training steps: which kinds remain, and that no value changes."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import ops
from fastconv.cli.common import make_model
from fastconv.graph.autodiff import grad
from fastconv.training import plan_report
from test_graph_fuse import fused_ops

RNG = np.random.default_rng(1)
LONE = {"activation", "activation_backward", "binary"}


def normal(*shape):
    return RNG.standard_normal(shape)


def norm(x, gamma, beta):
    return ops.batch_norm(x, gamma, beta)[0]


X = normal(2, 5, 5, 4)
WEIGHTS = normal(3, 3, 4, 4)
GAMMA, BETA = normal(4), normal(4)
SEED = normal(2, 5, 5, 4)
OPERANDS = (X, WEIGHTS, GAMMA, BETA, SEED)


@pytest.mark.parametrize("activation", ["relu", "relu6", "tanh", "elu", "swish"])
def test_norm_and_activation(activation):
    def train(x, w, gamma, beta, seed):
        y = getattr(ops, activation)(norm(ops.conv(x, w, 1, "same"), gamma, beta))
        return [y, *grad(y, [x, w, gamma, beta], seed)]

    assert fused_ops(train, *OPERANDS) == [
        "conv",
        "batch_norm",
        "batch_norm_backward",
        "conv_backward_data",
        "conv_backward_weights",
    ]


def residual(x, w, gamma, beta, projected):
    y = ops.relu(norm(ops.conv(x, w, 1, "same"), gamma, beta))
    y = norm(ops.conv(y, w, 1, "same"), gamma, beta)
    if projected == "before":
        return ops.relu(y + norm(ops.conv(x, w[:1, :1], 1), gamma, beta))
    if projected == "after":
        x = norm(ops.conv(x, w[:1, :1], 1), gamma, beta)
    return ops.relu(x + y)


@pytest.mark.parametrize("projected", ["no", "before", "after"])
def test_blocks_of_a_resnet_in_training(projected):
    def train(x, w, gamma, beta, seed):
        y = ops.relu(norm(ops.conv(x, w, 1, "same"), gamma, beta))
        y = residual(y, w, gamma, beta, projected)
        y = residual(y, w, gamma, beta, projected)
        return [y, *(grad(y, [v], seed)[0] for v in (x,))]

    convolutions = 5 if projected == "no" else 7
    kept = fused_ops(train, *OPERANDS)
    assert not LONE & set(kept)
    for kind in ("conv", "batch_norm", "batch_norm_backward", "conv_backward_data"):
        assert kept.count(kind) == convolutions


def test_block_of_a_resnet_at_inference():
    positive = GAMMA**2 + 0.5

    def run(x, w, gamma, beta, positive):
        def norm(x):
            return ops.batch_norm_inference(x, gamma, beta, beta, positive)

        y = ops.relu(norm(ops.conv(x, w, 1, "same")))
        return ops.relu(x + norm(ops.conv(y, w, 1, "same")))

    kept = fused_ops(run, X, WEIGHTS, GAMMA, BETA, positive)
    assert kept.count("conv") == 2
    assert not {"batch_norm_inference", "activation"} & set(kept)


def test_inverted_residual_in_training():
    def block(x, w, gamma, beta):
        y = ops.relu6(norm(ops.conv(x, w, 1, "same"), gamma, beta))
        return x + norm(ops.conv(y, w, 1, "same"), gamma, beta)

    def train(x, w, gamma, beta, seed):
        y = block(block(x, w, gamma, beta), w, gamma, beta)
        return [y, grad(y, x, seed)]

    assert not LONE & set(fused_ops(train, *OPERANDS))


def test_norm_whose_activation_is_read_by_others():
    def train(x, w, gamma, beta, seed):
        before = norm(ops.conv(x, w, 1, "same"), gamma, beta)
        y = ops.relu(before)
        return [before, y, *grad(y, [x, before], seed)]

    kept = fused_ops(train, *OPERANDS)
    assert kept.count("activation") == kept.count("activation_backward") == 1


def test_sum_of_another_shape_is_no_residual():
    def train(x, w, gamma, beta, seed):
        y = ops.relu(norm(ops.conv(x, w, 1, "same"), gamma, beta) + x[:1])
        return [y, *grad(y, [x, w, gamma], seed)]

    assert "activation_backward" in fused_ops(train, *OPERANDS)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid"])
def test_nets_without_norm(activation):
    def train(x, w, gamma, beta, seed):
        y = x
        for _ in range(3):
            y = getattr(ops, activation)(ops.conv(y, w, 1, "same") + beta)
        return [y, *grad(y, [x, w], seed)]

    kept = fused_ops(train, *OPERANDS)
    assert kept.count("activation") == 0
    assert kept.count("activation_backward") == 1  # of the seed, which nothing made


@pytest.mark.parametrize("strides", [2, 1])
def test_activation_before_a_max_pool(strides):
    def train(x, w, gamma, beta, seed):
        y = ops.relu(ops.conv(x, w, 1, "same") + beta)
        y = ops.max_pool(y, 2, strides)
        y = ops.conv(y, w[:1, :1])
        return [y, *grad(ops.sum(y * y), [x, w, beta])]

    kept = fused_ops(train, *OPERANDS)
    assert not {"activation", "activation_backward"} & set(kept)
    assert kept.count("max_pool_backward") == 1


@pytest.mark.parametrize("parts", ["relu relu", "relu tanh", "relu", "relu relu pool"])
def test_activations_before_a_concat(parts):
    def train(x, w, gamma, beta, seed):
        made = [
            ops.max_pool(x, 3, 1, "same")
            if name == "pool"
            else getattr(ops, name)(ops.conv(x, w[:, :, :, i:], 1, "same"))
            for i, name in enumerate(parts.split())
        ]
        y = ops.concatenate(made)
        y = ops.conv(y, ops.concatenate([w] * len(made), axis=2)[..., : y.shape[-1], :])
        return [y, *grad(ops.sum(y * y), [x, w])]

    kept = fused_ops(train, *OPERANDS)
    lone = {"relu tanh": 2, "relu relu pool": 2}.get(parts, 0)
    assert kept.count("activation_backward") == lone


def test_what_the_pool_gives_is_read_again():
    def train(x, w, gamma, beta, seed):
        y = ops.relu(ops.conv(x, w, 1, "same"))
        z = ops.max_pool(y, 2, 1, "same")
        return [z, *grad(ops.sum(z * z), [x, y])]

    assert "activation_backward" in fused_ops(train, *OPERANDS)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", "googlenet"])
def test_training_of_models_has_no_lone_activation_or_sum(name):
    model = make_model(name)
    model.compile("sgd", "sparse_categorical_crossentropy")
    steps = plan_report.plan(model, 2, training=True).report()
    lone = [step for step in steps if step.op in LONE and len(step.shape) > 1]
    assert not lone
    norms = [step for step in steps if step.op == "batch_norm"]
    assert len([s for s in steps if s.op == "batch_norm_backward"]) == len(norms) > 0


def test_a_gradient_may_be_read_by_an_op_with_an_unread_output():
    x = fc.Input((8, 8, 4))
    convs = [fc.layers.Conv2D(2, 3, padding="same", activation="relu") for _ in "ab"]
    joined = fc.layers.Concatenate()([conv(x) for conv in convs])
    model = fc.Model(x, fc.layers.Add()([fc.layers.BatchNormalization()(x), joined]))
    model.compile("sgd", "mse")
    data = normal(2, 8, 8, 4).astype(np.float32)
    before = model.train_on_batch(data, np.zeros_like(data))
    assert model.train_on_batch(data, np.zeros_like(data)) < before
