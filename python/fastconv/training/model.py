"""Model and Sequential: layers put together, to be trained, used and saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastconv.errors import ArgumentError, UnknownNameError, unknown_name
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import together
from fastconv.layers.base import BatchShape, KerasTensor, Layer, flatten, map_structure
from fastconv.layers.compat import renamed
from fastconv.layers.config import constructor_arguments
from fastconv.training import config as configs
from fastconv.training.functional import CallGraph, align, fit_input
from fastconv.training.persistence import Persistence
from fastconv.training.trainer import Trainer


class Model(Trainer, Persistence, Layer):
    """A network: functional, ``Model(inputs, outputs)``, or a class of your own.

    A class of your own makes its layers in ``__init__`` and uses them in ``call(x)``,
    or ``call(x, training=False)``. A model is a layer, and may be used in another.

    Parameters
    ----------
    inputs: a tensor made by `fastconv.Input` (or any tensor of another model),
        or a list, tuple or dict of them.
    outputs: tensors that layers made of them.
    name: default "model", "model_1" ...

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
        self._sublayers = graph.layers
        self.built = True

    # Structure ------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they are called."""
        return list(self._sublayers)

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
        self.build_for(_shape_specs(input_shape, self.dtype))

    def build_for(self, specs: Any) -> None:
        """Makes all weights, for a structure of `KerasTensor`."""
        if self._graph is None and self._output_structure is None:
            self._build_spec = specs
            self._output_structure = self._abstract((specs,), {})

    def gather(self) -> None:
        """Puts the weights in one block, those that are trained first."""
        weights = [*self.trainable_weights, *self.non_trainable_weights]
        if len(weights) > self._gathered:
            together(weights)
            self._gathered = len(weights)

    def _ensure_built(self, args: Any) -> None:
        self.built = True  # the layers inside are built as they are called

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

    # Saving ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The layers and their connections as JSON-like data."""
        if self._graph is None or type(self).call is not Model.call:
            return {**self._common_config(), **constructor_arguments(self, Model)}
        return {**self._common_config(), **configs.graph_config(self._graph)}

    def _common_config(self) -> dict[str, Any]:
        given: dict[str, Any] = {"name": self.name}
        return given if self._trainable else {**given, "trainable": False}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """A model from what `get_config` returned."""
        if "calls" not in config:
            return cls(**config)
        inputs, outputs = configs.connect(config)
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
        first = _first_input(layer) if not self._sublayers else None
        self._sublayers = [*self._sublayers, layer]
        try:
            _check_names(self)
            if first is not None and self._input is None:
                self._input = first
            self._reconnect(self._graph)
        except Exception:
            self._sublayers = self._sublayers[:-1]
            raise

    def pop(self) -> Layer:
        """Takes the last layer away, and returns it.

        Raises
        ------
        ArgumentError if there is none.
        """
        if not self._sublayers:
            raise ArgumentError(f"model {self.name!r}: no layers to pop")
        layer = self._sublayers[-1]
        self._sublayers = self._sublayers[:-1]
        self._reconnect(None)
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights, for inputs of shape (None, ...)."""
        if self._graph is None and input_shape is not None and self._sublayers:
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
        for layer in self._sublayers:
            x = layer(x)
        return x

    def get_config(self) -> dict[str, Any]:
        """The layers as JSON-like data."""
        first = None if self._input is None else configs.tensor_config(self._input)
        layers = [configs.serialize_layer(layer) for layer in self._sublayers]
        return {**self._common_config(), "input": first, "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """A model from what `get_config` returned."""
        if "layers" not in config:
            return cls(**config)
        first = config.get("input")
        layers = [configs.deserialize_layer(layer) for layer in config["layers"]]
        model = cls([configs.make_input(first)] if first else None, name=config["name"])
        for layer in layers:
            model.add(layer)
        model._trainable = config.get("trainable", True)
        return model

    def _ensure_built(self, args: Any) -> None:
        tensors = [t for t in args if isinstance(t, Tensor)]
        if self._graph is None and tensors and self._sublayers:
            self.build((None, *tensors[0].shape[1:]))

    def _begin(self, tensor: KerasTensor) -> None:
        if self._input is not None:
            raise ArgumentError(
                f"model {self.name!r} has an input already: {self._input}"
            )
        self._input = tensor
        self._reconnect(None)

    def _reconnect(self, before: CallGraph | None) -> None:
        """Connects the layers that are not yet connected."""
        self._graph = None
        if self._input is None or not self._sublayers:
            return
        x = self._input if before is None else before.output_structure
        for layer in self._sublayers if before is None else self._sublayers[-1:]:
            x = layer(x)
        self._graph = CallGraph(self._input, x, self.name)
        self.built = True
        self.reset_plans()


def _alone(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def _shape_specs(shape: Any, dtype: str) -> Any:
    def is_shape(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(
            n is None or hasattr(n, "__index__") for n in value
        )

    return map_structure(
        shape, is_shape, lambda s: KerasTensor(tuple(s), dtype, "input")
    )


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
