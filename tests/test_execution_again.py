"""Functions that are called again on arrays like those before."""

import numpy as np
import pytest

from fastconv.execution.executable import Executable
from fastconv.execution.function import Function
from fastconv.graph.variable import Variable, together

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def scaled(monkeypatch):
    """A function that has run on X, and what has gone the long way since."""
    taken = []
    scale = Variable(2.0)
    run = Function(lambda x: x * scale, "cpu")
    run(X)
    long_way = Executable.__call__

    def counted(self, arrays):
        taken.append(arrays)
        return long_way(self, arrays)

    monkeypatch.setattr(Executable, "__call__", counted)
    return run, scale, taken


def test_the_same_kind_of_arrays_again_is_quicker(scaled):
    run, scale, taken = scaled
    for value in (2.0, 3.0):
        scale.assign(value)
        np.testing.assert_array_equal(run(X + 1), value * (X + 1))
    assert taken == []


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:1],
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(">f4"),
        lambda x: x.reshape(-1),
        lambda x: np.asfortranarray(np.tile(x, (2, 1)))[:2],
        lambda x: x[:, ::-1],
        np.ma.array,
        lambda x: x.tolist(),
        unaligned,
    ],
)
def test_other_arrays_than_before_are_taken_too(scaled, change):
    run, _, taken = scaled
    x = change(X)
    np.testing.assert_array_equal(run(x), 2 * np.asarray(x))
    assert len(taken) == 1
    np.testing.assert_array_equal(run(X), 2 * X)


def test_arrays_alone_after_arrays_and_other_arguments():
    add = Function(lambda x, y=1: x + y, "cpu")
    for _ in range(2):
        np.testing.assert_array_equal(add(X, y=3), X + 3)
        np.testing.assert_array_equal(add(X, 2), X + 2)
        np.testing.assert_array_equal(add(X), X + 1)
        np.testing.assert_array_equal(add(X, X), 2 * X)


def test_other_than_before_beside_the_arrays(scaled):
    run, scale, taken = scaled
    np.testing.assert_array_equal(run(x=X), 2 * X)
    together([scale, Variable(1.0)])
    np.testing.assert_array_equal(run(X), 2 * X)
    assert len(taken) == 2
    run.clear()
    np.testing.assert_array_equal(run(X), 2 * X)
    assert len(taken) == 3
    with pytest.raises(TypeError, match="positional"):
        run(X, X)
