"""Matrix products: matmul and dense."""

from __future__ import annotations

from math import prod
from typing import Any

from fastconv._core import GemmAttrs, OpKind
from fastconv.errors import DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register, wide
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS
from fastconv.ops.activation import epilogue_shapes


@op
def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False
) -> Tensor:
    """Matrix product ``C = A B`` of the last two axes.

    Formula: ``C[..., i, j] = sum_l A[..., i, l] B[..., l, j]``; a transposed operand is
    given as ``A[..., l, i]`` or ``B[..., j, l]``.

    Parameters
    ----------
    a: shape (..., m, k), or (..., k, m) with ``transpose_a``.
    b: shape (..., k, n), or (..., n, k) with ``transpose_b``. The leading axes are
        those of ``a``, or absent in one of the two, which then serves all.

    Returns
    -------
    Tensor of shape (..., m, n); of two in bfloat16, the first of them transposed, in
    float32.

    Raises
    ------
    ShapeError if an operand has fewer than 2 axes, or the axes do not agree.

    >>> import fastconv as fc
    >>> fc.ops.matmul([[1.0, 2.0]], [[3.0], [4.0]])
    array([[11.]], dtype=float32)
    """
    a, b = as_tensor(a), as_tensor(b)
    _check_operands(a, b)
    lead = a.shape[:-2] if a.ndim >= b.ndim else b.shape[:-2]
    if b.ndim == 2 and a.ndim > 2 and not transpose_a:  # all rows at once
        flat = OPERATORS["reshape"](a, (prod(a.shape[:-1]), a.shape[-1]))
        c = gemm(flat, b, False, transpose_b)
    else:
        c = gemm(_at_most_3d(a), _at_most_3d(b), transpose_a, transpose_b)
    return OPERATORS["reshape"](c, (*lead, _rows(a, transpose_a), c.shape[-1]))


@op
def dense(src: Any, weights: Any, bias: Any = None) -> Tensor:
    """Fully connected layer ``dst = src weights + bias`` on the last axis.

    Parameters
    ----------
    src: shape (..., C).
    weights: shape (C, K).
    bias: shape (K,), or None.

    Returns
    -------
    Tensor of shape (..., K).

    Raises
    ------
    ShapeError if the last axis of ``src`` is not the first of ``weights``, or the bias
    is not one value a column of them.

    >>> import fastconv as fc
    >>> fc.ops.dense([[1.0, 2.0]], [[1.0], [1.0]], [0.5])
    array([[3.5]], dtype=float32)
    """
    src, weights = as_tensor(src), as_tensor(weights)
    if weights.ndim != 2 or src.ndim < 1 or src.shape[-1] != weights.shape[0]:
        raise ShapeError(
            f"{who('dense')}: expected an input whose last axis is the first of the "
            f"weights {weights.shape}, received shape {src.shape}"
        )
    dst = matmul(
        src if src.ndim > 1 else OPERATORS["reshape"](src, (1, src.size)), weights
    )
    dst = OPERATORS["reshape"](dst, (*src.shape[:-1], weights.shape[1]))
    if bias is None:
        return dst
    bias = as_tensor(bias)
    if bias.shape != weights.shape[1:]:
        raise ShapeError(
            f"{who('dense')}: expected a bias of shape {weights.shape[1:]}, received "
            f"{bias.shape}"
        )
    return OPERATORS["add"](dst, bias)


def gemm(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    """The op: operands of 2 axes, or of 3 for a batch."""
    m, k = _rows(a, transpose_a), _columns(a, transpose_a)
    n = _columns(b, transpose_b)
    if k != _rows(b, transpose_b):
        raise ShapeError(
            f"{who('matmul')}: inner sizes differ: expected {k} rows in the second "
            f"operand, received shapes {a.shape} and {b.shape} "
            f"(transpose_a={transpose_a}, transpose_b={transpose_b})"
        )
    batch = max(t.shape[0] if t.ndim == 3 else 1 for t in (a, b))
    if 0 in (t.shape[0] for t in (a, b) if t.ndim == 3):
        batch = 0
    batched = a.ndim == 3 or b.ndim == 3
    attrs = GemmAttrs(
        batch=batch,
        m=m,
        n=n,
        k=k,
        transpose_a=int(transpose_a),
        transpose_b=int(transpose_b),
        broadcast_a=int(batched and a.ndim == 2),
        broadcast_b=int(batched and b.ndim == 2),
    )
    return emit(OpKind.gemm, attrs, a, b)[0]


def _check_operands(a: Tensor, b: Tensor) -> None:
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(
            f"{who('matmul')}: expected operands of at least 2 axes, received shapes "
            f"{a.shape} and {b.shape}"
        )
    if a.ndim > 2 and b.ndim > 2 and a.shape[:-2] != b.shape[:-2]:
        raise ShapeError(
            f"{who('matmul')}: expected the same leading axes, or none in one operand, "
            f"received shapes {a.shape} and {b.shape}"
        )
    if b.dtype not in (a.dtype, wide(a.dtype)):
        raise DtypeError(
            f"{who('matmul')}: expected one dtype, received {a.dtype} and {b.dtype}"
        )


def _at_most_3d(t: Tensor) -> Tensor:
    if t.ndim <= 3:
        return t
    return OPERATORS["reshape"](t, (prod(t.shape[:-2]), *t.shape[-2:]))


def _rows(t: Tensor, transposed: bool) -> int:
    return t.shape[-1] if transposed else t.shape[-2]


def _columns(t: Tensor, transposed: bool) -> int:
    return t.shape[-2] if transposed else t.shape[-1]


def _shape(attrs: GemmAttrs, a: Tensor, b: Tensor, *rest: Tensor) -> list[Spec]:
    m, n, k = attrs.m, attrs.n, attrs.k
    lead = (attrs.batch,) if 3 in (a.ndim, b.ndim) else ()
    _expect(
        a, () if attrs.broadcast_a else lead, (k, m) if attrs.transpose_a else (m, k)
    )
    _expect(
        b, () if attrs.broadcast_b else lead, (n, k) if attrs.transpose_b else (k, n)
    )
    dst = (*lead, m, n)
    for t, shape in zip(rest, epilogue_shapes(attrs.epilogue, dst), strict=True):
        _expect(t, (), shape)
    # A transposed first operand: a sum over samples, such as a gradient of weights.
    sums = attrs.transpose_a and b.dtype == a.dtype
    return [(dst, wide(a.dtype) if sums else a.dtype)]


def _expect(operand: Tensor, lead: Shape, matrix: Shape) -> None:
    if operand.shape != (*lead, *matrix):
        raise ShapeError(
            f"{who('matmul')}: expected an operand of shape {(*lead, *matrix)}, "
            f"received {operand.shape}"
        )


def _gradient(node: Node, dc: Tensor) -> list[Tensor]:
    a, b = node.inputs
    ta, tb = bool(node.attrs.transpose_a), bool(node.attrs.transpose_b)
    da = gemm(b, dc, tb, True) if ta else gemm(dc, b, False, not tb)
    db = gemm(dc, a, True, ta) if tb else gemm(a, dc, not ta, False)
    return [_unbatched(da, a), _unbatched(db, b)]


def _unbatched(gradient: Tensor, operand: Tensor) -> Tensor:
    """Sums over the batch that an operand without one served."""
    if gradient.ndim == operand.ndim:
        return gradient
    return OPERATORS["sum"](gradient, axis=0)


def _cost(node: Node) -> int:
    attrs = node.attrs
    return 2 * attrs.batch * attrs.m * attrs.n * attrs.k


register(OpKind.gemm, Rule(_shape, _gradient, _cost))
OPERATORS["matmul"] = matmul
