"""Window geometry: output sizes and paddings of convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv._core import WindowGeometry
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.scope import who

Padding = Any  # "valid", "same", "causal", a number, or numbers per axis


def window(
    op: str,
    src: Sequence[int],
    kernel: Any,
    *,
    out_channels: int,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> WindowGeometry:
    """Geometry of a window of size ``kernel`` that slides over ``src``.

    With input size D, kernel k, stride s, dilation d and padding (before, after)::

        output = floor((D + before + after - d (k - 1) - 1) / s) + 1

    src: shape N [D] [H] W C.
    padding: "valid" (none), "same" (output = ceil(D / s), the odd element after),
        "causal" (all of it before: no output sees a later input), a number, one number
        an axis, or one (before, after) pair an axis. Negative numbers crop.
    """
    axes = len(src) - 2
    if axes not in (1, 2, 3):
        raise ShapeError(
            f"{who(op)}: expected an input of 3, 4 or 5 axes (N, spatial axes, C), "
            f"received shape {tuple(src)}"
        )
    spatial = tuple(src[1:-1])
    size = per_axis(op, "kernel size", kernel, axes)
    stride = per_axis(op, "strides", strides, axes)
    dilate = per_axis(op, "dilation", dilation, axes)
    pads = _pads(op, padding, spatial, size, stride, dilate)
    outputs = []
    for i, (before, after) in enumerate(pads):
        extent = dilate[i] * (size[i] - 1) + 1
        padded = spatial[i] + before + after
        if spatial[i] < 1 or padded < extent:
            raise ShapeError(
                f"{who(op)}: the window does not fit: axis {i + 1} of input "
                f"{tuple(src)} has {spatial[i]} elements, {padded} with padding, but "
                f"the kernel {size} with dilation {dilate} covers {extent}; use "
                "a larger input, a smaller kernel or padding='same'"
            )
        outputs.append((padded - extent) // stride[i] + 1)

    def three(values: Sequence[int], fill: int) -> list[int]:
        return [fill] * (3 - axes) + list(values)

    return WindowGeometry(
        batch=src[0],
        in_channels=src[-1],
        out_channels=out_channels,
        groups=groups,
        input=three(spatial, 1),
        kernel=three(size, 1),
        output=three(outputs, 1),
        stride=three(stride, 1),
        dilation=three(dilate, 1),
        pad_before=three([p[0] for p in pads], 0),
        pad_after=three([p[1] for p in pads], 0),
    )


def output_shape(geometry: WindowGeometry, axes: int) -> tuple[int, ...]:
    """Shape N [O] [P] Q K of the result of a window over ``axes`` spatial axes."""
    return (geometry.batch, *geometry.output[3 - axes :], geometry.out_channels)


def input_shape(geometry: WindowGeometry, axes: int) -> tuple[int, ...]:
    """Shape N [D] [H] W C of the source of a window over ``axes`` spatial axes."""
    return (geometry.batch, *geometry.input[3 - axes :], geometry.in_channels)


def per_axis(op: str, what: str, value: Any, axes: int) -> tuple[int, ...]:
    """``value``, a positive integer or one an axis, as a tuple."""
    values = (value,) * axes if not isinstance(value, list | tuple) else tuple(value)
    if len(values) != axes:
        raise ArgumentError(
            f"{who(op)}: expected {what} with {axes} values, received {value!r}"
        )
    for v in values:
        if not _is_int(v) or v < 1:
            raise ArgumentError(
                f"{who(op)}: expected {what} of integers >= 1, received {value!r}"
            )
    return tuple(int(v) for v in values)


def _is_int(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 2
    return numbers and all(map(_is_int, value))


def _pads(
    op: str,
    padding: Padding,
    spatial: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        name = padding.lower()
        if name == "valid":
            return [(0, 0)] * len(spatial)
        if name == "causal":
            return [(d * (k - 1), 0) for k, d in zip(size, dilation, strict=True)]
        if name == "same":
            return [
                _same(*axis)
                for axis in zip(spatial, size, stride, dilation, strict=True)
            ]
        raise ArgumentError(
            f"{who(op)}: expected padding 'valid', 'same', 'causal' or numbers, "
            f"received {padding!r}"
        )
    values = padding if isinstance(padding, list | tuple) else [padding] * len(spatial)
    pairs = [(v, v) if _is_int(v) else v for v in values]
    if len(pairs) != len(spatial) or not all(map(_is_pair, pairs)):
        raise ArgumentError(
            f"{who(op)}: expected padding as a number or (before, after) for each of "
            f"{len(spatial)} axes, received {padding!r}"
        )
    return [(int(before), int(after)) for before, after in pairs]


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2
