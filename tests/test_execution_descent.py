"""Updates that make the gradients of large weights themselves."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import ops
from fastconv.graph.variable import Variable, together
from fastconv.ops.sgd import sgd

SHAPES = [(600, 513), (7, 40000), (2100, 128)]  # of weights


def network(shape, seed=0):
    """Small, large and small weights, neighbours in a block, and their velocities."""
    rng = np.random.default_rng(seed)
    shapes = [(5,), shape, (3, 4)]
    weights = [Variable(rng.integers(-3, 4, s), dtype="float32") for s in shapes]
    velocities = [Variable(rng.integers(-3, 4, s), dtype="float32") for s in shapes]
    together(weights)
    together(velocities)
    return weights, velocities


def step(weights, velocities, nesterov=False, stored=False, data=None):
    """A function that updates them; with ``stored`` somebody reads the gradient.

    data: (optional) what becomes of the gradient of x.
    """
    from fastconv.graph.variable import span

    flat, velocity = span(weights), span(velocities)

    def run(x, dy, hyper):
        dx = ops.matmul(dy, weights[1], transpose_b=True) if data else ops.sum(x)
        result = data(dx, weights[1]) if data else dx
        large = ops.matmul(x, dy, transpose_a=True)
        small = [ops.sum(x) * ops.ones((v.size,)) for v in (weights[0], weights[2])]
        gradients = (small[0], ops.reshape(large, (large.size,)), small[1])
        new, state = sgd(flat, ops.concatenate(gradients, 0), hyper, velocity, nesterov)
        flat.assign(new)
        velocity.assign(state)
        return (result, large) if stored else result

    return run


def operands(shape, rows, whole=True):
    rng = np.random.default_rng(rows)
    sizes = [(rows, n) for n in shape]
    if whole:
        made = [rng.integers(-2, 3, s).astype(np.float32) for s in sizes]
        return *made, np.array([0.25, 0.5], np.float32)
    made = [rng.standard_normal(s, np.float32) for s in sizes]
    return *made, np.array([0.1, 0.9], np.float32)


def values(variables):
    return [v.numpy() for v in variables]


def trained(device, shape, arrays, **options):
    """Weights and velocities after two steps, and the kernels of the updates."""
    weights, velocities = network(shape)
    function = device.function(step(weights, velocities, **options))
    results = [function(*arrays) for _ in range(2)]
    if options.get("stored"):
        results = [first for first, _ in results]
    report = [] if device.name == "reference" else function.explain(*arrays)
    kernels = [line.kernel for line in report if line.op in ("sgd", "gemm")]
    return [*values([*weights, *velocities]), *results], kernels


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("rows", [1, 6, 300])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_exact(backend, shape, rows, nesterov):
    from conftest import Backend

    arrays = operands(shape, rows)
    made, kernels = trained(backend, shape, arrays, nesterov=nesterov)
    expected, _ = trained(Backend("reference"), shape, arrays, nesterov=nesterov)
    if backend.name.startswith("cpu"):
        assert kernels == ["sgd", "product", "sgd"]
    for a, e in zip(made, expected, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("rows", [6, 300])
def test_bytes_are_those_of_a_stored_gradient(cpu, rows, nesterov):
    arrays = operands(SHAPES[0], rows, whole=False)
    fused, kernels = trained(cpu, SHAPES[0], arrays, nesterov=nesterov)
    options = {"nesterov": nesterov, "stored": True}
    stored, plain = trained(cpu, SHAPES[0], arrays, **options)
    assert (kernels, plain) == (["sgd", "product", "sgd"], ["packed_tiles", "sgd"])
    for a, e in zip(fused, stored, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("rows", [1, 32, 61])
@pytest.mark.parametrize("shape", [*SHAPES, (520, 520), (100, 3001)])
def test_data_are_exact(backend, shape, rows, nesterov):
    from conftest import Backend

    arrays = operands(shape, rows)
    options = {"nesterov": nesterov, "data": twice}
    made, kernels = trained(backend, shape, arrays, **options)
    expected, _ = trained(Backend("reference"), shape, arrays, **options)
    if backend.name.startswith("cpu"):
        assert kernels == ["product", "sgd", "sgd"]
    for a, e in zip(made, expected, strict=True):
        np.testing.assert_array_equal(a, e)


def twice(dx, _):
    return 2 * dx


@pytest.mark.parametrize("rows", [1, 6, 32, 64, 65])
def test_bytes_of_data_are_those_of_a_product(cpu, rows):
    arrays = operands(SHAPES[0], rows, whole=False)
    fused, kernels = trained(cpu, SHAPES[0], arrays, data=twice)
    stored, _ = trained(cpu, SHAPES[0], arrays, data=twice, stored=True)
    assert kernels.count("packed_tiles") == (rows > 64)
    for a, e in zip(fused, stored, strict=True):
        np.testing.assert_array_equal(a, e)


def doubled(array):
    return array * 2


@pytest.mark.parametrize(
    ("data", "fused"),
    [
        (
            lambda dx, w: ops.callback(doubled, dx, (dx.shape, dx.dtype)),
            False,
        ),
        (lambda dx, w: ops.sum(dx) + ops.sum(w), True),  # reads the old weights
        (lambda dx, w: ops.relu(dx), False),  # part of the product
    ],
)
def test_what_follows_the_data(cpu, data, fused):
    from conftest import Backend

    arrays = operands(SHAPES[0], 6)
    made, kernels = trained(cpu, SHAPES[0], arrays, data=data)
    expected, _ = trained(Backend("reference"), SHAPES[0], arrays, data=data)
    assert ("packed_tiles" not in kernels) == fused
    for a, e in zip(made, expected, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("data", [None, twice])
def test_bytes_do_not_depend_on_threads(cpu, threads, data):
    arrays = operands(SHAPES[0], 32, whole=False)
    threads(lambda: trained(cpu, SHAPES[0], arrays, data=data)[0])


def plan(**options):
    model = fc.Sequential([fc.Input((600,)), fc.layers.Dense(512), fc.layers.Dense(2)])
    model.compile(fc.optimizers.SGD(0.1, **options), "mse", device="cpu")
    x, y = np.zeros((4, 600), np.float32), np.zeros((4, 2), np.float32)
    return model._plans.executable("train", x, y, None)


def kernels_of(**options):
    return [line.kernel for line in plan(**options).report() if line.op == "sgd"]


def test_a_model_has_such_updates():
    assert kernels_of(momentum=0.9).count("product") == 1


def test_a_model_reads_its_weights_once_on_the_way_back():
    layers = [fc.Input((600,)), fc.layers.Dense(512), fc.layers.Dense(700)]
    model = fc.Sequential(layers)
    model.compile(fc.optimizers.SGD(0.1, momentum=0.9), "mse", device="cpu")
    x, y = np.zeros((4, 600), np.float32), np.zeros((4, 700), np.float32)
    report = model._plans.executable("train", x, y, None).report()
    kinds = [r.op for r in report if r.op == "gemm" or r.kernel == "product"]
    assert kinds == ["gemm", "gemm", "sgd", "sgd"]


@pytest.mark.parametrize(
    "options",
    [{"global_clipnorm": 1.0}, {"clipvalue": 1.0}, {"gradient_accumulation_steps": 2},
     {"use_ema": True}, {"weight_decay": 0.1}, {"momentum": 0.0}],
)  # fmt: skip
def test_gradients_that_are_read_are_stored(options):
    assert "product" not in kernels_of(**{"momentum": 0.9, **options})


def test_the_gradient_takes_no_memory():
    large = 4 * 600 * 512
    assert plan(momentum=0.9).arena_bytes < large
    assert plan(momentum=0.9, clipvalue=1.0).arena_bytes >= large
