"""Model and Sequential: layers put together, to be trained, used and saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, UnknownNameError, unknown_name
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import together
from fastconv.layers.arguments import constructor_arguments
from fastconv.layers.base import (
    BatchShape,
    Call,
    KerasTensor,
    Layer,
    shape_specs,
)
from fastconv.layers.compat import renamed
from fastconv.training import serialize
from fastconv.training.call_graph import CallGraph, align, fit_input
from fastconv.training.looking import Looking
from fastconv.training.old_names import OldNames
from fastconv.training.persistence import Persistence
from fastconv.training.rate_finder import RateFinder
from fastconv.training.trainer import Trainer
from fastconv.tree import flatten, map_structure


class Model(Trainer, Looking, OldNames, Persistence, RateFinder, Layer):
    """A network: functional, ``Model(inputs, outputs)``, or a class of your own.

    A class of your own makes its layers in ``__init__`` and uses them in ``call(x)``,
    or ``call(x, training=False)``. A model is a layer, and may be used in another.

    Parameters
    ----------
    inputs: a tensor made by `fastconv.Input` (or any tensor of another model),
        or a list, tuple or dict of them.
    outputs: tensors that layers made of them.
    name: default "model", "model_1" ...

    Attributes
    ----------
    metadata: facts about the model as JSON-like data, such as the name of its network,
        the ``mean`` and ``deviation`` of its images, ``class_names``; saved with it.

    Raises
    ------
    ArgumentError if the outputs depend on a tensor that is not among the inputs.

    >>> import fastconv as fc
    >>> x = fc.Input((4,))
    >>> y = fc.layers.Dense(3)(x)
    >>> model = fc.Model(inputs=x, outputs=y)
    >>> model.output_shape
    (None, 3)
    """

    @renamed(input="inputs", output="outputs")
    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(name=name, **rest)
        self._graph: CallGraph | None = None
        self._gathered = 0
        self._build_spec: Any = None
        self.metadata: dict[str, Any] = {}
        if inputs is None and outputs is None:
            return
        if inputs is None or outputs is None:
            raise ArgumentError(
                f"model {self.name!r}: expected both inputs and outputs"
            )
        self._set_graph(CallGraph(inputs, outputs, self.name))
        _check_names(self)

    def _set_graph(self, graph: CallGraph) -> None:
        self._graph = graph
        self._listed = graph.layers
        self.built = True

    # Structure ------------------------------------------------------------------------

    @property
    def described(self) -> bool:
        """Whether inputs and outputs are known."""
        return self._graph is not None or self._output_structure is not None

    @property
    def input_specs(self) -> Any:
        """What the model takes, as `KerasTensor` in a structure; None if not known."""
        return self._build_spec if self._graph is None else self._graph.inputs

    @property
    def build_spec(self) -> Any:
        """What a class of the user was built for; None where the layers say it."""
        return self._build_spec

    @property
    def connections(self) -> list[Call]:
        """The calls of the layers in order; none for a class of the user."""
        return [] if self._graph is None else self._graph.calls

    @property
    def is_listed(self) -> bool:
        """Whether the model is its list of layers, and not what a class does."""
        return self._graph is not None

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they are called."""
        return list(self._listed or self._sublayers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name, or by its position.

        Raises
        ------
        UnknownNameError if there is none.
        """
        if (name is None) == (index is None):
            raise ArgumentError("get_layer: expected a name or an index")
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise UnknownNameError(
                    f"model {self.name!r}: no layer {index}; it has {len(layers)} "
                    "layers"
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise unknown_name("layer", name, [layer.name for layer in layers])

    @property
    def inputs(self) -> list[KerasTensor]:
        """The tensors of the inputs."""
        return self._known_graph().inputs

    @property
    def outputs(self) -> list[KerasTensor]:
        """The tensors of the outputs."""
        return self._known_graph().outputs

    @property
    def input(self) -> Any:
        """The tensor of the input; a list of them if there are several."""
        return _alone(self.inputs)

    @property
    def output(self) -> Any:
        """The tensor of the output; a list of them if there are several."""
        return _alone(self.outputs)

    @property
    def input_shape(self) -> Any:
        """Shape of the input, or a list of shapes."""
        return _alone([t.shape for t in self.inputs])

    @property
    def output_shape(self) -> Any:
        """Shape of the output, or a list of shapes."""
        return _alone([t.shape for t in self.outputs])

    def _known_graph(self) -> CallGraph:
        if self._graph is None:
            raise ArgumentError(
                f"model {self.name!r}: its inputs are not known yet; give the first "
                "layer "
                "an input_shape, begin with fastconv.Input, or call build(input_shape)"
            )
        return self._graph

    # Building and calling -------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights, for inputs of shape (None, ...); or several shapes."""
        if self._graph is not None or input_shape is None:
            return
        self.build_for(shape_specs(input_shape, self.dtype, "input"))

    def build_for(self, specs: Any) -> None:
        """Makes all weights, for a structure of `KerasTensor`."""
        if self._graph is None and self._output_structure is None:
            self._build_spec = specs
            self._output_structure = self._abstract((specs,), {})

    def _gather(self) -> None:
        """Puts the weights in one block, those that are trained first."""
        weights = list(dict.fromkeys((*self.trainable_weights, *self.weights)))
        if len(weights) > self._gathered:
            together(weights)
            self._gathered = len(weights)

    def _ensure_built(self, args: Any) -> None:
        self.built = True  # the layers inside are built as they are called
        if self._graph is None and self._build_spec is None and len(args) == 1:
            self._build_spec = map_structure(args[0], _has_shape, _spec_of)

    def _run_now(self, args: Any, kwargs: Any) -> Any:
        if self._graph is None:
            args = map_structure(args, _is_array, self._as_float)
        return super()._run_now(args, kwargs)

    def _as_float(self, array: np.ndarray) -> np.ndarray:
        return array.astype(self.dtype) if array.dtype != self.dtype else array

    @property
    def has_call(self) -> bool:
        """Whether there is more than a `train_step`: what the model gives."""
        return self._graph is not None or type(self).call is not Model.call

    def call(self, inputs: Any) -> Any:
        """Runs the layers; a class of your own writes this method."""
        graph = self._known_graph()
        return graph.run(self._tensors_of(inputs, graph))

    def _tensors_of(self, inputs: Any, graph: CallGraph) -> list[Tensor]:
        if isinstance(inputs, list | tuple) and len(graph.inputs) == 1:
            inputs = inputs[0] if len(inputs) == 1 else inputs
        tensors = align(inputs, graph.input_names, f"model {self.name!r}: inputs")
        for name, tensor in zip(graph.input_names, tensors, strict=True):
            if tensor is None:
                raise ArgumentError(f"model {self.name!r}: input {name!r} is missing")
        return tensors

    def update_trainable(self) -> None:
        """Makes training follow the ``trainable`` of all layers as it is now.

        That is what `compile` does, too; but here optimizer (with its slots and its
        step), losses and metrics stay, so that a training may go on. Plans are made
        again. For callbacks that freeze or unfreeze layers.

        Raises
        ------
        ArgumentError before `compile`.

        >>> import fastconv as fc
        >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> model.layers[0].trainable = False
        >>> model.update_trainable()
        """
        self._need_loss()
        assert self._plans is not None
        self._plans.renew()

    # Saving ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The layers and their connections as JSON-like data."""
        own = type(self).call is not Model.call or not _takes(type(self), Model)
        if self._graph is None or own:
            return {**self._common_config(), **constructor_arguments(self, Model)}
        return {**self._common_config(), **serialize.graph_config(self._graph)}

    def _common_config(self) -> dict[str, Any]:
        given: dict[str, Any] = {"name": self.name}
        return given if self._trainable else {**given, "trainable": False}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """A model from what `get_config` returned."""
        if "calls" not in config:
            return serialize.construct(cls, config)
        inputs, outputs = serialize.connect(config)
        model = cls(inputs, outputs, name=config["name"])
        model._trainable = config.get("trainable", True)
        return model


class Sequential(Model):
    """A network whose layers follow each other.

    Parameters
    ----------
    layers: the layers; the first may be a `fastconv.Input`, or have an ``input_shape``.
        Without, weights are made when the first data come.
    name: default "sequential", "sequential_1" ...

    >>> import fastconv as fc
    >>> model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(3, activation="relu")])
    >>> model.add(fc.layers.Dense(2))
    >>> model.output_shape
    (None, 2)
    >>> model.count_params()
    23
    """

    def __init__(
        self, layers: Iterable[Any] | None = None, name: str | None = None, **rest: Any
    ) -> None:
        super().__init__(name=name, **rest)
        self._input: KerasTensor | None = None
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Adds a layer at the end.

        Raises
        ------
        ArgumentError if it is no layer, or its name is taken.
        """
        if isinstance(layer, KerasTensor):
            self._begin(layer)
            return
        if not isinstance(layer, Layer):
            raise ArgumentError(
                f"model {self.name!r}: expected a layer, received {layer!r:.80}"
            )
        first = _first_input(layer) if not self._listed else None
        with self._whole_or_not():
            self._listed = [*self._listed, layer]
            _check_names(self)
            if first is not None and self._input is None:
                self._input = first
            self._reconnect(self._graph)

    def pop(self) -> Layer:
        """Takes the last layer away, and returns it.

        Raises
        ------
        ArgumentError if there is none.
        """
        if not self._listed:
            raise ArgumentError(f"model {self.name!r}: no layers to pop")
        layer = self._listed[-1]
        self._listed = self._listed[:-1]
        self._reconnect(None)
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights, for inputs of shape (None, ...)."""
        if self._graph is None and input_shape is not None and self._listed:
            shape: BatchShape = tuple(input_shape)
            self._begin(KerasTensor(shape, self.dtype, f"{self.name}_input"))

    def build_for(self, specs: Any) -> None:
        """Makes all weights, for one `KerasTensor`."""
        tensors = flatten(specs, KerasTensor)
        if self._graph is None and len(tensors) == 1:
            self.build(tensors[0].shape)

    def call(self, inputs: Any) -> Any:
        """Runs the layers in order."""
        given = inputs if isinstance(inputs, list | tuple) else (inputs,)
        if len(given) != 1:
            raise ArgumentError(
                f"model {self.name!r}: expected 1 input, received {len(given)}"
            )
        x = given[0]
        if self._input is not None:
            x = fit_input(x, self._input, self.name)
        for layer in self._listed:
            x = layer(x)
        return x

    def get_config(self) -> dict[str, Any]:
        """The layers as JSON-like data."""
        config = self._common_config()
        if not _takes(type(self), Sequential):
            config["arguments"] = constructor_arguments(self, Sequential)
        first = None if self._input is None else serialize.tensor_config(self._input)
        layers = [serialize.serialize_layer(layer) for layer in self._listed]
        return {**config, "input": first, "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """A model from what `get_config` returned."""
        if "layers" not in config:
            return serialize.construct(cls, config)
        given = {"name": config["name"], **config.get("arguments", {})}
        model = serialize.construct(cls, given)
        for layer in config["layers"][len(model.layers) :]:
            model._listed.append(serialize.deserialize_layer(layer))
        _check_names(model)
        first = config.get("input")
        if first is not None and model._input is None:
            model._begin(serialize.make_input(first))
        else:
            model._reconnect(None)
        model._trainable = config.get("trainable", True)
        return model

    @property
    def is_listed(self) -> bool:
        """True: the layers are the model."""
        return True

    def _ensure_built(self, args: Any) -> None:
        specs = [t for t in args if _has_shape(t)]
        if self._graph is None and specs and self._listed:
            self.build((None, *specs[0].shape[1:]))

    def _begin(self, tensor: KerasTensor) -> None:
        if self._input is not None:
            raise ArgumentError(
                f"model {self.name!r} has an input already: {self._input}"
            )
        with self._whole_or_not():
            self._input = tensor
            self._reconnect(None)

    @contextlib.contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        """After an error inside the with block the model is what it was before."""
        before = self._listed, self._input, self._graph, self.built
        try:
            yield
        except Exception:
            self._listed, self._input, self._graph, self.built = before
            raise

    def _reconnect(self, before: CallGraph | None) -> None:
        """Connects the layers that are not yet connected."""
        self._graph = None
        if self._input is None or not self._listed:
            return
        x = self._input if before is None else before.output_structure
        for layer in self._listed if before is None else self._listed[-1:]:
            x = layer(x)
        self._graph = CallGraph(self._input, x, self.name)
        self.built = True
        self.reset_plans()


def _alone(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def _takes(cls: type, base: type) -> bool:
    """Whether ``cls`` can be made from layers, as ``base`` is."""
    names = ("layers",) if base is Sequential else ("inputs", "outputs")
    return cls is base or serialize.takes(cls, *names)


def _has_shape(value: Any) -> bool:
    return isinstance(value, Tensor | KerasTensor)


def _spec_of(tensor: Any) -> KerasTensor:
    return KerasTensor((None, *tensor.shape[1:]), tensor.dtype, "input")


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _first_input(layer: Layer) -> KerasTensor | None:
    """The input that the first layer of a Sequential describes, if it does."""
    graph = getattr(layer, "_graph", None)
    if graph is not None and len(graph.inputs) == 1:
        spec = graph.inputs[0]
        return KerasTensor(spec.shape, spec.dtype, spec.name)
    if layer.input_shape_hint is None:
        return None
    shape = (None, *layer.input_shape_hint)
    return KerasTensor(shape, "float32", f"{layer.name}_input")


def _check_names(model: Model) -> None:
    names = [layer.name for layer in model.layers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(
            f"model {model.name!r}: layers need different names, received {twice} twice"
        )


__all__ = ["Model", "Sequential"]
