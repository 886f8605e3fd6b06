"""Ops that only move data: reshape, transpose, slice, pad, concatenate, broadcast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad
from fastconv.ops.shape_slice import pad_lax

RNG = np.random.default_rng(0)
DTYPES = ["float32", "int64", "int32", "uint8", "bool", "float16"]


def whole(*shape, dtype="float32"):
    return RNG.integers(0, 100, shape).astype(dtype)


def equal(backend, python, expected, *arrays):
    """float16 is cast inside: the fixture feeds floats as float32."""
    half = expected.dtype == np.float16

    def run(*xs):
        return python(*(ops.cast(x, "float16") for x in xs)) if half else python(*xs)

    actual = backend.run(run, *arrays)[0]
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == expected.dtype


@st.composite
def arrays(draw, max_rank=5):
    shape = draw(st.lists(st.integers(0, 9), max_size=max_rank))
    return whole(*shape, dtype=draw(st.sampled_from(["float32", "int64", "uint8"])))


@settings(max_examples=150)
@given(arrays(6), st.randoms())
def test_transpose(backend, x, random):
    order = list(range(x.ndim))
    random.shuffle(order)
    equal(backend, lambda x: ops.transpose(x, order), x.transpose(order), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((3, 14, 17, 33), (0, 3, 1, 2)), ((3, 33, 14, 17), (0, 2, 3, 1)),
        ((100, 3), (1, 0)),
        ((2, 64, 128), (0, 2, 1)), ((5, 4, 3, 2), (3, 2, 1, 0)),
        ((7, 6, 70), (1, 0, 2)),
        ((2, 3, 2, 3, 2, 3, 2, 3), (7, 0, 6, 1, 5, 2, 4, 3)), ((130, 129), (1, 0)),
    ],
)  # fmt: skip
def test_transpose_paths(backend, shape, order, dtype):
    x = whole(*shape, dtype=dtype)
    equal(backend, lambda x: ops.transpose(x, order), x.transpose(order), x)


def index_of(draw, size):
    number = st.integers(-size, size - 1) if size else st.nothing()
    bound = st.none() | st.integers(-size - 2, size + 2)
    part = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, 3, -1, -2]))
    return draw(number | part)


@settings(max_examples=200)
@given(arrays(), st.data())
def test_indexing(backend, x, data):
    key = [index_of(data.draw, n) for n in x.shape[: data.draw(st.integers(0, x.ndim))]]
    if data.draw(st.booleans()):
        key.append(Ellipsis)
    if data.draw(st.booleans()):
        key.insert(data.draw(st.integers(0, len(key))), None)
    key = tuple(key)
    equal(backend, lambda x: x[key], np.asarray(x[key]), x)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_indexing_gradient(check_gradient, shape, data):
    key = tuple(index_of(data.draw, n) for n in shape)
    check_gradient(lambda x: x[key], whole(*shape))


@settings(max_examples=100)
@given(arrays(4), st.data())
def test_concatenate_and_split(backend, x, data):
    if x.ndim == 0:
        return
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, x.shape[axis]), max_size=4)))
    parts = np.split(x, cuts, axis)
    equal(backend, lambda *xs: ops.concatenate(xs, axis), x, *parts)
    for got, part in zip(
        backend.run(lambda x: ops.split(x, cuts, axis), x), parts, strict=True
    ):
        np.testing.assert_array_equal(got, part)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concatenate_dtypes(backend, dtype, axis):
    shapes = [[3, 4, 5] for _ in range(3)]
    for size, shape in zip((1, 7, 20), shapes, strict=True):
        shape[axis] = size
    xs = [whole(*shape, dtype=dtype) for shape in shapes]
    equal(backend, lambda *xs: ops.concatenate(xs, axis), np.concatenate(xs, axis), *xs)


def test_concatenate_gradient(check_gradient):
    check_gradient(lambda a, b: ops.concatenate([a, b, a], 1), whole(2, 3), whole(2, 1))
    check_gradient(lambda a, b: ops.stack([a, b], 1), whole(2, 3), whole(2, 3))
    check_gradient(lambda a: ops.split(a, 3, 1), whole(2, 6))


@settings(max_examples=150)
@given(arrays(4), st.data())
def test_pad_lax(backend, x, data):
    """Against an independent formula: place every element by its index."""
    config = [
        (
            data.draw(st.integers(-2, 4)),
            data.draw(st.integers(-2, 4)),
            data.draw(st.integers(0, 2)),
        )
        for _ in x.shape
    ]
    spread = [
        n + max(n - 1, 0) * i for n, (_, _, i) in zip(x.shape, config, strict=True)
    ]
    shape = [n + a + b for n, (a, b, _) in zip(spread, config, strict=True)]
    if min(shape, default=0) < 0:
        return
    expected = np.full(shape, 7).astype(x.dtype)
    for index in np.ndindex(*x.shape):
        at = tuple(a + i * (k + 1) for i, (a, _, k) in zip(index, config, strict=True))
        if all(0 <= i < n for i, n in zip(at, shape, strict=True)):
            expected[at] = x[index]
    equal(backend, lambda x: pad_lax(x, config, 7), expected, x)


def test_pad_lax_gradient(check_gradient):
    for config in (
        [(1, 2, 0), (0, 3, 2)],
        [(-1, 0, 1), (2, -2, 0)],
        [(-1, -1, 2), (0, 0, 1)],
    ):
        check_gradient(lambda x, c=config: pad_lax(x, c, 3.0), whole(4, 5))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize(
    "width", [0, 1, 2, ((1, 2),), ((0, 0), (2, 1), (0, 0)), ((2, 0),) * 3]
)
def test_pad(backend, check_gradient, mode, width):
    x = whole(3, 4, 5)
    expected = np.pad(x, np.broadcast_to(width, (3, 2)), mode=mode)
    equal(backend, lambda x: ops.pad(x, width, mode), expected, x)
    check_gradient(lambda x: ops.pad(x, width, mode), x)


def test_pad_and_crop_are_inverse(backend):
    x = whole(2, 5, 6, 3)
    pairs = ((0, 0), (1, 2), (3, 0), (0, 0))
    equal(
        backend, lambda x: ops.crop(ops.pad(x, pairs, constant_values=-1), pairs), x, x
    )
    cropped = ((0, 1), (1, 1), (2, 0), (0, 0))
    equal(backend, lambda x: ops.crop(x, cropped), x[:1, 1:-1, 2:], x)


@settings(max_examples=100)
@given(arrays(4), st.data())
def test_broadcast_to(backend, x, data):
    shape = [data.draw(st.integers(0, 7)) if n == 1 else n for n in x.shape]
    shape = data.draw(st.lists(st.integers(0, 4), max_size=2)) + shape
    equal(backend, lambda x: ops.broadcast_to(x, shape), np.broadcast_to(x, shape), x)


def test_broadcast_to_gradient(check_gradient):
    check_gradient(lambda x: ops.broadcast_to(x, (4, 2, 3, 5)), whole(2, 1, 5))
    check_gradient(lambda x: ops.broadcast_to(x, (2, 3)), whole())


@pytest.mark.parametrize("shape", [(2, 3, 4), (0, 3), (1, 5, 1), (7,)])
def test_views(backend, shape):
    """Everything that is a reshape; the results are arrays of their own."""
    x = whole(*shape)

    def run(x):
        y = [ops.reshape(x, x.shape[::-1]), ops.flatten(x), ops.squeeze(x)]
        return [*y, ops.expand_dims(x, -1), ops.expand_dims(x, (0, -1))]

    expected = [
        x.reshape(shape[::-1]), x.reshape(shape[0], int(np.prod(shape[1:]))),
        x.squeeze(),
        x[..., None], x[None, ..., None],
    ]  # fmt: skip
    for got, want in zip(backend.run(run, x), expected, strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.shape == want.shape


def test_reshape_computes_one_size(backend):
    x = whole(4, 6)
    equal(backend, lambda x: ops.reshape(x, (-1, 8)), x.reshape(3, 8), x)
    equal(backend, lambda x: ops.reshape(x, -1), x.reshape(-1), x)


@pytest.mark.parametrize(
    ("source", "destination"), [(-1, 1), (1, -1), (0, 2), ((0, 1), (-1, -2)), (1, 1)]
)
def test_moveaxis(backend, source, destination):
    x = whole(2, 3, 4, 5)
    expected = np.moveaxis(x, source, destination)
    equal(backend, lambda x: ops.moveaxis(x, source, destination), expected, x)


def test_gradients_of_permutations(check_gradient):
    x = whole(2, 3, 4)
    check_gradient(lambda x: ops.transpose(x, (1, 2, 0)), x)
    check_gradient(lambda x: ops.flip(x, (0, 2)), x)
    check_gradient(lambda x: ops.reshape(ops.moveaxis(x, 0, 1), (4, 6)), x)


@pytest.mark.parametrize("axis", [None, 0, 1, (0, -1)])
def test_flip(backend, axis):
    x = whole(3, 4, 5)
    equal(backend, lambda x: ops.flip(x, axis), np.flip(x, axis), x)


def test_slice(backend):
    x = whole(6, 7)
    equal(backend, lambda x: ops.slice(x, [1, 2], [3, 4]), x[1:4, 2:6], x)


def test_iteration_over_the_first_axis(backend):
    x = whole(3, 4)
    equal(backend, lambda x: ops.stack(list(x), axis=1), x.T, x)


def test_large_tensors_on_several_threads(cpu, threads):
    x = whole(8, 40, 41, 33)

    def run(x):
        y = [ops.transpose(x, (0, 3, 1, 2)), x[:, ::2, ::-1], ops.pad(x, 1)]
        return [*y, ops.concatenate([x, x], 1), ops.broadcast_to(x[:, :1], x.shape)]

    threads(lambda: cpu.run(run, x))


def test_torch_agrees(backend):
    torch = pytest.importorskip("torch")
    x = whole(2, 5, 6, 3)

    def run(x):
        y = ops.pad(
            ops.transpose(x, (0, 3, 1, 2)), ((0, 0), (0, 0), (2, 1), (1, 3)), "reflect"
        )
        return y, grad(ops.sum(y * y), x)

    t = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.pad(t.permute(0, 3, 1, 2), (1, 3, 2, 1), mode="reflect")
    (y * y).sum().backward()
    for got, want in zip(
        backend.run(run, x), [y.detach().numpy(), t.grad.numpy()], strict=True
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("python", "error", "message"),
    [
        (lambda x: ops.reshape(x, (4, 4)), ShapeError, r"6 elements like \(2, 3\)"),
        (lambda x: ops.reshape(x, (-1, -1)), ShapeError, "one size may be -1"),
        (lambda x: ops.reshape(x, "ab"), ArgumentError, "whole numbers"),
        (lambda x: ops.reshape(x, (1,) * 7 + (2, 3)), ShapeError, "at most 8 axes"),
        (lambda x: ops.squeeze(x, 0), ShapeError, "to be of size 1"),
        (lambda x: ops.transpose(x, (0, 0)), ArgumentError, "a permutation of the"),
        (lambda x: ops.moveaxis(x, (0, 1), 0), ArgumentError, "different sources"),
        (lambda x: ops.broadcast_to(x, (2, 4)), ShapeError, "can be repeated"),
        (lambda x: ops.concatenate([x, x[:, :1]], 0), ShapeError, "agree in all axes"),
        (lambda x: ops.concatenate([x, ops.cast(x, "int64")]), DtypeError, "one dtype"),
        (lambda x: ops.concatenate([]), ArgumentError, "received none"),
        (lambda x: ops.split(x, 2, 1), ShapeError, "divides axis 1"),
        (lambda x: ops.slice(x, [0, 2], [2, 2]), ShapeError, "a block inside shape"),
        (lambda x: x[2], ArgumentError, "index 2 is out of range"),
        (lambda x: x[0, 0, 0], ArgumentError, "too many indices"),
        (lambda x: x[[0, 1]], ArgumentError, "expected numbers, slices"),
        (lambda x: ops.pad(x, -1), ArgumentError, "widths >= 0"),
        (lambda x: ops.pad(x, 3, "reflect"), ArgumentError, "at most 1 reflected"),
        (lambda x: ops.pad(x, 1, "wrap"), ArgumentError, "mode constant, edge"),
        (lambda x: ops.pad(x, ((1, 2, 3),)), ArgumentError, "one pair"),
        (lambda x: ops.crop(x, 2), ArgumentError, "fit shape"),
        (lambda x: ops.expand_dims(x, 5), ArgumentError, "axis from -3 to 2"),
    ],
)  # fmt: skip
def test_wrong_arguments(cpu, python, error, message):
    with pytest.raises(error, match=message):
        cpu.run(python, np.zeros((2, 3), np.float32))
