"""Matrix products in all layouts, against NumPy, the reference and PyTorch."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import read

from fastconv import ops
from fastconv._core import Activation, Epilogue, GemmAttrs, OpKind
from fastconv.errors import DtypeError, ShapeError
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import Leaf, Node, emit
from fastconv.ops.activation import epilogue_shapes

PROBLEMS = list(read("gemm"))
SIZE = st.integers(1, 70)


def integers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float32)


def stored(array, transposed):
    return np.ascontiguousarray(np.swapaxes(array, -1, -2)) if transposed else array


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_named_problems_are_exact(backend, problem):
    rng = np.random.default_rng(1)
    m, n, k = (min(problem[key], 200) for key in "mnk")
    lead = (min(problem["b"], 3),) if "b" in problem.numbers else ()
    ta, tb = ("t" + key in problem.flags for key in "ab")
    a, b = integers(rng, *lead, m, k), integers(rng, *lead, k, n)
    [c] = backend.run(
        lambda a, b: ops.matmul(a, b, ta, tb), stored(a, ta), stored(b, tb)
    )
    np.testing.assert_array_equal(c, a @ b)


@given(
    m=SIZE, n=SIZE, k=SIZE, ta=st.booleans(), tb=st.booleans(), batch=st.integers(-1, 3)
)
@settings(max_examples=150)
@example(m=1, n=1, k=1, ta=False, tb=False, batch=-1)
@example(m=70, n=33, k=17, ta=True, tb=True, batch=2)
def test_any_size_is_exact(backend, m, n, k, ta, tb, batch):
    rng = np.random.default_rng(m * 71 + n)
    lead = () if batch < 0 else (batch,)
    a, b = integers(rng, *lead, m, k), integers(rng, *lead, k, n)
    dc = integers(rng, *lead, m, n)

    def run(a, b, dc):
        c = ops.matmul(a, b, ta, tb)
        return [c, *grad(c, [a, b], dc)]

    actual = backend.check(run, stored(a, ta), stored(b, tb), dc)
    np.testing.assert_array_equal(actual[0], a @ b)
    np.testing.assert_array_equal(stored(actual[1], ta), dc @ np.swapaxes(b, -1, -2))
    np.testing.assert_array_equal(stored(actual[2], tb), np.swapaxes(a, -1, -2) @ dc)


# One row beside columns that fill no vector; an operand that outgrows the caches, for
# few rows and for more.
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (1, 300, 40), (1, 129, 1100), (1, 7, 3), (6, 77, 20001), (9, 1037, 1100),
        (16, 301, 4099), (20, 1037, 1100), (29, 1037, 1100), (32, 1037, 1100),
        (64, 1037, 1100),
    ],
)  # fmt: skip
def test_few_rows_are_exact(cpu, threads, m, n, k):
    rng = np.random.default_rng(m)
    a, b, c = integers(rng, m, k), integers(rng, k, n), integers(rng, n)
    function = cpu.function(lambda a, b, c: ops.relu(ops.matmul(a, b) + c))
    [actual] = threads(lambda: function(a, b, c))
    np.testing.assert_array_equal(actual, np.maximum(a @ b + c, 0))


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize(
    ("left", "right"),
    [((), (3,)), ((3,), ()), ((2, 3), ()), ((), (2, 3)), ((2, 3), (2, 3))],
)
def test_leading_axes(backend, check_gradient, ta, tb, left, right):
    rng = np.random.default_rng(2)
    a, b = integers(rng, *left, 4, 5), integers(rng, *right, 5, 6)
    operands = stored(a, ta), stored(b, tb)
    [c] = backend.check(lambda a, b: ops.matmul(a, b, ta, tb), *operands)
    np.testing.assert_array_equal(c, a @ b)
    check_gradient(lambda a, b: ops.matmul(a, b, ta, tb), *operands)


def test_second_order(check_gradient):
    rng = np.random.default_rng(3)
    a, b, dc = (rng.standard_normal(s) for s in ((2, 3, 4), (4, 5), (2, 3, 5)))
    check_gradient(lambda a, b, dc: grad(ops.matmul(a, b), [a, b], dc), a, b, dc)


@pytest.mark.parametrize("k", [1000, 20_000])
def test_long_sums_are_close(backend, k):
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((13, k)), rng.standard_normal((k, 29))
    actual = backend.check(ops.matmul, a, b, reduction_length=k)
    backend.isclose(actual, a.astype("f") @ b.astype("f"), k)


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 3, 5)])
def test_empty_batch(backend, shape):
    x, w = np.ones(shape, np.float32), np.ones((5, 3), np.float32)

    def run(x, w):
        y = ops.matmul(x, w)
        return [y, *grad(ops.sum(y), [x, w])]

    y, dx, dw = backend.run(run, x, w)
    assert y.shape == (*shape[:-1], 3)
    assert dx.shape == shape
    np.testing.assert_array_equal(dw, np.zeros((5, 3)))
    [c] = backend.run(ops.matmul, x, np.ones((*shape[:-2], 5, 3), np.float32))
    assert c.shape == (*shape[:-1], 3)


@pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
def test_dense(backend, check_gradient, lead):
    rng = np.random.default_rng(5)
    x, w, b = integers(rng, *lead, 6), integers(rng, 6, 5), integers(rng, 5)
    [y] = backend.check(ops.dense, x, w, b)
    np.testing.assert_array_equal(y, x @ w + b)
    [y] = backend.run(ops.dense, x, w)
    np.testing.assert_array_equal(y, x @ w)
    check_gradient(ops.dense, x, w, b)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_epilogue(native, reference, activation):
    rng = np.random.default_rng(6)
    arrays = integers(rng, 9, 20), integers(rng, 20, 37), integers(rng, 37)

    def run(x, w, b):
        return getattr(ops, activation)(ops.dense(x, w, b))

    assert [s.op for s in native.function(run).explain(*arrays)] == ["gemm"]
    native.isclose(native.run(run, *arrays), reference(run, *arrays), 20)


@pytest.mark.parametrize("derivative", [0, 1])
@pytest.mark.parametrize(
    ("m", "n", "k", "transposed"),
    [(9, 37, 20, ""), (200, 70, 9, ""), (5, 40, 30, "b"), (40, 30, 50, "a"),
     (2, 20, 4000, "")],
)  # fmt: skip
def test_epilogue_operands(backend, m, n, k, transposed, derivative):
    rng = np.random.default_rng(8)
    ta, tb = "a" in transposed, "b" in transposed
    epilogue = Epilogue(
        scale=1, bias=1, add=1, derivative=derivative, activation=Activation.relu6
    )
    attrs = GemmAttrs(
        batch=2, m=m, n=n, k=k, transpose_a=ta, transpose_b=tb, epilogue=epilogue
    )
    shapes = [(2, k, m) if ta else (2, m, k), (2, n, k) if tb else (2, k, n)]
    shapes += epilogue_shapes(epilogue, (2, m, n))
    arrays = [integers(rng, *shape) for shape in shapes]
    backend.check(lambda *operands: emit(OpKind.gemm, attrs, *operands)[0], *arrays)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize(
    ("n", "k"),
    [(1, 16), (2, 64), (3, 33), (4, 70), (16, 1), (64, 2), (33, 3), (100, 4), (4, 3)],
)
def test_thin_products(backend, n, k, tb, whole):
    rng, m = np.random.default_rng(9), 301
    epilogue = Epilogue()
    if whole:
        epilogue = Epilogue(scale=1, bias=1, add=1, activation=Activation.relu6)
    attrs = GemmAttrs(batch=1, m=m, n=n, k=k, transpose_b=tb, epilogue=epilogue)
    shapes = [(1, m, k), (1, n, k) if tb else (1, k, n)]
    shapes += epilogue_shapes(epilogue, (1, m, n))
    arrays = [integers(rng, *shape) for shape in shapes]
    backend.check(lambda *operands: emit(OpKind.gemm, attrs, *operands)[0], *arrays)


def test_bytes_do_not_depend_on_threads(cpu, threads):
    rng = np.random.default_rng(7)
    for shape in ((300, 200, 150), (1, 3000, 500), (2000, 7, 64), (2000, 2, 64)):
        m, n, k = shape
        a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
        threads(lambda a=a, b=b: cpu.run(ops.matmul, a, b))


def test_values_not_finite_stay_where_they_belong(backend):
    a, b = np.ones((19, 11), np.float32), np.ones((11, 35), np.float32)
    a[7, 3], b[10, 34] = np.nan, np.inf
    [c] = backend.run(ops.matmul, a, b)
    expected = np.ones((19, 35), bool)
    expected[7] = expected[:, 34] = False
    np.testing.assert_array_equal(np.isfinite(c), expected)


def test_same_as_torch(backend):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    a, b = integers(rng, 3, 17, 9), integers(rng, 3, 9, 31)
    [c] = backend.run(ops.matmul, a, b)
    np.testing.assert_array_equal(
        c, torch.bmm(torch.tensor(a), torch.tensor(b)).numpy()
    )


def test_cost(cpu):
    a, b = np.zeros((3, 4, 5), np.float32), np.zeros((3, 5, 6), np.float32)
    [step] = cpu.function(ops.matmul).explain(a, b)
    assert step.flops == 2 * prod((3, 4, 5, 6))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((3,), (3, 4), r"at least 2 axes, received shapes \(3,\) and \(3, 4\)"),
        (
            (2, 3),
            (4, 5),
            r"inner sizes differ: expected 3 rows .* \(2, 3\) and \(4, 5\)",
        ),
        ((2, 5, 3), (3, 3, 4), "the same leading axes"),
    ],
)
def test_bad_shapes(a, b, message):
    with pytest.raises(ShapeError, match=message):
        ops.matmul(np.zeros(a, np.float32), np.zeros(b, np.float32))


def test_other_errors():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(DtypeError, match="one dtype, received float32 and int32"):
        ops.matmul(x, np.zeros((3, 2), np.int32))
    with pytest.raises(
        ShapeError, match=r"last axis is the first of the weights \(4, 5\)"
    ):
        ops.dense(x, np.zeros((4, 5), np.float32))
    with pytest.raises(ShapeError, match=r"expected a bias of shape \(5,\)"):
        ops.dense(x, np.zeros((3, 5), np.float32), np.zeros(4, np.float32))


def test_operands_are_checked_against_the_attributes():
    shapes = (2, 3), (4, 5)
    a, b = (Node(Leaf.input, None, (), [(s, "float32")]).outputs[0] for s in shapes)
    attrs = GemmAttrs(m=2, n=5, k=3, epilogue=Epilogue())
    with pytest.raises(ShapeError, match="expected an operand of shape"):
        emit(OpKind.gemm, attrs, a, b)
