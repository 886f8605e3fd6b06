"""The graph of a model: boxes in layers, arrows downwards.

After Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical
system structures", IEEE Trans. SMC 11 (1981): layers by the longest path, an order in
each that follows the mean of the neighbours, and positions that are as near to the
neighbours as the widths allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.plot.svg import Figure, box, document, text

__all__ = ["network"]

_SWEEPS = 8  # down and up, to order the layers and to place the boxes
_LINE, _LETTER, _PAD = 17, 7.0, 10  # pixels of a line and a letter; inside boxes
_GAP_X, _GAP_Y, _MARGIN = 18, 34, 20

Edge = tuple[int, int]


def network(
    boxes: Sequence[Sequence[str]], edges: Sequence[Edge], title: str = ""
) -> Figure:
    """Boxes with text, and an arrow for each edge, all of which lead downwards.

    `fastconv.utils.plot_model` draws a model with it.

    Parameters
    ----------
    boxes: the lines of text of each box.
    edges: pairs of numbers of boxes, from the first to the second.
    title: a line above.

    Raises
    ------
    ArgumentError: no box, an edge to a box that is not there, or a cycle.

    >>> import fastconv as fc
    >>> fc.plot.network([["a"], ["b"], ["c"]], [(0, 1), (0, 2)])
    <Figure 112x140>
    """
    for edge in edges:
        if not all(0 <= i < len(boxes) for i in edge):
            raise ArgumentError(
                f"network: expected edges between the boxes 0 to {len(boxes) - 1}, "
                f"received {edge}"
            )
    if not boxes:
        raise ArgumentError("network: expected one box or more, received none")
    rank = _ranks(len(boxes), edges)
    chains = _chains(len(boxes), edges, rank)
    links = [pair for chain in chains for pair in pairwise(chain)]
    widths = np.full(len(rank), 4.0)  # of the bends, which follow the boxes
    for i, lines in enumerate(boxes):
        widths[i] = max(27, 2 * _PAD + _LETTER * max(map(len, lines), default=0))
    layers = _ordered(rank, links)
    x = _placed(layers, links, widths)
    heights = [2 * _PAD - 4 + _LINE * len(lines) for lines in boxes]
    return _drawn(boxes, chains, layers, x, widths, heights, title)


def _ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """For each box the length of the longest path to it."""
    rank = [0] * count
    for turn in range(count + 1):
        changed = False
        for a, b in edges:
            if rank[b] <= rank[a]:
                rank[b], changed = rank[a] + 1, True
        if not changed:
            return rank
        if turn == count:
            raise ArgumentError("network: the edges make a cycle")
    return rank


def _chains(count: int, edges: Sequence[Edge], rank: list[int]) -> list[list[int]]:
    """Each edge as a chain over the layers between; adds the bends to ``rank``."""
    chains = []
    for a, b in dict.fromkeys(edges):
        bends = range(rank[a] + 1, rank[b])
        chains.append([a, *range(len(rank), len(rank) + len(bends)), b])
        rank.extend(bends)
    return chains


def _neighbours(links: Sequence[Edge], count: int) -> tuple[list[list[int]], ...]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for a, b in links:
        below[a].append(b)
        above[b].append(a)
    return above, below


def _ordered(rank: list[int], links: Sequence[Edge]) -> list[list[int]]:
    """The boxes and bends of each layer from left to right, with few crossings."""
    layers: list[list[int]] = [[] for _ in range(max(rank) + 1)]
    for node, depth in enumerate(rank):
        layers[depth].append(node)
    above, below = _neighbours(links, len(rank))
    place = [float(layers[depth].index(node)) for node, depth in enumerate(rank)]
    best, least = [list(layer) for layer in layers], _crossings(layers, below)
    for sweep in range(2 * _SWEEPS):
        near, walk = (below, layers[::-1]) if sweep % 2 else (above, layers)
        for layer in walk:
            means = {
                node: np.mean([place[n] for n in near[node]]) if near[node]
                else place[node]
                for node in layer
            }  # fmt: skip
            layer.sort(key=lambda node: means[node])
            for i, node in enumerate(layer):
                place[node] = float(i)
        found = _crossings(layers, below)
        if found < least:
            best, least = [list(layer) for layer in layers], found
    return best


def _crossings(layers: list[list[int]], below: list[list[int]]) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        place = {node: i for i, node in enumerate(lower)}
        ends = [sorted(place[b] for b in below[node]) for node in upper]
        seen: list[int] = []
        for targets in ends:
            total += sum(1 for t in targets for s in seen if s > t)
            seen += targets
    return total


def _placed(
    layers: list[list[int]], links: Sequence[Edge], widths: np.ndarray
) -> np.ndarray:
    """The middle of each box: near its neighbours, and clear of those beside it."""
    above, below = _neighbours(links, len(widths))
    x = np.zeros(len(widths))
    for layer in layers:
        x[layer] = _spread(np.zeros(len(layer)), widths[layer])
    for sweep in range(2 * _SWEEPS + 1):
        near, walk = (below, layers[::-1]) if sweep % 2 else (above, layers)
        for layer in walk:
            wanted = [x[near[n]].mean() if near[n] else x[n] for n in layer]
            x[layer] = _spread(np.array(wanted), widths[layer])
    return x - (x - widths / 2).min()


def _spread(wanted: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The positions nearest to ``wanted`` (least squares) that do not overlap.

    Without the widths that is a regression to a rising sequence: neighbours that would
    fall are pooled to their mean.
    """
    offsets = np.concatenate(
        [[0.0], np.cumsum((widths[:-1] + widths[1:]) / 2 + _GAP_X)]
    )
    pools: list[tuple[float, int]] = []
    for value in wanted - offsets:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean = (mean * size + before * more) / (size + more)
            size += more
        pools.append((mean, size))
    return np.repeat([m for m, _ in pools], [n for _, n in pools]) + offsets


def _drawn(
    boxes: Sequence[Sequence[str]],
    chains: list[list[int]],
    layers: list[list[int]],
    x: np.ndarray,
    widths: np.ndarray,
    heights: list[int],
    title: str,
) -> Figure:
    top = _MARGIN + (24 if title else 0)
    upper, lower = np.zeros(len(x)), np.zeros(len(x))  # ends of boxes and bends
    for layer in layers:
        tall = max(heights[n] for n in layer if n < len(boxes))
        for node in layer:
            own = heights[node] if node < len(boxes) else tall
            upper[node] = top + (tall - own) / 2
            lower[node] = upper[node] + own
        top += tall + _GAP_Y
    x = x + _MARGIN
    parts = [text(_MARGIN, 26, title, "title") if title else ""]
    parts += [_arrow([(x[n], upper[n], lower[n]) for n in chain]) for chain in chains]
    for i, lines in enumerate(boxes):
        parts.append(box("box", x[i] - widths[i] / 2, upper[i], widths[i], heights[i]))
        for row, line in enumerate(lines):
            y = upper[i] + _PAD + 10 + _LINE * row
            parts.append(text(x[i], y, line, "" if row else "name", "middle"))
    width = max(float((x + widths / 2).max()) + _MARGIN, 40 + 8 * len(title))
    return document(width, top - _GAP_Y + _MARGIN, parts, title or "network")


def _arrow(stops: list[tuple[float, float, float]]) -> str:
    """A line from the lower end of the first stop to the upper end of the last."""
    x, _, y = stops[0]
    commands = [f"M{x:.1f} {y:.1f}"]
    for nx, start, end in stops[1:]:
        bend = (y + start) / 2
        commands.append(f"C{x:.1f} {bend:.1f} {nx:.1f} {bend:.1f} {nx:.1f} {start:.1f}")
        x, y = nx, start
        if (nx, start, end) != stops[-1]:
            commands.append(f"V{end:.1f}")
            y = end
    tip = f"M{x - 4:.1f} {y - 7:.1f}L{x:.1f} {y:.1f}L{x + 4:.1f} {y - 7:.1f}"
    return f'<path class="axis" d="{"".join(commands)}{tip}"/>'
