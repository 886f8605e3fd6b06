"""A model as a graph of layer calls, from the tensors of its inputs to its outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastconv import ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import Tensor
from fastconv.layers.base import Call, KerasTensor, Layer, is_spec
from fastconv.tree import flatten, map_structure


class CallGraph:
    """The calls of layers between ``inputs`` and ``outputs``, in the order to run them.

    inputs, outputs: a `KerasTensor`, or a list, tuple or dict of them.
    """

    def __init__(self, inputs: Any, outputs: Any, owner: str) -> None:
        self.owner = owner
        self.input_structure = inputs
        self.output_structure = outputs
        self.inputs = _tensors(inputs, "inputs", owner)
        self.outputs = _tensors(outputs, "outputs", owner)
        self.calls = _ordered(self.inputs, self.outputs, owner)

    @property
    def layers(self) -> list[Layer]:
        """Each layer once, in the order of its first call."""
        return list(dict.fromkeys(call.layer for call in self.calls))

    @property
    def input_names(self) -> list[str]:
        """A name for each input: the key of a dict, else the name of the tensor."""
        return _names(self.input_structure, [t.name for t in self.inputs])

    @property
    def output_names(self) -> list[str]:
        """A name for each output: the key of a dict, else the name of its layer."""
        return _names(self.output_structure, [t.name for t in self.outputs])

    def run(self, tensors: list[Tensor]) -> Any:
        """Calls the layers on tensors; gives the outputs in their structure."""
        values: dict[Any, Any] = {}
        for spec, tensor in zip(self.inputs, tensors, strict=True):
            values[spec] = fit_input(tensor, spec, self.owner)

        def now(tensor: KerasTensor) -> Any:
            return values[tensor]

        for call in self.calls:
            args, kwargs = map_structure((call.args, call.kwargs), is_spec, now)
            made = flatten(call.layer(*args, **kwargs), Tensor)
            values.update(zip(flatten(call.outputs, KerasTensor), made, strict=True))
        return map_structure(self.output_structure, is_spec, now)


def align(value: Any, names: list[str], what: str) -> list[Any]:
    """One value, a list, or a dict by name, as a list in the order of ``names``."""
    if isinstance(value, dict):
        unknown = [key for key in value if key not in names]
        if unknown:
            raise ArgumentError(
                f"{what}: expected the names {names}, received {sorted(value)}"
            )
        return [value.get(name) for name in names]
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) != len(names):
        raise ArgumentError(
            f"{what}: expected {len(names)} ({', '.join(names)}), received "
            f"{len(values)}"
        )
    return values


def fit_input(tensor: Tensor, spec: KerasTensor, owner: str) -> Tensor:
    """The tensor as an input takes it: checked, cast, with its channel axis."""
    shape, expected = tensor.shape, spec.shape
    if len(shape) + 1 == len(expected) and expected[-1] == 1:
        shape = (*shape, 1)
    elif len(shape) == len(expected) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    if not fits(shape, expected):
        raise ShapeError(
            f"model {owner!r}: input {spec.name!r} expected shape {expected}, received "
            f"{tensor.shape}{_hint(tensor.shape, expected)}"
        )
    if shape != tensor.shape:
        tensor = ops.reshape(tensor, shape)
    return tensor if tensor.dtype == spec.dtype else ops.cast(tensor, spec.dtype)


def fits(shape: Iterable[int], expected: Iterable[int | None]) -> bool:
    """Whether a shape is one of those that ``expected`` (None: any size) describes."""
    shape, expected = tuple(shape), tuple(expected)
    return len(shape) == len(expected) and all(
        e is None or e == s for s, e in zip(shape, expected, strict=True)
    )


def _hint(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> str:
    if len(shape) == len(expected) > 2:
        moved = (shape[0], *shape[2:], shape[1])
        if fits(moved, expected):
            return (
                "; the data look channels-first: give np.moveaxis(x, 1, -1), since "
                "images are (height, width, channels) here (channels_last)"
            )
    if fits(shape, expected[1:]):
        return "; a single sample needs a batch axis: give x[np.newaxis]"
    return ""


def sources(tensor: KerasTensor) -> list[KerasTensor]:
    """The inputs that a tensor of a model was made of, in the order of their use."""
    found: dict[KerasTensor, None] = {}
    seen: set[KerasTensor] = set()
    stack = [tensor]
    while stack:
        tensor = stack.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor.origin is None:
            found[tensor] = None
        else:
            stack.extend(reversed(tensor.origin.inputs))
    return list(found)


def _tensors(structure: Any, what: str, owner: str) -> list[KerasTensor]:
    found = flatten(structure, KerasTensor)
    if not found:
        raise ArgumentError(
            f"model {owner!r}: expected {what} made by fastconv.Input and layers, "
            "received "
            f"{structure!r:.200}"
        )
    return found


def _ordered(
    inputs: list[KerasTensor], outputs: list[KerasTensor], owner: str
) -> list[Call]:
    """The calls that the outputs need, each after those that it reads."""
    known = set(inputs)
    done: dict[Call, None] = {}
    stack: list[tuple[KerasTensor, bool]] = [(t, False) for t in reversed(outputs)]
    while stack:
        tensor, ready = stack.pop()
        call = tensor.origin
        if tensor in known or call in done:
            continue
        if call is None:
            raise ArgumentError(
                f"model {owner!r}: the outputs depend on {tensor!r}, which is not "
                "among "
                f"the inputs {inputs}"
            )
        if ready:
            done[call] = None
        else:
            stack.append((tensor, True))
            stack.extend((t, False) for t in reversed(call.inputs))
    return list(done)


def _names(structure: Any, otherwise: list[str]) -> list[str]:
    if isinstance(structure, dict):
        return list(structure)
    seen: dict[str, int] = {}
    names = []
    for name in otherwise:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name] - 1}")
    return names
