"""Reads bench/shapes/*.txt: one problem a line, shared by benchmarks and tests.

``conv.txt`` is a choice for tests; ``conv_NETWORK.txt`` has all convolutions of a
network, made by ``shapes.py``.

A line is a name, then words of letters and a value, in any order; `#` starts a comment.
A word without a value is a flag. Sizes of axes are joined by ``x``, and a padding that
differs before and after is ``before:after``::

    alexnet:conv2 n64 i27x27 c96 k256 w5x5 p2x2 g2
    alexnet:pool1 n64 i55x55 c96 w3x3 s2x2 max
    alexnet:fc6 m64 n4096 k9216

conv, pool: n batch, i input, c channels, k filters, w window, s stride, p padding,
    d dilation, g groups; pool also max or average.
gemm: b batch, m, n, k; ta, tb: a transposed operand.
norm: n batch, i input, c channels; relu, add: what is fused behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "shapes"
_WORD = re.compile(r"([a-z]+)(-?\d[-\dx:]*)?")
_AXES = ("i", "w", "s", "p", "d")


@dataclass
class Problem:
    """One line: its name, its single numbers, its sizes by axis and its flags."""

    name: str
    text: str = ""  # without the name
    numbers: dict[str, int] = field(default_factory=dict)
    axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    padding: list[tuple[int, int]] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)

    def __getitem__(self, key: str) -> int:
        """A single number: n, c, k, g, b or m; 1 if it is not given."""
        return self.numbers.get(key, 1)

    def sizes(self, key: str) -> tuple[int, ...]:
        """The sizes by axis of i, w, s or d; 1 where not given."""
        return self.axes.get(key, (1,) * len(self.axes["i"]))

    def __str__(self) -> str:
        return self.name


def read(family: str) -> Iterator[Problem]:
    """The problems of ``shapes/<family>.txt``; a pattern such as ``conv*`` has more."""
    for path in sorted(FOLDER.glob(f"{family}.txt")):
        for line in path.read_text().splitlines():
            words = line.split("#")[0].split()
            if words:
                yield parse(*words)


def parse(name: str, *words: str) -> Problem:
    """One problem from the words of its line."""
    problem = Problem(name, " ".join(words))
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"{name}: expected letters and numbers, received {word!r}")
        key, value = match.groups()
        if value is None:
            problem.flags.add(key)
        elif key == "p":
            problem.padding = [_pair(axis) for axis in value.split("x")]
        elif key in _AXES:
            problem.axes[key] = tuple(map(int, value.split("x")))
        else:
            problem.numbers[key] = int(value)
    if "i" in problem.axes:
        problem.padding = problem.padding or [(0, 0)] * len(problem.axes["i"])
    return problem


def _pair(axis: str) -> tuple[int, int]:
    before, _, after = axis.partition(":")
    return int(before), int(after or before)
