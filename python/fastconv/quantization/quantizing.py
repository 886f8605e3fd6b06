"""Quantisation after training: ranges from real data, then integers for floats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, ShapeError, unknown_name
from fastconv.execution.devices import arena_of
from fastconv.execution.executable import Executable
from fastconv.freezing.folding import Folding
from fastconv.freezing.freezing import frozen_model, specs_of
from fastconv.graph.ir import Graph, Tensor
from fastconv.layers.base import KerasTensor
from fastconv.layers.frozen import BATCHES
from fastconv.ops.quantized import Scale
from fastconv.quantization.calibration import METHODS, Range, ranges, scale_of
from fastconv.quantization.choosing import choose
from fastconv.quantization.rewriting import rewrite
from fastconv.training.call_graph import align
from fastconv.training.feeding import Epochs, feed
from fastconv.training.model import Model

__all__ = ["quantize"]


def quantize(
    model: Any,
    calibration_data: Any,
    method: str = "mse",
    batch_size: int = 16,
    steps: int | None = None,
    name: str | None = None,
) -> Model:
    """A model that computes what a trained one does with bytes: int8 inference.

    Every tensor between its convolutions, dense layers, poolings, sums and concats is
    one byte an element, ``q = clip(round(x / s) + z, 0, 255)``, and stands for
    ``s (q - z)``, with one scale s and zero point z a tensor::

        s = (max - min) / 255        z = round(-min / s)

    where [min, max] is the range that it has on the calibration data. Weights are
    symmetric in int8, with a scale for each filter, ``s_k = max |w_k| / 127``; batch
    normalisation is folded into them before; biases are int32 in units of ``s s_k``.
    Products are summed exactly, and ``s s_k / s_out`` brings a sum to the scale of the
    result, with the residual that is added and ReLU or ReLU6 on the way. What has no
    form in integers (softmax, other activations, transposed convolution) runs on
    floats in between; the last product gives float32.

    B. Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", arXiv:1712.05877 (2018), sections 2 and 3; R.
    Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
    arXiv:1806.08342 (2018), sections 2 and 3. Rounding is that of ONNX's
    QuantizeLinear.

    Parameters
    ----------
    model: a trained model; it stays as it is.
    calibration_data: inputs like those that it will see, as for `Model.predict`; some
        hundred are enough. Their spatial sizes are those of the new model.
    method: the range of a tensor: "mse" (default) takes the part of what was seen
        whose bytes have the least squared error; "percentile" leaves out 0.001 % at
        each end; "minmax" takes all.
    batch_size: samples at a time, for arrays; default 16.
    steps: batches of the data to use; default all.
    name: of the new model; default the model's with ``_int8``.

    Returns
    -------
    A model with one layer, a `layers.FrozenGraph`: predict, evaluate, save, load,
    summary and export work as ever, and it has the loss and metrics of the model.
    ``fit`` is an error. Its results are equal to the bit on every CPU.

    Raises
    ------
    ArgumentError for a model whose inputs are not known yet, that is in no part made of
    products with fixed weights, or depends on chance or the size of the batch;
    DataError without data, or for values that are not finite; ShapeError if the data
    do not fit the model; UnknownNameError for another method.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.Sequential([fc.Input((8, 8, 1)), fc.layers.Conv2D(4, 3),
    ...                        fc.layers.Flatten(), fc.layers.Dense(2)])
    >>> x = np.random.default_rng(0).random((64, 8, 8, 1), np.float32)
    >>> small = fc.quantize(model, x)
    >>> small.predict(x, verbose=0).shape
    (64, 2)
    """
    if method not in METHODS:
        raise unknown_name("method", method, list(METHODS))
    specs = specs_of(model, "quantize")
    batches = list(_inputs(model, specs, calibration_data, batch_size, steps))
    if batches:
        shapes = [array.shape[1:] for array in batches[0]]
    else:
        shapes = [_sizes(spec) for spec in specs]
    folding = Folding(model, shapes)
    scales = _scales(folding, batches, method)
    made = [_integers(folding.graph(batch), scales) for batch in BATCHES]
    return frozen_model(model, made, shapes, name or f"{model.name}_int8", "int8")


def _inputs(
    model: Any, specs: list[KerasTensor], data: Any, batch_size: int, steps: int | None
) -> Iterator[list[np.ndarray]]:
    """The arrays of each batch, in the order of the model's inputs."""
    names = [spec.name for spec in specs]
    for x, _, _ in Epochs(feed(data, batch_size=batch_size), steps):
        arrays = align(x, names, f"quantize: data for model {model.name!r}")
        yield [
            _fitted(np.asarray(array), spec, model)
            for array, spec in zip(arrays, specs, strict=True)
        ]


def _fitted(array: np.ndarray, spec: KerasTensor, model: Any) -> np.ndarray:
    """An array as the model's input takes it."""
    if array.ndim + 1 == len(spec.shape) and spec.shape[-1] == 1:
        array = array[..., np.newaxis]
    pairs = zip(array.shape[1:], spec.shape[1:], strict=False)
    if array.ndim != len(spec.shape) or any(b not in (None, a) for a, b in pairs):
        raise ShapeError(
            f"quantize: model {model.name!r}: input {spec.name!r} expected data of "
            f"shape {spec.shape}, received {array.shape}"
        )
    return np.ascontiguousarray(array, spec.dtype)


def _sizes(spec: KerasTensor) -> tuple[int, ...]:
    return tuple(n or 1 for n in spec.shape[1:])


def _scales(
    folding: Folding, batches: list[list[np.ndarray]], method: str
) -> list[Scale]:
    """Scales and zero points of the tensors that are to be bytes, in their order."""
    graph = folding.graph(BATCHES[0])
    choice = choose(graph)
    if not choice.nodes:
        raise ArgumentError(
            f"quantize: model {folding.model.name!r} has no convolution or dense layer "
            "with fixed weights, which integers could speed up"
        )
    arena = arena_of("cpu")
    plans: dict[int, Executable] = {}

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        batch = len(arrays[0])
        if batch not in plans:
            whole = folding.graph(batch)
            watched = tuple(choose(whole).observed())
            plans[batch] = Executable(Graph(whole.inputs, watched), arena)
        return plans[batch](arrays)

    shared: dict[Tensor, Range] = {}
    found = ranges(run, batches, method)
    for tensor, (low, high) in zip(choice.observed(), found, strict=True):
        leader = choice.leader(tensor)
        known = shared.get(leader, (low, high))
        shared[leader] = min(low, known[0]), max(high, known[1])
    return [scale_of(shared[choice.leader(t)]) for t in choice.observed()]


def _integers(graph: Graph, scales: list[Scale]) -> Graph:
    choice = choose(graph)
    return rewrite(graph, choice, dict(zip(choice.observed(), scales, strict=True)))
