"""Statistics of a batch by the convolution before its normalisation."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core, config, ops
from fastconv._core import ConvAttrs, Epilogue, OpKind
from fastconv.execution import devices, tuned
from fastconv.execution.function import Function
from fastconv.execution.narrow import alone
from fastconv.execution.tuned import Wish
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import emit
from fastconv.ops.geometry import output_shape, window
from fastconv.training import plan_report
from narrowed import assert_near, mixed, narrow, rounded, wide

EPSILON = 1e-3

# Image, weights, options: one tile and many, in parts and chunks of all heights; groups
# and channels that are no multiple of eight, which other kernels take; split sums.
CASES = {
    "pointwise": ((2, 9, 7, 64), (1, 1, 64, 48), {}),
    "many pixels": ((9, 40, 40, 24), (1, 1, 24, 72), {}),
    "wide": ((3, 11, 12, 16), (1, 1, 16, 264), {}),
    "3x3": ((2, 23, 19, 16), (3, 3, 16, 136), {"padding": "same"}),
    "3x3, stride 2": ((3, 29, 31, 24), (3, 3, 24, 56), {"strides": 2}),
    "few filters": ((4, 20, 21, 16), (3, 3, 16, 16), {}),
    "few channels": ((2, 31, 30, 3), (7, 7, 3, 64), {"strides": 2}),
    "odd filters": ((3, 21, 20, 13), (2, 3, 13, 37), {}),
    "groups": ((5, 13, 12, 64), (2, 3, 32, 36), {"groups": 2}),
    "split": ((1, 5, 5, 1024), (3, 3, 1024, 16), {"padding": "same"}),
    "one pixel": ((1, 1, 1, 16), (1, 1, 16, 8), {}),
}
DTYPES = pytest.mark.parametrize("dtype", ["bfloat16", "tf32"])
DEVICES = pytest.mark.parametrize(
    "device", ["cuda", "cuda:1"]
)  # with hopper.h, without


@pytest.fixture(autouse=True)
def float32_again():
    yield
    config.set_float32_precision("float32")


@pytest.fixture
def device(request):
    if request.param == "cuda:1" and devices.count("cuda") < 2:
        pytest.skip("there is one GPU; the emulator has two")
    return request.param


def attributes(image, weights, options, **more):
    given = {"strides": 1, "padding": "valid", **options}
    geometry = window(
        "conv", image, weights[:-2], out_channels=weights[-1], dilation=1, **given
    )
    attrs = ConvAttrs(geometry=geometry, statistics=1, epsilon=EPSILON, **more)
    return attrs, output_shape(geometry, len(image) - 2)


def statistics(dst):
    """By their formulas, of the last axis."""
    rows = np.asarray(dst, np.float64).reshape(-1, dst.shape[-1])
    variance = rows.var(axis=0)
    return rows.mean(axis=0), 1 / np.sqrt(variance + EPSILON), variance


def close(made, dst):
    for a, e in zip(made, statistics(dst), strict=True):
        np.testing.assert_allclose(a, e, rtol=2e-5, atol=2e-5)


def integers(seed, *shapes):
    """Of few bits, so that sums of their products are exact."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-1, 2, shape).astype(np.float32) for shape in shapes]


def into(dtype):
    """What makes inputs of such a convolution, and what makes float32 of its result."""
    return (narrow, wide) if dtype == "bfloat16" else (lambda t: t, lambda t: t)


def convolution(attrs, dtype):
    cast, back = into(dtype)

    def run(x, w, *bias):
        made = emit(
            OpKind.conv,
            attrs.replace(tf32=int(dtype == "tf32")),
            cast(x),
            cast(w),
            *bias,
        )
        return [back(made[0]), *made[1:]]

    return run


def test_of_the_reference(reference):
    image, weights, options = CASES["3x3, stride 2"]
    attrs, _ = attributes(image, weights, options)
    dst, *made = reference(convolution(attrs, "tf32"), *integers(0, image, weights))
    for a, e in zip(made, statistics(dst), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12)


@DEVICES
@DTYPES
@pytest.mark.parametrize("name", CASES)
def test_a_convolution_gives_them(gpu, reference, name, dtype, device):
    image, weights, options = CASES[name]
    attrs, _ = attributes(image, weights, options)
    arrays = integers(1, image, weights)
    run = convolution(attrs, dtype)
    [expected, *_] = reference(convolution(attrs, "tf32"), *arrays)
    function = Function(run, device)
    first, second = function(*arrays), function(*arrays)
    np.testing.assert_array_equal(
        first[0], rounded(expected) if dtype == "bfloat16" else expected
    )
    close(first[1:], first[0])
    assert [a.tobytes() for a in first] == [a.tobytes() for a in second]
    [conv] = [step for step in function.explain(*arrays) if step.op == "conv"]
    assert conv.kernel.startswith("statistics_")


@DEVICES
@DTYPES
@pytest.mark.parametrize("name", ["many pixels", "3x3", "odd filters", "split"])
def test_a_large_mean_costs_no_digits(gpu, name, dtype, device):
    image, weights, options = CASES[name]
    attrs, _ = attributes(image, weights, options, epilogue=Epilogue(bias=1))
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, image).astype(np.float32)
    w = (rng.integers(0, 9, weights) == 0).astype(np.float32)
    bias = np.full(weights[-1], 128 if dtype == "bfloat16" else 4096, np.float32)
    dst, *made = Function(convolution(attrs, dtype), device)(x, w, bias)
    close(made, dst)


@DTYPES
def test_of_an_empty_batch(gpu, dtype):
    attrs, shape = attributes((0, 9, 9, 16), (3, 3, 16, 24), {})
    x, w = np.zeros((0, 9, 9, 16)), np.ones((3, 3, 16, 24))
    dst, mean, rstd, variance = gpu.run(convolution(attrs, dtype), x, w)
    assert dst.shape == shape
    np.testing.assert_array_equal([mean, variance], np.zeros((2, 24)))
    np.testing.assert_allclose(rstd, EPSILON**-0.5, rtol=1e-6)


@DTYPES
@pytest.mark.parametrize("name", ["3x3", "groups"])
def test_every_way_to_cut_gives_them(gpu, name, dtype):
    image, weights, options = CASES[name]
    attrs, _ = attributes(image, weights, options)
    arrays = integers(3, image, weights)
    run = convolution(attrs, dtype)
    plan = Function(run, "cuda").compile(*arrays)
    [node] = [node for node in plan.graph.nodes() if node.kind == OpKind.conv]
    found = _core.kernel_options(plan.arena.backend, *alone(node))
    wishes = [Wish(kernel, *tiling) for kernel, tiling, _ in found]
    assert {4, 1} <= {wish.tile for wish in wishes}  # and 5 of "hopper"
    for wish in wishes:
        if wish.splits > 3:
            continue
        with tuned.trying({tuned.problem(node): wish}):
            function = Function(run, "cuda")
            dst, *made = function(*arrays)
            [step] = [s for s in function.explain(*arrays) if s.op == "conv"]
        assert (step.kernel, *step.tiling) == wish
        close(made, dst)


def network(x, first, gamma, beta, second, seed):
    """What residual networks are made of, and its gradients."""
    y = ops.conv(x, first, padding="same")
    y = ops.relu(ops.batch_norm(y, gamma, beta)[0])
    z = ops.conv(y, second, padding="same")
    z, mean, _, variance = ops.batch_norm(z, gamma, beta)
    z = ops.relu(z + y)
    return [z, mean, variance, *grad(z, [x, first, gamma, beta, second], seed)]


def operands():
    rng = np.random.default_rng(4)
    shapes = (
        (4, 14, 13, 32),
        (1, 1, 32, 48),
        (48,),
        (48,),
        (3, 3, 48, 48),
        (4, 14, 13, 48),
    )
    arrays = [rounded(rng.standard_normal(shape)) for shape in shapes]
    arrays[4] /= 16
    return arrays


def steps(run, device):
    return [
        (step.op, step.kernel) for step in Function(run, device).explain(*operands())
    ]


@DEVICES
@DTYPES
def test_normalisations_are_given_them(gpu, reference, dtype, device, monkeypatch):
    config.set_float32_precision("tf32" if dtype == "tf32" else "float32")
    run = mixed(network) if dtype == "bfloat16" else network
    made = steps(run, device)
    convolutions = [kernel for op, kernel in made if op == "conv"]
    assert len(convolutions) == 2
    assert all(kernel.startswith("statistics_") for kernel in convolutions)
    assert [op for op, _ in made if op.startswith("batch_norm")] == [
        *["batch_norm_inference"] * 2,
        *["batch_norm_backward"] * 2,
    ]
    given = Function(run, device)(*operands())
    monkeypatch.setenv("FASTCONV_KERNEL", "conv=-statistics")
    assert [op for op, _ in steps(run, device)].count("batch_norm") == 2
    assert_near(given, Function(run, device)(*operands()), 1e-3)


def test_in_float32_and_on_cpus_a_normalisation_takes_its_own(native):
    made = [op for op, _ in steps(network, native.device)]
    assert made.count("batch_norm") == 2


@DTYPES
def test_whatever_stands_between_keeps_them_away(gpu, dtype):
    def other_epsilon(x, first, gamma, beta, *_):
        y = ops.conv(x, first, padding="same")
        y, z = ops.batch_norm(y, gamma, beta)[0], ops.batch_norm(y, gamma, beta, 0.5)[0]
        return y + z

    def activated(x, first, gamma, beta, *_):
        return ops.batch_norm(ops.relu(ops.conv(x, first)), gamma, beta)[0]

    config.set_float32_precision("tf32" if dtype == "tf32" else "float32")
    cast = mixed if dtype == "bfloat16" else lambda run: run
    made = [op for op, _ in steps(cast(other_epsilon), "cuda")]
    assert made.count("batch_norm") == made.count("batch_norm_inference") == 1
    assert "batch_norm" in [op for op, _ in steps(cast(activated), "cuda")]


def residual(limit=None):
    fc.utils.set_random_seed(5)
    image = fc.Input((12, 12, 16))
    x = fc.layers.Conv2D(32, 1)(image)
    for _ in range(3):
        y = fc.layers.ReLU()(fc.layers.BatchNormalization()(x))
        y = fc.layers.Conv2D(32, 3, padding="same", use_bias=False)(y)
        y = fc.layers.BatchNormalization()(y)
        x = fc.layers.ReLU()(fc.layers.Add()([x, y]))
    x = fc.layers.GlobalAveragePooling2D()(x)
    model = fc.Model(image, fc.layers.Dense(10, "softmax")(x))
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", loss, device="cuda", memory_limit=limit)
    return model


@pytest.mark.usefixtures("gpu")
def test_little_memory_changes_nothing():
    config.set_float32_precision("tf32")
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((4, 12, 12, 16)), rng.integers(0, 10, 4)
    model = residual()
    less = residual(int(0.9 * model.memory(4)["total"]))
    made = [step.op for step in plan_report.plan(less, 4, True).report()]
    assert made.count("batch_norm_inference") > 6
    for one in (model, less):
        one.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), less.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
