"""Weights as PyTorch names and orders them: the border of state dicts.

A layer called ``features.0`` has ``features.0.weight`` there. Kernels are K C R S
instead of R S C K, dense kernels outputs first; and where a dense layer follows a
`Flatten`, PyTorch counts its inputs channel by channel, fastconv pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.graph.variable import Variable
from fastconv.layers import Dense, DepthwiseConv2D, Flatten
from fastconv.layers.base import KerasTensor
from fastconv.tree import flatten

__all__ = ["NAMES", "from_torch", "to_torch", "torch_names"]

# The last part of a weight's name: ours -> PyTorch's.
NAMES = {
    "kernel": "weight", "depthwise_kernel": "weight", "bias": "bias",
    "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


def torch_names(model: Any) -> dict[str, tuple[Any, Variable]]:
    """Layer and weight for each name of PyTorch's, in the order of layers.

    >>> import fastconv as fc
    >>> from fastconv.weights.torch_layout import torch_names
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3, name="fc")])
    >>> list(torch_names(model))
    ['fc.weight', 'fc.bias']
    """
    return {
        f"{layer.name}.{_torch_name(layer, weight)}": (layer, weight)
        for layer in model.layers
        for weight in layer.weights
    }


def _torch_name(layer: Any, weight: Variable) -> str:
    last = weight.name.rsplit("/", 1)[-1]
    return NAMES.get(last, last)


def to_torch(model: Any) -> dict[str, np.ndarray]:
    """The weights of a model as the arrays of a PyTorch state dict.

    Returns
    -------
    Arrays by name; those of batch normalisation have no ``num_batches_tracked``.
    """
    flat = dict(_flattened(model))
    return {
        name: _out(layer, weight.value, flat.get(layer))
        for name, (layer, weight) in torch_names(model).items()
    }


def from_torch(layer: Any, array: np.ndarray, shape: Any, maps: Any) -> np.ndarray:
    """An array of a state dict in our order, for a weight of ``shape``."""
    if array.ndim == 2:
        array = array.T
        if maps is not None:
            channels = maps[-1]
            array = array.reshape(channels, -1, array.shape[1])
            array = array.transpose(1, 0, 2).reshape(-1, array.shape[2])
    elif array.ndim > 2:
        array = array.transpose(*range(2, array.ndim), 1, 0)
    return np.ascontiguousarray(array).reshape(shape)


def _out(layer: Any, value: np.ndarray, maps: Any) -> np.ndarray:
    if isinstance(layer, DepthwiseConv2D) and value.ndim > 1:  # one map a group
        value = value.reshape(*value.shape[:-2], 1, -1)
    if value.ndim == 2:
        if maps is not None:
            value = value.reshape(-1, maps[-1], value.shape[1])
            value = value.transpose(1, 0, 2).reshape(-1, value.shape[2])
        value = value.T
    elif value.ndim > 2:
        axes = range(value.ndim - 2)
        value = value.transpose(value.ndim - 1, value.ndim - 2, *axes)
    return np.ascontiguousarray(value)


def _flattened(model: Any) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Dense layers that follow a `Flatten` of maps, with the shape of these maps."""
    made = {}  # tensors that a Flatten made
    for call in model.connections:
        inputs = flatten(call.inputs, KerasTensor)
        if isinstance(call.layer, Flatten) and len(inputs[0].shape) > 2:
            made[id(call.outputs)] = inputs[0].shape[1:]
        elif isinstance(call.layer, Dense) and id(inputs[0]) in made:
            yield call.layer, made[id(inputs[0])]
        elif inputs and id(inputs[0]) in made and not call.layer.weights:
            made[id(call.outputs)] = made[id(inputs[0])]  # Dropout, Activation
