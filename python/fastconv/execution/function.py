"""fastconv.function: a Python function of tensors, traced once per shape."""

from __future__ import annotations

import functools
import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv import config
from fastconv.errors import ArgumentError, DeviceError
from fastconv.execution.device_array import as_input, is_on_gpu
from fastconv.execution.devices import INTERPRETERS, arena_of, resolve_device
from fastconv.execution.executable import Executable, StepReport
from fastconv.execution.feed import check_feed
from fastconv.graph.ir import Graph, Tensor
from fastconv.graph.passes.verify import verify
from fastconv.graph.scope import current_trace
from fastconv.graph.trace import Trace, as_tensor, is_symbolic
from fastconv.graph.variable import Variable

_ARRAY = frozenset({np.ndarray})
PLANS_KEPT = 16  # plans a function keeps, least recently used first out


class Function:
    """A traced function; made by `fastconv.function`.

    >>> import fastconv as fc
    >>> double = fc.function(lambda x: x + x)
    >>> double([1.0, 2.0])
    array([2., 4.], dtype=float32)
    >>> [(step.op, step.flops) for step in double.explain([1.0, 2.0])]
    [('binary', 2)]
    """

    def __init__(
        self,
        python: Callable[..., Any],
        device: str = "auto",
        arena: Any = None,
        kept: int = PLANS_KEPT,
        limit: int | None = None,
    ) -> None:
        self.python = python
        self.kept = kept
        self.limit = limit  # bytes that a plan may need
        self.device = resolve_device(device)
        self._plans: OrderedDict[Any, tuple[Any, Any, Any]] = OrderedDict()
        self._parties: dict[Any, None] = {}  # what traces named with `Trace.involve`
        self._lock = threading.RLock()
        self._arena = arena
        functools.update_wrapper(self, python, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the function on arrays, and returns arrays in the same structure."""
        symbolic = not _only_arrays(args, kwargs) and is_symbolic((args, kwargs))
        if symbolic or current_trace() is not None:
            return self.python(*args, **kwargs)
        spec, arrays = self._spec(args, kwargs)
        with self._lock:
            run, structure, parties = self._plan(spec, arrays)
            results = _between(parties, run, arrays)
        return _rebuild(structure, iter(results))

    def compile(self, *args: Any, **kwargs: Any) -> Executable:
        """The plan for such arguments, without running it."""
        spec, arrays = self._spec(args, kwargs)
        with self._lock:
            return self._executable(spec, arrays)

    def explain(self, *args: Any, **kwargs: Any) -> list[StepReport]:
        """What runs for such arguments: each step's kernel, why, bytes, operations."""
        return self.compile(*args, **kwargs).report()

    def profile(self, *args: Any, **kwargs: Any) -> list[tuple[StepReport, int]]:
        """Runs once; what `explain` tells of each step, and its nanoseconds."""
        spec, arrays = self._spec(args, kwargs)
        with self._lock:
            run = self._executable(spec, arrays)
            parties = self._plan(spec, arrays)[2]
            times = _between(parties, run.profile, arrays)
        return list(zip(run.report(), times, strict=True))

    def clear(self) -> None:
        """Forgets all plans."""
        with self._lock:
            self._plans.clear()
            self._parties.clear()

    def _spec(self, args: Any, kwargs: Any) -> tuple[Any, list[np.ndarray]]:
        """The structure of the arguments, and the arrays in it."""
        arrays: list[np.ndarray] = []
        if _only_arrays(args, kwargs):  # quicker
            wide = self.device == "reference"
            arrays.extend([check_feed("input", a, wide) for a in args])
            return _spec_of_arrays(len(args)), arrays
        spec = _flatten((args, kwargs), lambda v: _argument(v, arrays, self.device))
        return spec, arrays

    def _executable(self, spec: Any, arrays: list[np.ndarray]) -> Executable:
        run = self._plan(spec, arrays)[0]
        if not isinstance(run, Executable):
            raise DeviceError(f"device {self.device!r} has no plans")
        return run

    def _plan(self, spec: Any, arrays: list[np.ndarray]) -> tuple[Any, Any, Any]:
        shapes = tuple([(a.shape, a.dtype) for a in arrays])
        key = self._key(spec, shapes)
        made = self._plans.get(key)
        if made is not None and not getattr(made[0], "outdated", False):
            self._plans.move_to_end(key)
            return made
        with _no_collection():
            graph, structure, parties = self._trace(spec, arrays)
            made = (self._lower(graph), structure, parties)
        self._parties |= parties
        key = self._key(spec, shapes)
        self._plans[key] = made
        if len(self._plans) > self.kept:
            self._plans.popitem(last=False)
        return made

    def _key(self, spec: Any, shapes: Any) -> Any:
        """All that a plan follows from."""
        parties = [party.plan_key() for party in self._parties]
        return (spec, shapes, config.float32_precision(), *parties)

    def _trace(self, spec: Any, arrays: list[np.ndarray]) -> tuple[Graph, Any, Any]:
        trace = Trace()
        with trace.active():
            inputs = [
                trace.input(a.shape, a.dtype.name, f"input_{i}")
                for i, a in enumerate(arrays)
            ]
            args, kwargs = _rebuild(spec, iter(inputs))
            result = self.python(*args, **kwargs)
            outputs: list[Tensor] = []
            structure = _flatten(result, lambda v: _result(v, outputs))
            return trace.graph(outputs), structure, trace.parties

    def _lower(self, graph: Graph) -> Any:
        if self.device in INTERPRETERS:
            return functools.partial(INTERPRETERS[self.device], verify(graph))
        if self._arena is None:
            self._arena = arena_of(self.device)
        return Executable(graph, self._arena, self.limit)


def function(python: Callable[..., Any] | None = None, *, device: str = "auto") -> Any:
    """Traces a Python function of tensors into a plan, once per input shape.

    Inside, arguments that were arrays are symbolic tensors; numbers, strings and
    booleans are fixed parts of the plan (give a NumPy scalar for a number that
    changes). Variables may be read and assigned, gradients taken with `fastconv.grad`.
    Arrays come out.

    Parameters
    ----------
    python: the function; or None to use it as a decorator with arguments.
    device: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1" or
        "reference" (NumPy, also in float64).

    >>> import fastconv as fc
    >>> @fc.function
    ... def loss(x, w):
    ...     return fc.ops.sum(fc.ops.square(fc.ops.matmul(x, w)))
    >>> float(loss([[1.0, 2.0]], [[3.0], [4.0]]))
    121.0
    """
    if python is None:
        return lambda f: Function(f, device)
    return Function(python, device)


def _between(parties: Iterable[Any], run: Callable[..., Any], arrays: Any) -> Any:
    """Tells the parties of a plan that it runs, and that it ran without an error."""
    for party in parties:
        party.before_run()
    result = run(arrays)
    for party in parties:
        party.after_run()
    return result


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses the garbage collector, which else starts some thirty times a plan.

    Planning makes many objects and leaves little: a fifth of its time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Hole:
    """The place of an array in a structure."""

    def __repr__(self) -> str:
        return "array"


_HOLE = _Hole()


def _only_arrays(args: Any, kwargs: Any) -> bool:
    return not kwargs and _ARRAY.issuperset(map(type, args))


@functools.cache
def _spec_of_arrays(count: int) -> Any:
    return "tuple", ("tuple", *[_HOLE] * count), ("dict",)


def _is_number_list(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, float)


def _flatten(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """A hashable copy of nested lists, tuples and dicts, with ``leaf`` of the rest."""
    if isinstance(value, tuple | list) and not _is_number_list(value):
        return (type(value).__name__, *[_flatten(v, leaf) for v in value])
    if isinstance(value, dict):
        return ("dict", *[(k, _flatten(v, leaf)) for k, v in value.items()])
    return leaf(value)


def _argument(value: Any, arrays: list[np.ndarray], device: str) -> Any:
    """A hole for an array, which is collected; else the value itself, if hashable."""
    if type(value) is not np.ndarray and is_on_gpu(value):
        arrays.append(as_input(value, device))
        return _HOLE
    if type(value) is np.ndarray or _is_array(value):
        arrays.append(check_feed("input", np.asarray(value), device == "reference"))
        return _HOLE
    if isinstance(value, slice):  # not hashable before Python 3.12
        return ("slice", value.start, value.stop, value.step)
    if type(value) is float:  # 0.0 == -0.0, but they divide differently
        return ("float", value.hex())
    try:
        hash(value)
    except TypeError:
        raise ArgumentError(
            f"expected an array or a hashable value, got {value!r}"
        ) from None
    return ("=", type(value), value)


def _result(value: Any, outputs: list[Tensor]) -> Any:
    if value is None:
        return ("=", type(None), None)
    outputs.append(as_tensor(value))
    return _HOLE


def _is_array(value: Any) -> bool:
    if isinstance(value, Variable | type):
        return False
    return _is_number_list(value) or hasattr(value, "__array__")


def _rebuild(spec: Any, items: Any) -> Any:
    """The structure with the next of ``items`` in each hole."""
    if spec is _HOLE:
        return next(items)
    kind, *parts = spec
    if kind == "=":
        return parts[1]
    if kind == "float":
        return float.fromhex(parts[0])
    if kind == "slice":
        return slice(*parts)
    if kind == "dict":
        return {k: _rebuild(v, items) for k, v in parts}
    rebuilt = [_rebuild(part, items) for part in parts]
    return rebuilt if kind == "list" else tuple(rebuilt)
