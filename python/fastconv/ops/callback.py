"""Host functions inside a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv._core import CallbackAttrs, OpKind
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, dtype_name, register
from fastconv.graph.scope import label, who
from fastconv.graph.trace import as_tensor, constant

__all__ = ["callback"]

HostFunction = Callable[..., Any]


@op
def callback(
    function: HostFunction,
    inputs: Any,
    output_specs: Sequence[Any],
    gradient: HostFunction | None = None,
) -> Any:
    """Runs a NumPy function in the middle of a plan.

    Each time the plan runs, ``function(*arrays)`` is called with copies of the inputs,
    and what it returns is copied into the outputs. It should depend on nothing else.

    Parameters
    ----------
    function: takes one array an input; returns an array, or a sequence of arrays if
        there are several outputs. What it raises ends the run.
    inputs: a tensor, or a sequence of tensors.
    output_specs: (shape, dtype) of the output, or a list of such pairs.
    gradient: called as ``gradient(*arrays, *output_gradients)``; returns the gradient
        of each input (None for one that has none, or that is not floating), again as an
        array or a sequence. Without it the outputs have no gradient.

    Returns
    -------
    Tensor, or a list of tensors if ``output_specs`` is a list.

    Raises
    ------
    ArgumentError if the function is not callable, or a spec is not (shape, dtype).
    ShapeError, when it runs, if an array returned has another shape or there are more
    or fewer of them than specs.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.ops.callback(np.sort, np.array([3.0, 1.0, 2.0]), ((3,), "float32"))
    array([1., 2., 3.], dtype=float32)
    """
    several = isinstance(output_specs, list)
    specs = _specs(list(output_specs) if several else [output_specs])
    given = inputs if isinstance(inputs, list | tuple) else [inputs]
    if not callable(function) or not (gradient is None or callable(gradient)):
        raise ArgumentError(
            f"{who('callback')}: expected functions, received {function!r} and "
            f"{gradient!r}"
        )
    outputs = _emit(_Host(function, specs, gradient), [as_tensor(t) for t in given])
    return list(outputs) if several else outputs[0]


class _Host:
    """A host function that is called with arrays and checked by its specs."""

    def __init__(
        self,
        function: HostFunction,
        specs: Sequence[Spec],
        gradient: HostFunction | None = None,
    ) -> None:
        self.function = function
        self.name = getattr(function, "__name__", repr(function))
        self.specs = tuple(specs)
        self.gradient = gradient

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        results = self.function(*arrays)
        if len(self.specs) == 1 and not isinstance(results, list | tuple):
            results = [results]
        made = [np.asarray(r) for r in results]
        shapes = [a.shape for a in made]
        expected = [shape for shape, _ in self.specs]
        if shapes != expected:
            raise ShapeError(
                f"callback {self.name}: expected to get arrays of shapes {expected}, "
                f"received {shapes}; output_specs must be what the function returns"
            )
        return made


def _specs(specs: Sequence[Any]) -> list[Spec]:
    checked: list[Spec] = []
    for spec in specs:
        if not isinstance(spec, list | tuple) or len(spec) != 2:
            raise ArgumentError(
                f"{who('callback')}: expected (shape, dtype) for each output, received "
                f"{spec!r}"
            )
        shape, dtype = spec
        sizes = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
        if not all(isinstance(n, int) and n >= 0 for n in sizes):
            raise ArgumentError(
                f"{who('callback')}: expected a shape of integers >= 0, received "
                f"{shape!r}"
            )
        checked.append((sizes, dtype_name(dtype)))
    if not checked:
        raise ArgumentError(f"{who('callback')}: expected at least one output")
    return checked


def _emit(host: _Host, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    node = Node(
        OpKind.callback,
        CallbackAttrs(),
        inputs,
        host.specs,
        label=label(),
        payload=host,
    )
    return node.outputs


def _no_specs(_attrs: CallbackAttrs, *_inputs: Tensor) -> list[Spec]:
    """A callback declares what it makes; see `_Host`."""
    return []


def _gradient(node: Node, *dys: Tensor | None) -> list[Tensor | None]:
    backward = node.payload.gradient
    if backward is None:
        raise ArgumentError(
            f"grad: callback {node.payload.name} has no gradient; give it one, or "
            "take it out of the path with fastconv.ops.stop_gradient"
        )
    varied = [i for i, t in enumerate(node.inputs) if _floating(t.dtype)]
    if not varied:
        return [None] * len(node.inputs)

    def gradients(*arrays: np.ndarray) -> list[np.ndarray]:
        results = backward(*arrays)
        if not isinstance(results, list | tuple):
            results = [results]
        if len(results) != len(node.inputs):
            raise ShapeError(
                f"callback {node.payload.name}: expected the gradient function to "
                f"return {len(node.inputs)} arrays, one an input, "
                f"received {len(results)}"
            )
        return [
            np.zeros_like(arrays[i]) if results[i] is None else results[i]
            for i in varied
        ]

    given = [
        constant(np.zeros(y.shape), y.dtype) if dy is None else dy
        for y, dy in zip(node.outputs, dys, strict=True)
    ]
    specs = [(node.inputs[i].shape, node.inputs[i].dtype) for i in varied]
    made = iter(_emit(_Host(gradients, specs), [*node.inputs, *given]))
    return [next(made) if i in varied else None for i in range(len(node.inputs))]


def _floating(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


register(OpKind.callback, Rule(_no_specs, _gradient))
