"""Products of float32 under `fastconv.config.set_float32_precision("tf32")`."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import config, ops
from fastconv.errors import UnknownNameError
from fastconv.execution import devices
from fastconv.execution.function import Function
from narrowed import assert_near, directions
from test_op_conv_bfloat16 import CASES, function, operands

LARGEST_ERROR = 1e-3  # relative, of the norm
ALL = ("conv", "conv_backward_data", "conv_backward_weights", "gemm")


@pytest.fixture(autouse=True)
def tf32():
    config.set_float32_precision("tf32")
    yield
    config.set_float32_precision("float32")


def own(run, wanted=2):
    """The directions of a function, in the dtype of its arrays."""
    return directions(run, wanted, lambda t: t)


def full(case, seed=0):
    """Operands whose values have more bits than TF32."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(a.shape).astype("f4") for a in operands(case)]


def kernels(run, arrays, device="cuda"):
    """The kernels of the products, by kind."""
    steps = Function(run, device).explain(*arrays)
    return {step.op: step.kernel for step in steps if step.op in ALL}


@pytest.mark.parametrize("name", CASES)
def test_every_direction_is_near(gpu, reference, name):
    run, arrays = own(function(CASES[name])), full(CASES[name])
    assert_near(gpu.run(run, *arrays), reference(run, *arrays), LARGEST_ERROR)


@pytest.mark.parametrize("name", CASES)
def test_integers_are_exact(gpu, reference, name):
    arrays = [np.clip(np.round(2 * a), -3, 3) for a in full(CASES[name])]
    run = own(function(CASES[name]))
    for actual, expected in zip(
        gpu.run(run, *arrays), reference(run, *arrays), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("m", "k", "n"), [(64, 32, 48), (100, 257, 65), (129, 30, 7)])
@pytest.mark.parametrize("turned", ["neither", "a", "b"])
def test_matrix_products(gpu, reference, m, k, n, turned):
    rng = np.random.default_rng(7)
    shapes = (k, m) if turned == "a" else (m, k), (n, k) if turned == "b" else (k, n)
    a, b, dc = (rng.standard_normal(s).astype("f4") for s in (*shapes, (m, n)))

    def product(a, b):
        return ops.matmul(a, b, turned == "a", turned == "b")

    def active(a, b):
        return ops.relu(product(a, b))

    run = own(product)
    assert_near(gpu.run(run, a, b, dc), reference(run, a, b, dc), LARGEST_ERROR)
    assert_near(gpu.run(active, a, b), reference(active, a, b), LARGEST_ERROR)
    assert kernels(run, (a, b, dc), "cuda:1") == {"gemm": "tensor_cores"}


def test_epilogues(gpu, reference):
    x, w, dy = full(CASES["3x3"])
    bias = np.linspace(-1, 1, w.shape[-1], dtype="f4")

    def run(x, w, bias, dy):
        y = ops.conv(x, w, 1, "same")
        return own(lambda x, w: ops.relu(ops.conv(x, w, 1, "same") + bias + y))(
            x, w, dy
        )

    actual, expected = gpu.run(run, x, w, bias, dy), reference(run, x, w, bias, dy)
    assert_near(actual[:1], expected[:1], LARGEST_ERROR)


@pytest.mark.parametrize(
    ("value", "rounded"), [(1 + 2**-12, 1), (1 + 3 * 2**-12, 1 + 2**-10)]
)
def test_operands_are_rounded_to_the_nearest(gpu, value, rounded):
    x, one = np.full((1, 8), value, "f4"), np.eye(8, dtype="f4")
    for pair in ((x, one), (one, x.T.copy())):
        [y] = gpu.run(ops.matmul, *pair)
        assert set(np.unique(y)) <= {0, np.float32(rounded)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_the_outputs_that_read_them(gpu, value):
    x, weights, _ = full(CASES["3x3, stride 2"])
    x[0, 4, 4, 7] = value
    [y] = gpu.run(lambda x, w: ops.conv(x, w, 2, "same"), x, weights)
    [plain] = gpu.run(lambda x, w: ops.conv(abs(x) * 0, w, 2, "same"), x, weights)
    assert (np.isfinite(y) == np.isfinite(plain)).all()
    assert not np.isfinite(y).all()


def test_the_switch_changes_plans_and_back(gpu):
    run, arrays = own(function(CASES["3x3"])), full(CASES["3x3"])
    traced = Function(run, "cuda:1")
    rounded, made = traced(*arrays), traced.compile(*arrays)
    config.set_float32_precision("float32")
    exact = traced(*arrays)
    assert {s.kernel for s in traced.explain(*arrays) if s.op in ALL} == {
        "implicit_gemm"
    }
    again = made([*arrays])
    config.set_float32_precision("tf32")
    for a, b, c, d in zip(rounded, exact, again, traced(*arrays), strict=True):
        assert (a != b).any()
        assert a.tobytes() == c.tobytes() == d.tobytes()


def test_products_run_on_tensor_cores(gpu):
    run, arrays = own(function(CASES["3x3"])), full(CASES["3x3"])
    if devices.backend_of("cuda").detail == "emulated":  # which has all instructions
        assert kernels(run, arrays) == {
            "conv": "hopper", "conv_backward_data": "hopper",
            "conv_backward_weights": "tensor_cores",
        }  # fmt: skip
    for name in ("3x3", "pointwise", "stem", "groups"):
        run, arrays = own(function(CASES[name])), full(CASES[name])
        assert set(kernels(run, arrays, "cuda:1").values()) == {"tensor_cores"}


def test_a_cpu_computes_the_same(cpu):
    run, arrays = own(function(CASES["3x3"])), full(CASES["3x3"])
    rounded = cpu.run(run, *arrays)
    config.set_float32_precision("float32")
    for a, b in zip(rounded, cpu.run(run, *arrays), strict=True):
        assert a.tobytes() == b.tobytes()


def test_training_follows_the_switch(gpu):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 12, 12, 3)).astype("f4"), rng.integers(0, 4, 8)

    def weights():
        fc.utils.set_random_seed(1)
        model = fc.Sequential([
            fc.Input((12, 12, 3)), fc.layers.Conv2D(16, 3, activation="tanh"),
            fc.layers.Flatten(), fc.layers.Dense(4),
        ])  # fmt: skip
        loss = fc.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, device="cuda")
        model.fit(x, y, epochs=2, verbose=0)
        return model.get_weights()

    rounded = weights()
    config.set_float32_precision("float32")
    exact = weights()
    assert any((a != b).any() for a, b in zip(rounded, exact, strict=True))
    assert_near(rounded, exact, 1e-2)


def test_other_names_are_refused():
    with pytest.raises(UnknownNameError, match="tf32"):
        config.set_float32_precision("tf23")
    assert config.float32_precision() == "tf32"
