"""fastconv.function: structures, caching, variables, devices, threads, errors."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastconv import _core, ops
from fastconv.errors import (
    ArgumentError,
    DataError,
    DeviceError,
    DtypeError,
    ShapeError,
)
from fastconv.execution import eager
from fastconv.execution.eager import device
from fastconv.execution.executable import Executable
from fastconv.execution.function import PLANS_KEPT, Function, function
from fastconv.graph.autodiff import grad
from fastconv.graph.variable import Variable, span, together

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_structures_in_and_out(backend):
    def run(pair, options, *, factor, name):
        first, second = pair
        return {
            "sum": first + second * factor,
            "parts": [second, (first, None)],
            name: options["bias"],
            "number": 2.5,
        }

    result = backend.function(run)((X, X + 1), {"bias": X[0]}, factor=3, name="b")
    assert list(result) == ["sum", "parts", "b", "number"]
    np.testing.assert_array_equal(result["sum"], X + (X + 1) * 3)
    assert isinstance(result["parts"], list)
    assert isinstance(result["parts"][1], tuple)
    np.testing.assert_array_equal(result["parts"][1][0], X)
    assert result["parts"][1][1] is None
    np.testing.assert_array_equal(result["b"], X[0])
    assert result["number"] == 2.5
    assert result["number"].shape == ()


def test_a_result_is_a_copy(backend):
    weight = Variable(X)
    run = backend.function(lambda x: (x, ops.reshape(x, (6,)), weight, x + 1))
    first = run(X)
    second = run(X + 10)
    weight.value[...] = -1
    np.testing.assert_array_equal(first[0], X)
    np.testing.assert_array_equal(first[2], X)
    np.testing.assert_array_equal(first[3], X + 1)
    np.testing.assert_array_equal(second[1], X.reshape(-1) + 10)


@pytest.mark.parametrize(
    "shape", [(), (1,), (0, 3), (2, 0, 1), (1, 1, 1, 1, 1, 1, 1, 2)]
)
def test_any_shape(backend, shape):
    x = np.full(shape, 3, np.float32)
    [y, same] = backend.run(lambda x: (x * 2, x), x)
    assert y.shape == same.shape == shape
    np.testing.assert_array_equal(y, x * 2)


def test_too_many_axes():
    with pytest.raises(ShapeError, match="at most 8 axes, received 9"):
        Function(lambda x: x + 1)(np.zeros((1,) * 9, np.float32))


@pytest.mark.parametrize(
    "array",
    [
        X[:, ::-1],
        X.T,
        np.asfortranarray(X),
        X.astype(">f4"),
        np.broadcast_to(np.float32(2), (2, 3)),
        np.frombuffer(b"\0" + X.tobytes(), np.float32, 6, 1).reshape(2, 3),
        X.astype(np.float64),
        X.astype(np.longdouble),
        X.tolist(),
    ],
    ids=["reversed", "transposed", "fortran", "endian", "broadcast", "unaligned",
         "float64", "longdouble", "list"],
)  # fmt: skip
def test_any_array(backend, array):
    traced = backend.function(lambda x: x * 2)
    np.testing.assert_array_equal(traced(array), np.asarray(array) * 2)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "uint8", "bool"])
def test_integers(backend, dtype):
    array = np.array([0, 1, 1], dtype)
    [result] = backend.run(lambda x: ops.cast(x, "float32"), array)
    np.testing.assert_array_equal(result, [0, 1, 1])


def test_traced_once_a_shape_and_once_a_value():
    traces = []

    @function
    def run(x, factor=2):
        traces.append((x.shape, factor))
        return x * factor

    for _ in range(3):
        run(X)
        run(X, factor=3)
        run(X[:1])
    assert traces == [((2, 3), 2), ((2, 3), 3), ((1, 3), 2)]
    assert run(X, True)[0, 1] == 1  # True is not 1
    assert len(traces) == 4


def test_the_cache_is_bounded_and_keeps_what_is_used():
    sizes = []

    def python(x):
        sizes.append(x.shape[0])
        return x + 1

    run = Function(python)
    often = np.zeros(1000, np.float32)
    for n in range(1, 2 * PLANS_KEPT):
        run(np.zeros(n, np.float32))
        run(often)
    assert sizes.count(1000) == 1
    assert len(run._plans) == PLANS_KEPT
    run(np.zeros(1, np.float32))
    assert sizes.count(1) == 2
    run.clear()
    assert not run._plans


def test_a_thousand_shapes_keep_memory_bounded():
    run = Function(lambda x: ops.relu(x) @ ops.transpose(x))
    rng = np.random.default_rng(0)
    largest = 0
    for _ in range(1000):
        shape = tuple(rng.integers(1, 60, 2))
        largest = max(largest, run.compile(np.zeros(shape, np.float32)).arena_bytes)
        run(np.zeros(shape, np.float32))
    assert len(run._plans) == PLANS_KEPT
    assert run._arena.bytes <= 2 * largest


def test_variables_are_read_and_assigned(backend):
    total = Variable(np.zeros(3))

    def add(x):
        total.assign(total + x)
        return total * 10

    run = backend.function(add)
    for i in (1, 2, 3):
        np.testing.assert_array_equal(run(np.ones(3, np.float32)), [10 * i] * 3)
    np.testing.assert_array_equal(total.numpy(), [3, 3, 3])
    total.assign([5, 5, 5])
    np.testing.assert_array_equal(run(np.ones(3, np.float32)), [60] * 3)


def test_two_variables_change_places(backend):
    a, b = Variable([1.0, 2.0]), Variable([3.0, 4.0])
    together([a, b])

    def swap():
        old = ops.add(a, 0)
        a.assign(b)
        b.assign(old)

    def swap_at_once():
        values = b + 0, a + 0
        a.assign(values[0])
        b.assign(values[1])

    assert backend.function(swap)() is None
    np.testing.assert_array_equal(a.block.array, [3, 4, 1, 2])
    backend.function(swap_at_once)()
    np.testing.assert_array_equal(a.block.array, [1, 2, 3, 4])


def test_reads_after_an_assignment_see_it(backend):
    a, b = Variable([1.0]), Variable([0.0])

    def run():
        before = a + 0
        a.assign(a * 5)
        a.assign(a + 1)
        b.assign(a)
        return before, a

    before, after = backend.function(run)()
    assert (before[0], after[0], a.value[0], b.value[0]) == (1, 6, 6, 6)


def test_an_old_value_survives_an_update_in_place(backend):
    a = Variable([1.0, 2.0])

    def run(x):
        old = ops.reshape(a, (2, 1))
        a.assign(a - x)
        return old

    [old] = backend.run(run, np.ones(2, np.float32))
    np.testing.assert_array_equal(old, [[1], [2]])
    np.testing.assert_array_equal(a.value, [0, 1])


@pytest.mark.parametrize("momentum", [False, True])
def test_a_span_is_updated_in_place(backend, momentum):
    weights = [
        Variable(np.ones(s), f"w{i}") for i, s in enumerate([(2, 3), (3,), (4,)])
    ]
    velocities = [Variable(np.zeros(w.shape)) for w in weights]
    together(weights)
    together(velocities)
    block, speed = span(weights), span(velocities)
    hyper = np.array([0.1, 0.5], np.float32)

    def step(x, hyper):
        y = ops.sum(ops.dense(x, weights[0], weights[1])) + ops.sum(weights[2] * 2)
        gradients = [ops.reshape(g, (g.size,)) for g in grad(y, weights)]
        flat = ops.concatenate(gradients, axis=0)
        if momentum:
            new, new_speed = ops.sgd(block, flat, hyper, speed)
            block.assign(new)
            speed.assign(new_speed)
        else:
            block.assign(ops.sgd(block, flat, hyper))
        return y

    run = backend.function(step)
    slope = np.concatenate([np.repeat(X.sum(axis=0)[:2], 3), [2, 2, 2], [2] * 4])
    x = X[:, :2]
    for _ in range(2):
        run(x, hyper)
    factor = 2.5 if momentum else 2
    np.testing.assert_allclose(block.value, 1 - factor * 0.1 * slope, atol=1e-6)
    np.testing.assert_array_equal(weights[0].value.reshape(-1), block.value[:6])
    if backend.device != "reference":
        assert "copy" not in [s.op for s in run.explain(x, hyper)]


def test_a_part_of_an_assigned_span(backend):
    a, b = Variable([1.0]), Variable([2.0])
    together([a, b])
    whole = span([a, b])

    def run():
        whole.assign(whole * 10)
        return a + b

    assert backend.function(run)()[0] == 30


def test_assignments_that_cannot_be():
    a, b = Variable([1.0, 1.0], "a"), Variable([2.0, 2.0], "b")
    together([a, b])
    whole = span([a, b])

    def part_then_whole():
        a.assign(a + 1)
        return whole + 0

    def both():
        a.assign(a + 1)
        whole.assign(np.zeros(4))

    with pytest.raises(ArgumentError, match="was assigned in part"):
        Function(part_then_whole)()
    with pytest.raises(ArgumentError, match="was already assigned in this function"):
        Function(both)()
    with pytest.raises(
        ShapeError, match=r"variable 'a': expected .*\[2\], received .*\[3\]"
    ):
        Function(lambda: a.assign(np.zeros(3)))()
    np.testing.assert_array_equal(a.value, [1, 1])


def test_a_failed_step_leaves_variables_as_they_were(backend):
    weight = Variable([1.0, 2.0, 3.0])

    def step(logits, labels):
        loss = ops.sum(ops.softmax_cross_entropy(logits + weight, labels))
        weight.assign(weight - grad(loss, weight))
        return loss

    run = backend.function(step)
    with pytest.raises(DataError, match=r"9"):
        run(X, np.array([0, 9]))
    np.testing.assert_array_equal(weight.value, [1, 2, 3])
    run(X, np.array([0, 1]))
    assert (weight.value != [1, 2, 3]).any()


def test_several_models_in_one_function(backend):
    generator, critic = Variable([[2.0]], "generator"), Variable([[3.0]], "critic")

    def step(x):
        made = x @ generator
        score = ops.sum(made @ critic)
        dg, dc = grad(score, [generator, critic])
        generator.assign(generator - dg)
        critic.assign(critic + dc)
        return score

    assert backend.function(step)(np.ones((1, 1), np.float32)) == 6
    assert generator.value[0, 0] == -1
    assert critic.value[0, 0] == 5


def test_a_variable_that_moves_takes_its_plans_along():
    a, b = Variable([1.0]), Variable([2.0])
    run = Function(lambda: a + b)
    assert run()[0] == 3
    together([a, b])
    a.assign([5.0])
    assert run()[0] == 7


def test_functions_inside_functions():
    inner = function(lambda x: x * 2)
    outer = function(lambda x: inner(x) + ops.relu(x))
    np.testing.assert_array_equal(outer(X), X * 3)
    assert [s.op for s in outer.explain(X)] == ["binary", "activation", "binary"]


def test_decorator_with_arguments():
    @function(device="reference")
    def double(x):
        """Doubles."""
        return x * 2

    assert double(np.array([1.0])).dtype == np.float64
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")


def test_device_of_ops_on_arrays():
    x = np.array([1.0, 2.0])
    assert ops.add(x, x).dtype == np.float32
    with device("reference"):
        assert ops.add(x, x).dtype == np.float64
    assert ops.add(x, x).dtype == np.float32


def test_unknown_devices():
    with pytest.raises(
        DeviceError, match=r"expected a device of auto, cpu.*received 'tpu'"
    ):
        Function(lambda x: x, "tpu")
    with pytest.raises(DeviceError, match="received 'gpu'"):
        device("gpu")
    with pytest.raises(DeviceError, match="'reference' has no plans"):
        Function(lambda x: x, "reference").explain(X)


@pytest.mark.parametrize(
    ("python", "error", "message"),
    [
        (lambda x: x if x > 0 else -x, ArgumentError, "no truth value"),
        (np.sin, (ArgumentError, TypeError), "symbolic tensor|ufunc"),
        (np.asarray, ArgumentError, "has no values while"),
        (float, TypeError, "float"),
        (lambda _: "text", DtypeError, "expected numbers, received str 'text'"),
        (lambda x: {"a": object()}, DtypeError, "expected numbers"),
        (lambda x: x + np.array([None]), DtypeError, "expected numbers"),
    ],
)
def test_what_cannot_be_traced(python, error, message):
    with pytest.raises(error, match=message):
        Function(python)(X)


def test_arguments_that_are_no_numbers():
    run = Function(lambda x: x)
    for array in (np.array([None, 1]), np.array(["a"]), np.array([1j]),
                  np.array(["2020-01-01"], "datetime64[D]")):  # fmt: skip
        with pytest.raises(DataError, match="expected an array of numbers"):
            run(array)
    with pytest.raises(ArgumentError, match="expected an array or a hashable value"):
        run({1, 2})


def test_a_tensor_of_another_function():
    kept = []
    Function(kept.append)(X)
    with pytest.raises(ArgumentError, match="of another traced function"):
        Function(lambda x: x + kept[0])(X)


def test_a_function_that_raises_leaves_no_trace():
    with pytest.raises(ZeroDivisionError):
        Function(lambda x: 1 / 0)(X)
    np.testing.assert_array_equal(ops.add(X, 1), X + 1)


def test_threads_call_one_function():
    weight = Variable(np.zeros(64))
    rng = np.random.default_rng(0)

    @function
    def run(x):
        weight.assign(weight + 1)
        return ops.sum(ops.relu(x) @ ops.transpose(x), axis=1)

    inputs = [
        rng.integers(-3, 4, (5 + i % 7, 64)).astype(np.float32) for i in range(60)
    ]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, inputs))
    for x, y in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(y, (np.maximum(x, 0) @ x.T).sum(axis=1))
    assert weight.value[0] == 60


def test_threads_call_functions_that_share_an_arena():
    arena = _core.Arena(_core.backend("cpu"))
    double = Function(lambda x: ops.relu(x) * 2, arena=arena)
    cube = Function(lambda x: x * x * x, arena=arena)
    x = np.arange(5000, dtype=np.float32) % 17
    wrong = []

    def work(run, expected):
        wrong.extend(i for i in range(200) if not np.array_equal(run(x), expected))

    jobs = [
        threading.Thread(target=work, args=a) for a in ((double, x * 2), (cube, x**3))
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert not wrong


def test_a_run_inside_a_run_on_the_same_arena():
    arena = _core.Arena(_core.backend("cpu"))
    inner = Function(lambda x: x + 1, arena=arena)
    outer = Function(lambda x: ops.callback(inner, x, ((2, 3), "float32")), arena=arena)
    with pytest.raises(ArgumentError, match="shares memory with the one that runs it"):
        outer(X)
    apart = Function(lambda x: x + 1)
    outer = Function(lambda x: ops.callback(apart, x, ((2, 3), "float32")), arena=arena)
    np.testing.assert_array_equal(outer(X), X + 1)


def test_explain_and_profile():
    run = Function(lambda x, w: ops.relu(x @ w))
    w = np.ones((3, 4), np.float32)
    [step] = run.explain(X, w)
    assert step.op == "gemm"
    assert step.flops == 2 * 2 * 3 * 4
    assert step.shape == (2, 4)
    assert step.bytes == 4 * (6 + 12 + 8)
    assert step.kernel
    plan = run.compile(X, w)
    [nanoseconds] = plan.profile([X, w])
    assert nanoseconds > 0
    assert plan.arena_bytes >= 2 * 4 * 4


def test_bytes_are_the_same_on_every_run(cpu, threads):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((64, 300)), rng.standard_normal((300, 50))

    def step(x, w):
        loss = ops.mean(ops.square(ops.tanh(x @ w)))
        return [loss, *grad(loss, [x, w])]

    first = cpu.run(step, x, w)
    again = threads(lambda: cpu.run(step, x, w))
    assert [a.tobytes() for a in first] == [a.tobytes() for a in again]


def test_what_went_in_is_not_kept():
    run = Function(lambda x: ops.relu(x) * 2)
    x = np.ones((3, 4), np.float32)
    gone = weakref.ref(x)
    run(x)
    run.profile(x)
    del x
    gc.collect()
    assert gone() is None
    broken = np.ones((3, 5), np.float32)
    fail = Function(lambda x: ops.callback(_raise, x, ((3, 5), "float32")))
    gone = weakref.ref(broken)
    with pytest.raises(ValueError, match="no"):
        fail(broken)
    del broken
    gc.collect()
    assert gone() is None


def _raise(x):
    raise ValueError("no")


def test_ops_on_arrays_share_one_arena_and_keep_few_plans():
    def arenas():
        gc.collect()
        return sum(isinstance(o, Executable) for o in gc.get_objects())

    for n in range(1, 9):
        ops.softplus(np.ones(n, np.float32))
    before = arenas()
    for n in range(20, 40):
        ops.softplus(np.ones(n, np.float32))
    assert arenas() <= before
    ops.softsign(np.ones(3, np.float32))
    plans = [o for o in gc.get_objects() if isinstance(o, Executable)]
    shared = eager._ARENAS["cpu", 0]
    assert sum(plan.arena is shared for plan in plans) >= 2


def test_an_op_on_arrays_inside_a_host_function_of_an_op():
    def host(x):
        return ops.callback(ops.relu, ops.softplus(x), ((3,), "float32"))

    x = np.array([-1, 0, 2], np.float32)
    y = ops.callback(host, x, ((3,), "float32"))
    np.testing.assert_array_equal(y, ops.softplus(x))


def test_negative_zero_is_another_constant():
    np.testing.assert_array_equal(ops.divide([1.0], 0.0), [np.inf])
    np.testing.assert_array_equal(ops.divide([1.0], -0.0), [-np.inf])
    traces = []

    @function
    def scale(x, factor):
        traces.append(factor)
        return x * factor

    for factor in (1, 1.0, True, np.nan, float("nan"), 0.1):
        scale([2.0], factor)
    assert [type(f) for f in traces] == [int, float, bool, float, float]


def test_profile():
    run = Function(lambda x, w: ops.sum(ops.relu(x @ w)))
    steps = run.profile(X, np.ones((3, 4), np.float32))
    assert [step.op for step, _ in steps] == ["gemm", "reduce"]
    assert all(time > 0 for _, time in steps)
