"""One-hot labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data import to_categorical
from fastconv.errors import ArgumentError, DataError


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(10, 12))
def test_one_hot(labels, num_classes):
    rows = to_categorical(labels, num_classes)
    assert rows.shape == (len(labels), num_classes)
    assert rows.dtype == np.float32
    assert rows.argmax(1).tolist() == labels
    assert (rows.sum(1) == 1).all()
    assert to_categorical(labels).shape[1] == max(labels) + 1


def test_shapes():
    assert to_categorical(np.zeros((4, 1), int), 3).shape == (4, 3)
    assert to_categorical(np.zeros((4, 5), np.uint8), 3).shape == (4, 5, 3)
    assert to_categorical(np.zeros(0, int), 3).shape == (0, 3)
    assert to_categorical(2).tolist() == [0, 0, 1]
    assert to_categorical([1.0, 0.0]).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("label", [3, -1, 1000])
def test_range(label):
    with pytest.raises(
        DataError, match=rf"label {label} at position \(1, 0\) .* 0 .. 2"
    ):
        to_categorical([[0, 1], [label, 2]], 3)


@pytest.mark.parametrize("labels", [[0.5], [np.nan], [np.inf], ["a"], [1j]])
def test_no_whole_numbers(labels):
    with pytest.raises(DataError, match="whole numbers"):
        to_categorical(labels)


def test_number_of_classes():
    for labels, num_classes in (([], None), ([0], 0), ([0], -2)):
        with pytest.raises(ArgumentError, match="num_classes"):
            to_categorical(np.array(labels, int), num_classes)
