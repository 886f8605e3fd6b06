"""Nested lists, tuples and dicts."""

import json
from collections import namedtuple

from fastconv import tree

Pair = namedtuple("Pair", "a b")
NESTED = {"x": [1, (2, None)], "y": Pair("s", {"z": 3})}


def number(value):
    return isinstance(value, int)


def test_flatten_keeps_the_order():
    assert tree.flatten(NESTED, int) == [1, 2, 3]
    assert tree.flatten(NESTED, dict) == [NESTED]


def test_maps_keep_the_structure():
    doubled = tree.map_structure(NESTED, number, lambda v: 2 * v)
    assert doubled == {"x": [2, (4, None)], "y": Pair("s", {"z": 6})}
    assert type(doubled["y"]) is Pair
    named = tree.map_named(NESTED, "n", number, lambda _, name: name)
    assert tree.flatten(named, str) == ["n['x'][0]", "n['x'][1][0]", "s",
                                        "n['y'][1]['z']"]  # fmt: skip


def test_encoded_is_json_and_back():
    given = {"t": ((), [1.5, "s"], {"tuple": True}), "c": 1j}
    data = tree.encode(given, lambda v: {"complex": [v.real, v.imag]})
    again = tree.decode(json.loads(json.dumps(data)), lambda v: complex(*v["complex"]))
    assert again == given
