"""Ops that take tensors apart and put them together: slice, pad, concatenate."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv._core import ConcatAttrs, OpKind, PadAttrs, SliceAttrs
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS
from fastconv.ops.shape import (
    Target,
    broadcast_to,
    expand_dims,
    fill_out,
    free,
    normal_axes,
    normal_axis,
    reshape,
    sizes_of,
    target_spec,
)


@op
def concatenate(xs: Any, axis: int = -1) -> Tensor:
    """Tensors one after the other along an axis.

    Parameters
    ----------
    xs: tensors of one dtype and one shape, but for ``axis``.
    axis: default the last (the channels).

    Raises
    ------
    ShapeError if the other axes differ; DtypeError if the dtypes do.

    >>> import fastconv as fc
    >>> fc.ops.concatenate(([1.0], [2.0, 3.0]), axis=0)
    array([1., 2., 3.], dtype=float32)
    """
    tensors = [as_tensor(x) for x in xs]
    if not tensors:
        raise ArgumentError(f"{who('concatenate')}: expected tensors, received none")
    first = tensors[0]
    at = normal_axis("concatenate", axis, first.ndim)
    for t in tensors:
        same = (
            t.shape[:at] == first.shape[:at]
            and t.shape[at + 1 :] == first.shape[at + 1 :]
        )
        if t.ndim != first.ndim or not same:
            raise ShapeError(
                f"{who('concatenate')}: expected shapes that agree in all axes but "
                f"{axis}, received {', '.join(str(t.shape) for t in tensors)}"
            )
        if t.dtype != first.dtype:
            raise DtypeError(
                f"{who('concatenate')}: expected one dtype, received "
                f"{', '.join(t.dtype for t in tensors)}"
            )
    return emit(OpKind.concat, ConcatAttrs(axis=at), *tensors)[0]


@op
def stack(xs: Any, axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis.

    >>> import fastconv as fc
    >>> fc.ops.stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    return concatenate([expand_dims(as_tensor(x), axis) for x in xs], _fixed(axis, xs))


def _fixed(axis: int, xs: Any) -> int:
    return normal_axis("stack", axis, as_tensor(xs[0]).ndim + 1) if len(xs) else 0


@op
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts of ``x`` along an axis: so many equal ones, or cut before given indices.

    Raises
    ------
    ShapeError if the axis does not divide into equal parts.

    >>> import fastconv as fc
    >>> [part.tolist() for part in fc.ops.split([1.0, 2.0, 3.0], [1])]
    [[1.0], [2.0, 3.0]]
    """
    x = as_tensor(x)
    at = normal_axis("split", axis, x.ndim)
    size = x.shape[at]
    if isinstance(indices_or_sections, int | np.integer):
        parts = int(indices_or_sections)
        if parts < 1 or size % parts:
            raise ShapeError(
                f"{who('split')}: expected a number of parts that divides axis {axis} "
                f"of {x.shape}, received {parts}"
            )
        cuts = [size // parts * i for i in range(1, parts)]
    else:
        cuts = sizes_of("split", indices_or_sections)
    edges = zip([0, *cuts], [*cuts, size], strict=True)
    lead = (builtins.slice(None),) * at
    return [get_item(x, (*lead, builtins.slice(a, b))) for a, b in edges]


def _strided(
    x: Tensor, start: Sequence[int], step: Sequence[int], shape: Shape
) -> Tensor:
    """The op: ``dst[i] = x[start + i * step]`` for i within ``shape``."""
    if (
        shape == x.shape
        and not any(start)
        and all(s == 1 or n < 2 for s, n in zip(step, shape, strict=True))
    ):
        return x
    native = SliceAttrs(start=fill_out(start, 0), step=fill_out(step, 1))
    return emit(OpKind.slice, Target(shape, x.dtype, native), x)[0]


@op
def slice(x: Any, start_indices: Any, shape: Any) -> Tensor:  # noqa: A001
    """The block of ``shape`` that begins at ``start_indices``; one number an axis.

    Raises
    ------
    ShapeError if the block does not lie inside ``x``.

    >>> import fastconv as fc
    >>> fc.ops.slice([1.0, 2.0, 3.0], [1], [2])
    array([2., 3.], dtype=float32)
    """
    x = as_tensor(x)
    start, sizes = sizes_of("slice", start_indices), sizes_of("slice", shape)
    fits = len(start) == len(sizes) == x.ndim and all(
        a >= 0 and n >= 0 and a + n <= d
        for a, n, d in zip(start, sizes, x.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{who('slice')}: expected a block inside shape {x.shape}, received start "
            f"{start_indices} and shape {shape}"
        )
    return _strided(x, start, [1] * x.ndim, tuple(sizes))


@op
def get_item(x: Any, key: Any) -> Tensor:
    """``x[key]`` with NumPy's basic indexing: numbers, slices, ``...`` and None.

    Raises
    ------
    ArgumentError for an index out of range, or an array as index.

    >>> import fastconv as fc
    >>> fc.ops.get_item([1.0, 2.0, 3.0], -1)
    array(3., dtype=float32)
    """
    x = as_tensor(x)
    keys = _expand_key(x, key if isinstance(key, tuple) else (key,))
    start, step, sizes = [], [], []
    final: list[int] = []
    dims = iter(x.shape)
    for part in keys:
        if part is None:
            final.append(1)
            continue
        size = next(dims)
        if isinstance(part, builtins.slice):
            first, stop, by = part.indices(size)
            count = len(range(first, stop, by))
            final.append(count)
        else:
            first, by, count = _index(x, part, size), 1, 1
        start.append(first if count else 0)
        step.append(by)
        sizes.append(count)
    return reshape(_strided(x, start, step, tuple(sizes)), final)


def _index(x: Tensor, index: int, size: int) -> int:
    if not -size <= index < size:
        raise ArgumentError(
            f"{who('getitem')}: index {index} is out of range for an axis of {size} "
            f"elements of shape {x.shape}"
        )
    return int(index) % size


def _expand_key(x: Tensor, key: tuple[Any, ...]) -> list[Any]:
    """The key with one entry an axis (and None for each new one)."""
    for part in key:
        number = isinstance(part, int | np.integer) and not isinstance(part, bool)
        if not (
            number
            or part is None
            or part is Ellipsis
            or isinstance(part, builtins.slice)
        ):
            raise ArgumentError(
                f"{who('getitem')}: expected numbers, slices, ... and None as indices, "
                f"received {part!r:.80}"
            )
    used = builtins.sum(part is not None and part is not Ellipsis for part in key)
    dots = [i for i, part in enumerate(key) if part is Ellipsis]
    if used > x.ndim or len(dots) > 1:
        raise ArgumentError(
            f"{who('getitem')}: too many indices for a tensor of shape {x.shape}: {key}"
        )
    rest = [builtins.slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(key)
    return [*key[:at], *rest, *key[at + 1 :]]


@op
def flip(x: Any, axis: Any = None) -> Tensor:
    """The elements in reverse order along ``axis`` (a number or several; default all).

    >>> import fastconv as fc
    >>> fc.ops.flip([1.0, 2.0, 3.0])
    array([3., 2., 1.], dtype=float32)
    """
    x = as_tensor(x)
    axes = normal_axes("flip", axis, x.ndim)
    back, all_ = builtins.slice(None, None, -1), builtins.slice(None)
    return get_item(x, tuple(back if i in axes else all_ for i in range(x.ndim)))


def _pairs(name: str, x: Tensor, widths: Any) -> list[tuple[int, int]]:
    """One (before, after) an axis, from what NumPy's pad takes."""
    try:
        table = np.broadcast_to(np.asarray(widths), (x.ndim, 2))
    except ValueError:
        table = np.zeros((0, 2))
    if table.dtype.kind not in "iu" or len(table) != x.ndim:
        raise ArgumentError(
            f"{who(name)}: expected one pair (before, after) for each axis of shape "
            f"{x.shape}, received {widths!r:.80}"
        )
    return [(int(a), int(b)) for a, b in table]


@op
def pad(
    x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0.0
) -> Tensor:
    """More elements at the ends of each axis.

    Parameters
    ----------
    x: any shape.
    pad_width: one pair (before, after) an axis, or one pair or number for all.
    mode: "constant"; "edge" repeats the outermost elements; "reflect" mirrors the
        tensor at them.
    constant_values: what "constant" adds.

    Raises
    ------
    ArgumentError if a width is negative, or "reflect" asks for more than there is.

    >>> import fastconv as fc
    >>> fc.ops.pad([1.0, 2.0], 1)
    array([0., 1., 2., 0.], dtype=float32)
    """
    x = as_tensor(x)
    pairs = _pairs("pad", x, pad_width)
    if any(a < 0 or b < 0 for a, b in pairs):
        raise ArgumentError(f"{who('pad')}: expected widths >= 0, received {pad_width}")
    if mode == "constant":
        return pad_lax(x, [(a, b, 0) for a, b in pairs], constant_values)
    if mode not in _BORDERS:
        raise ArgumentError(
            f"{who('pad')}: expected mode constant, edge or reflect, received {mode!r}"
        )
    for axis, (before, after) in enumerate(pairs):
        parts = _BORDERS[mode](x, axis, before, after)
        x = concatenate([t for t in parts if t.shape[axis]] or [x], axis)
    return x


def _along(x: Tensor, axis: int, *key: int | None) -> Tensor:
    return get_item(x, (*[builtins.slice(None)] * axis, builtins.slice(*key)))


def _edges(x: Tensor, axis: int, before: int, after: int) -> list[Tensor]:
    if x.shape[axis] == 0 and before + after > 0:
        raise ArgumentError(
            f"{who('pad')}: axis {axis} of {x.shape} has no edge to repeat"
        )
    parts = []
    for count, end in (
        (before, _along(x, axis, 0, 1)),
        (after, _along(x, axis, -1, None)),
    ):
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        parts.append(broadcast_to(end, shape))
    return [parts[0], x, parts[1]]


def _mirrored(x: Tensor, axis: int, before: int, after: int) -> list[Tensor]:
    size = x.shape[axis]
    if builtins.max(before, after) > builtins.max(size - 1, 0):
        raise ArgumentError(
            f"{who('pad')}: expected at most {size - 1} reflected elements for axis "
            f"{axis} of shape {x.shape}, received {(before, after)}"
        )
    left = flip(_along(x, axis, 1, 1 + before), axis)
    right = flip(_along(x, axis, size - 1 - after, size - 1), axis)
    return [left, x, right]


_BORDERS = {"edge": _edges, "reflect": _mirrored}


def pad_lax(
    x: Tensor, config: Sequence[tuple[int, int, int]], value: float = 0.0
) -> Tensor:
    """The op: (before, after, between neighbours) an axis; negative ends crop."""
    if not any(any(axis) for axis in config):
        return x
    before, after, interior = zip(*config, strict=True)
    attrs = PadAttrs(
        before=fill_out(before, 0),
        after=fill_out(after, 0),
        interior=fill_out(interior, 0),
        value=float(value),
    )
    return emit(OpKind.pad, attrs, x)[0]


@op
def crop(x: Any, cropping: Any) -> Tensor:
    """Without the first and last elements of each axis.

    cropping: one pair (before, after) an axis, or one pair or number for all.

    Raises
    ------
    ArgumentError if a number is negative or more than the axis has.

    >>> import fastconv as fc
    >>> fc.ops.crop([1.0, 2.0, 3.0], (1, 0))
    array([2., 3.], dtype=float32)
    """
    x = as_tensor(x)
    pairs = _pairs("crop", x, cropping)
    if any(
        a < 0 or b < 0 or a + b > n for (a, b), n in zip(pairs, x.shape, strict=True)
    ):
        raise ArgumentError(
            f"{who('crop')}: expected numbers >= 0 that fit shape {x.shape}, received "
            f"{cropping}"
        )
    start = [a for a, _ in pairs]
    shape = [n - a - b for (a, b), n in zip(pairs, x.shape, strict=True)]
    return slice(x, start, shape)


def _concat_shape(attrs: ConcatAttrs, *xs: Tensor) -> list[Spec]:
    at = attrs.axis
    total = builtins.sum(x.shape[at] for x in xs)
    return [((*xs[0].shape[:at], total, *xs[0].shape[at + 1 :]), xs[0].dtype)]


def _pad_shape(attrs: PadAttrs, x: Tensor) -> list[Spec]:
    shape = tuple(
        n
        + attrs.before[i]
        + attrs.after[i]
        + builtins.max(n - 1, 0) * attrs.interior[i]
        for i, n in enumerate(x.shape)
    )
    if builtins.min(shape, default=0) < 0:
        raise ShapeError(f"{who('pad')}: shape {x.shape} is cropped to {shape}")
    return [(shape, x.dtype)]


def _concat_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    sizes = [x.shape[node.attrs.axis] for x in node.inputs]
    cuts = [int(c) for c in np.cumsum(sizes)[:-1]]
    return split(dy, cuts, node.attrs.axis)


def _slice_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    """Spread over the places that were read; backward steps are turned first."""
    x, attrs = node.inputs[0], node.attrs.native
    config = []
    for axis, (n, count) in enumerate(zip(x.shape, dy.shape, strict=True)):
        start, step = attrs.start[axis], attrs.step[axis]
        if step < 0:
            dy = flip(dy, axis)
            start, step = start + (count - 1) * step, -step
        span = builtins.max(count - 1, 0) * step + builtins.min(count, 1)
        start = start if count else 0
        config.append((start, n - start - span, step - 1))
    return [pad_lax(dy, config)]


def _pad_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    x, attrs = node.inputs[0], node.attrs
    ends = [(-attrs.before[i], -attrs.after[i], 0) for i in range(x.ndim)]
    step = [attrs.interior[i] + 1 for i in range(x.ndim)]
    return [_strided(pad_lax(dy, ends), [0] * x.ndim, step, x.shape)]


register(OpKind.slice, Rule(target_spec, _slice_gradient, free))
register(OpKind.concat, Rule(_concat_shape, _concat_gradient, free))
register(OpKind.pad, Rule(_pad_shape, _pad_gradient, free))
OPERATORS.update(getitem=get_item, concatenate=concatenate, slice=slice, pad=pad)
