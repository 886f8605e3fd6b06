"""What every layer is: weights, a call, and the record of how layers were connected."""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from fastconv import constraints, initializers, mixed_precision, regularizers
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution.function import Function
from fastconv.graph.ir import Tensor, dtype_name
from fastconv.graph.scope import current_trace, scope, tracing
from fastconv.graph.trace import Trace
from fastconv.graph.variable import Variable
from fastconv.layers import budget, context, penalties, registry
from fastconv.layers.arguments import constructor_arguments, plain
from fastconv.operators import Operators
from fastconv.tree import flatten, map_structure

BatchShape = tuple[int | None, ...]

STAND_INS = (512, 768)  # for a None that is not the batch, while shapes are worked out
NOT_HELD = {
    "_calls",
    "_random_state",
    "_eager_state",
}  # attributes that hold no part of a layer
_names: Counter[str] = Counter()
_thaws = 0  # how often a layer was frozen or unfrozen, in the whole program


class KerasTensor(Operators):
    """The output of a layer in a model being described: a shape without values.

    The first axis, the batch, is None. Layers, ops and operators accept it.

    >>> import fastconv as fc
    >>> x = fc.Input((28, 28, 1), name="image")
    >>> x
    <KerasTensor float32[None, 28, 28, 1] 'image'>
    >>> fc.ops.flatten(x * 2.0 - 1.0).shape
    (None, 784)
    """

    # What makes a layer of an op; `layers.operation`, which knows layers, sets it.
    recorder: ClassVar[Callable[[Callable[..., Any], Any, Any], Any]]

    def __init__(self, shape: BatchShape, dtype: str, name: str = "") -> None:
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.origin: Call | None = None  # the call that makes it; None for an input

    @property
    def ndim(self) -> int:
        """Number of axes, the batch among them."""
        return len(self.shape)

    def __fastconv_op__(self, op: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Records an op of `fastconv.ops` as a layer."""
        return KerasTensor.recorder(op, args, kwargs)

    def __repr__(self) -> str:
        return f"<KerasTensor {self.dtype}{list(self.shape)} {self.name!r}>"


class Call:
    """One use of a layer in a model: what it was given and what it gave."""

    def __init__(self, layer: Layer, args: Any, kwargs: Any) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        self.inputs: list[KerasTensor] = flatten((args, kwargs), KerasTensor)
        self.outputs: Any = None  # KerasTensors in the structure that call() returns


class Layer:
    """Base class of layers. A new one writes up to three methods.

    - ``build(input_shape)`` makes the weights with `add_weight`;
    - ``call(x)`` (also with ``training``) computes, with `fastconv.ops`, on tensors;
    - ``get_config()`` returns the constructor's arguments, for saving.

    Parameters
    ----------
    name: unique in a model; default the class name in lower case with a number.
    trainable: whether training changes its weights.
    dtype: of the weights and the computation, or the name of a dtype policy, or a
        `fastconv.mixed_precision.DTypePolicy`; default the global policy, "float32".
    learning_rate_multiplier: see the attribute of this name; default 1.
    activity_regularizer: penalty on the output, divided by the size of the batch; a
        name, a `fastconv.regularizers.Regularizer` or a function; default none.

    >>> import fastconv as fc
    >>> class Scale(fc.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight((input_shape[-1],), "ones")
    ...     def call(self, x):
    ...         return x * self.factor
    >>> Scale()([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    _rank: ClassVar[int | None] = (
        None  # axes of the input, where only that many will do
    )
    activity_regularizer: Any
    ruled: ClassVar[
        tuple[str, ...]
    ] = ()  # weights with ..._regularizer, ..._constraint

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _marks_built(cls.build)  # type: ignore[method-assign]
        registry.register(cls)

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        learning_rate_multiplier: float = 1.0,
        **unknown: Any,
    ) -> None:
        self._listed: list[Layer] = []  # of a model that is a list or graph of layers
        self._made: list[Variable] = []  # by add_weight
        self._eager: Function | None = None
        self._eager_state: Variable | None = None  # of chance, in calls on arrays
        self._frozen: tuple[int, str] = (-1, "")  # see _frozen_layers
        self._calls: list[Call] = []
        self.name = name or unique_name(type(self).__name__)
        input_shape = unknown.pop("input_shape", None)
        if "input_dim" in unknown:
            input_shape = (unknown.pop("input_dim"),)
        self.input_shape_hint = None if input_shape is None else tuple(input_shape)
        penalties.take_rules(self, unknown)
        if unknown:
            signature = inspect.signature(type(self)).parameters
            raise ArgumentError(
                f"layer {self.name!r} ({type(self).__name__}): unknown argument "
                f"{', '.join(map(repr, unknown))}; it takes "
                f"{', '.join([*signature, *penalties.rule_names(self)])}"
            )
        self._trainable = bool(trainable)
        self._rate_multiplier = float(learning_rate_multiplier)
        policy, dtype = mixed_precision.resolve(dtype)
        self.dtype = dtype_name(dtype)
        self.dtype_policy = policy or self.dtype
        self.built = False

    # Making weights -------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Makes the weights. ``input_shape``: (None, ...), or a list of them."""

    def add_weight(
        self,
        shape: tuple[int, ...] | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        *,
        name: str | None = None,
        regularizer: Any = None,
        constraint: Any = None,
    ) -> Variable:
        """Makes a weight of this layer, filled by an initializer.

        shape: default (), one number.
        initializer: default "glorot_uniform", "zeros" for integers.
        dtype: default the layer's.
        name: the weight's in files and messages; default "weight".
        regularizer, constraint: see `fastconv.regularizers`, `fastconv.constraints`.
        """
        if isinstance(shape, str):
            raise ArgumentError(
                f"layer {self.name!r}: add_weight expected a shape, received {shape!r};"
                f" give the name as name={shape!r}"
            )
        dtype, shape = dtype_name(dtype or self.dtype), tuple(shape or ())
        if initializer is None:
            initializer = "glorot_uniform" if dtype.startswith("float") else "zeros"
        budget.spend(self.name, shape)
        value = initializers.get(initializer)(shape)
        label = f"{self.name}/{name or 'weight'}"
        weight = Variable(value, label, trainable, dtype=dtype)
        weight.learning_rate_multiplier = self._rate_multiplier
        weight.regularizer = regularizers.get(regularizer)
        weight.constraint = constraints.get(constraint)
        self._made.append(weight)
        return weight

    def rules(self, what: str) -> dict[str, Any]:
        """The arguments of `add_weight` for regularizer and constraint of a weight."""
        kinds = ("regularizer", "constraint")
        return {kind: getattr(self, f"{what}_{kind}") for kind in kinds}

    def add_loss(self, loss: Any) -> None:
        """Adds a scalar, or a list of them, to the loss that training minimises.

        For use in ``call`` and ``train_step``. `Model.compute_loss` adds all of them;
        a loop of one's own finds them in `losses`.

        >>> import fastconv as fc
        >>> class Sparse(fc.layers.Layer):
        ...     def call(self, x):
        ...         self.add_loss(0.01 * fc.ops.sum(fc.ops.abs(x)))
        ...         return x
        >>> layer = Sparse()
        >>> fc.function(lambda x: (layer(x), layer.losses[0])[1])([[1.0, -2.0]])
        array(0.03, dtype=float32)
        """
        for value in loss if isinstance(loss, list | tuple) else [loss]:
            penalties.add(self, value)

    @property
    def losses(self) -> list[Any]:
        """What the layer, and those inside, add to the loss.

        The penalties on weights that are trained and, inside a traced function, what
        was added there by `add_loss` and ``activity_regularizer``.
        """
        return penalties.losses(self)

    def _held(self, kind: type | tuple[type, ...]) -> list[Any]:
        """Layers or variables in attributes, also in lists, tuples and dicts."""
        attributes = vars(self).items()
        values = [value for name, value in attributes if name not in NOT_HELD]
        return list(dict.fromkeys(v for v in flatten(values, kind) if v is not self))

    @property
    def _sublayers(self) -> list[Layer]:
        """The layers inside, in the order of the attributes that hold them."""
        return self._held(Layer)

    @property
    def _weights(self) -> list[Variable]:
        """The layer's own weights, without those of the layers inside."""
        return self._held(Variable)

    def _walk(self) -> Iterator[Layer]:
        """The layer and all inside, each once."""
        return (layer for layer, _ in self._walk_weights())

    def _walk_weights(self) -> Iterator[tuple[Layer, list[Variable]]]:
        """The layer and all inside, each once, and the own weights of each."""
        seen: set[Layer] = set()
        stack: list[Layer] = [self]
        while stack:
            layer = stack.pop()
            if layer not in seen:
                seen.add(layer)
                held = layer._held((Layer, Variable))  # both at once: it takes a while
                yield layer, [v for v in held if isinstance(v, Variable)]
                stack.extend(v for v in reversed(held) if isinstance(v, Layer))

    # Weights --------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it reaches layers inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        global _thaws
        _thaws += 1
        for layer in self._walk():
            layer._trainable = bool(value)

    @property
    def learning_rate_multiplier(self) -> float:
        """What optimisers multiply the learning rate with, for the layer's weights.

        Default 1; 0 leaves them as they are. Setting it reaches layers inside, takes
        effect at the next step, and is saved with the model: for fine-tuning, layers
        near the input take 0.1, say, and a new head 1.

        >>> import fastconv as fc
        >>> model = fc.Sequential(
        ...     [fc.Input((2,)), fc.layers.Dense(3), fc.layers.Dense(1, name="head")])
        >>> model.layers[0].learning_rate_multiplier = 0.1
        >>> [w.learning_rate_multiplier for w in model.weights]
        [0.1, 0.1, 1.0, 1.0]
        """
        return self._rate_multiplier

    @learning_rate_multiplier.setter
    def learning_rate_multiplier(self, value: float) -> None:
        factor = float(value)
        if not 0.0 <= factor < float("inf"):
            raise ArgumentError(
                f"layer {self.name!r}: expected a learning_rate_multiplier >= 0, "
                f"received {value!r}"
            )
        for layer, own in self._walk_weights():
            layer._rate_multiplier = factor
            for weight in own:
                weight.learning_rate_multiplier = factor

    @property
    def weights(self) -> list[Variable]:
        """All weights, those of the layers inside included.

        What attributes hold counts, also in lists, tuples and dicts: layers, their
        weights, and a `fastconv.Variable` of your own.
        """
        return list(dict.fromkeys(w for _, own in self._walk_weights() for w in own))

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes: none of a frozen layer.

        A layer inside may be unfrozen after the one that holds it was frozen; the
        model around both then trains it, as Keras does.
        """
        if not self._trainable:
            return []
        parts = [own for layer, own in self._walk_weights() if layer._trainable]
        return list(dict.fromkeys(w for own in parts for w in own if w.trainable))

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone (statistics, frozen layers)."""
        trained = set(self.trainable_weights)
        return [w for w in self.weights if w not in trained]

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, values: list[Any]) -> None:
        """Sets all weights from arrays in the order of `weights`."""
        values = list(values)
        if len(values) != len(self.weights):
            raise ArgumentError(
                f"layer {self.name!r}: expected {len(self.weights)} arrays of weights, "
                f"received {len(values)}"
            )
        arrays = [np.asarray(v) for v in values]
        for weight, array in zip(self.weights, arrays, strict=True):
            if weight.shape != array.shape:
                raise ShapeError(
                    f"layer {self.name!r}: weight {weight.name!r} has shape "
                    f"{weight.shape}, received {array.shape}"
                )
        for weight, array in zip(self.weights, arrays, strict=True):
            weight.assign(array)

    def count_params(self) -> int:
        """Number of values in all weights."""
        return sum(w.size for w in self.weights)

    # Calling --------------------------------------------------------------------------

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; written by each layer."""
        raise ArgumentError(
            f"layer {self.name!r} ({type(self).__name__}) has no call()"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output for arrays, for tensors of a traced function, or in a model."""
        tensors = flatten((args, kwargs), KerasTensor)
        if tensors:
            return self._connect(args, kwargs)
        if current_trace() is None and not flatten((args, kwargs), Tensor):
            return self._run_now(args, kwargs)
        self._ensure_built(args)
        training = kwargs.pop("training", None)
        with scope(self.name, self._mixed), context.training(training):
            if "training" in _parameters(type(self).call):
                kwargs["training"] = context.is_training()
            outputs = self.call(*args, **kwargs)
            if self.activity_regularizer is not None:
                penalties.add_activity(self, outputs)
            return outputs

    @property
    def _mixed(self) -> bool:
        policy = self.dtype_policy
        return not isinstance(policy, str) and policy.name == mixed_precision.MIXED

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input of shape (None, ...)."""
        spec = shape_specs(input_shape, self.dtype)
        return map_structure(self._abstract((spec,), {}), is_spec, lambda t: t.shape)

    @property
    def input(self) -> Any:
        """What the layer was last connected to: a `KerasTensor`, or a list of them."""
        args = self._last_call().args
        return args[0] if args else self._last_call().inputs

    @property
    def output(self) -> Any:
        """What the layer gave when it was last connected."""
        return self._last_call().outputs

    def _last_call(self) -> Call:
        if not self._calls:
            raise ArgumentError(
                f"layer {self.name!r} has no input and output yet: it is not connected"
            )
        return self._calls[-1]

    def _connect(self, args: Any, kwargs: Any) -> Any:
        call = Call(self, args, kwargs)
        call.outputs = self._abstract(args, kwargs)
        for tensor in flatten(call.outputs, KerasTensor):
            tensor.origin = call
        self._calls.append(call)
        return call.outputs

    def _abstract(self, args: Any, kwargs: Any) -> Any:
        """The outputs; traced with two sizes for None to see which axes follow it."""
        small, large = (self._trace_with(args, kwargs, i) for i in (0, 1))
        others = iter(flatten(large, Tensor))

        def merge(tensor: Tensor) -> KerasTensor:
            pairs = zip(tensor.shape, next(others).shape, strict=True)
            shape = tuple(a if a == b else None for a, b in pairs)
            return KerasTensor(shape, tensor.dtype, self.name)

        return map_structure(small, lambda t: isinstance(t, Tensor), merge)

    def _trace_with(self, args: Any, kwargs: Any, which: int) -> Any:
        trace = Trace()

        def stand_in(tensor: KerasTensor) -> Tensor:
            unknown = (STAND_INS[which] for _ in tensor.shape[1:])
            sizes = zip(tensor.shape, (2 + which, *unknown), strict=True)
            shape = tuple(size if n is None else n for n, size in sizes)
            return trace.input(shape, tensor.dtype, tensor.name)

        with trace.active():
            given = map_structure((args, kwargs), is_spec, stand_in)
            self._ensure_built(args)
            return self(*given[0], **given[1])

    def _ensure_built(self, args: Any) -> None:
        self._check_rank(args)
        if self.built:
            return
        shapes = map_structure(args[0] if args else (), _has_shape, _batch_shape)
        with scope(self.name), tracing(None):
            self.build(shapes)
        self.built = True

    def _check_rank(self, args: Any) -> None:
        for tensor in args:
            if self._rank and _has_shape(tensor) and len(tensor.shape) != self._rank:
                raise ShapeError(
                    f"layer {self.name!r} ({type(self).__name__}): expected an input "
                    f"of {self._rank} axes, the batch among them, received shape "
                    f"{tuple(tensor.shape)}"
                )

    def _run_now(self, args: Any, kwargs: Any) -> Any:
        if self._eager is None or self._eager_state is None:
            self._eager = Function(self._run_frozen)
            self._eager_state = context.random_state()
        training = context.is_training()
        given = {"training": training, **kwargs}
        result = self._eager(self._frozen_layers(), *args, **given)
        self._eager_state.value[1] += 1
        return result

    def _run_frozen(self, frozen: str, *args: Any, **kwargs: Any) -> Any:
        """The call; ``frozen`` makes it another plan when layers were frozen."""
        assert self._eager_state is not None
        streams = context.eager_streams(self.name)
        with context.randomness(self._eager_state, streams):
            return self(*args, **kwargs)

    def _frozen_layers(self) -> str:
        """A digit for each layer, 0 for the frozen ones; kept while none changes."""
        if self._frozen[0] != _thaws:
            digits = "".join("01"[layer._trainable] for layer in self._walk())
            self._frozen = (_thaws, digits)
        return self._frozen[1]

    # Saving ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON-like data.

        Each is read from the attribute of the same name; a class that keeps one
        elsewhere writes a `get_config` of its own.
        """
        config: dict[str, Any] = {"name": self.name}
        if not self._trainable:
            config["trainable"] = False
        if self._rate_multiplier != 1.0:
            config["learning_rate_multiplier"] = self._rate_multiplier
        if self.dtype != "float32":
            config["dtype"] = self.dtype
        elif str(self.dtype_policy) != "float32":
            config["dtype"] = str(self.dtype_policy)
        rules = {name: getattr(self, name) for name in penalties.rule_names(self)}
        given = {k: plain(v, k) for k, v in rules.items() if v is not None}
        return {**config, **constructor_arguments(self, Layer), **given}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A layer from what `get_config` returned."""
        return cls(**config)

    def __getstate__(self) -> dict[str, Any]:
        """What copies take along: the weights, not the plans nor the connections."""
        return {**vars(self), "_eager": None, "_eager_state": None, "_calls": []}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _marks_built(build: Callable[..., None]) -> Callable[..., None]:
    """A layer's ``build``, after which the layer counts as built."""

    @functools.wraps(build)
    def call(self: Layer, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        self.built = self.built or not hasattr(self, "_graph")  # a model knows itself

    return call


def unique_name(class_name: str) -> str:
    """conv2d, conv2d_1, ... for Conv2D."""
    words = r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z]+$)|(?<=\dD)(?=[A-Z])"
    base = re.sub(words, "_", class_name).lower()
    count = _names[base]
    _names[base] += 1
    return base if count == 0 else f"{base}_{count}"


def reset_names() -> None:
    """Starts the numbers in layer names again."""
    _names.clear()


def shape_specs(shape: Any, dtype: str, name: str = "") -> Any:
    """A `KerasTensor` for each shape in nested lists, tuples and dicts of them."""

    def is_shape(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(
            n is None or hasattr(n, "__index__") for n in value
        )

    return map_structure(shape, is_shape, lambda s: KerasTensor(tuple(s), dtype, name))


def is_spec(value: Any) -> bool:
    """Whether ``value`` is a `KerasTensor`."""
    return isinstance(value, KerasTensor)


def _has_shape(value: Any) -> bool:
    return isinstance(value, Tensor | KerasTensor)


def _batch_shape(tensor: Any) -> BatchShape:
    return (None, *tensor.shape[1:])


@functools.lru_cache(1000)
def _parameters(call: Callable[..., Any]) -> Any:
    return inspect.signature(call).parameters
