"""fastconv: convolutional networks, from LeNet on, in one small fast package.

Describe a network with Keras's names and train it::

    import fastconv as fc

    (x, y), (x_test, y_test) = fc.datasets.digits.load_data()
    model = fc.models.LeNet5()
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    model.fit(x / 255, y, epochs=5)

or write any function of tensors with `fastconv.ops`, `fastconv.grad` and
`fastconv.function`. Scripts written for Keras 3 run with ``import fastconv as keras``;
``fastconv check SCRIPT.py`` says what would be missing. Modules are loaded when they
are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = (
    "activations", "adversarial", "applications", "backend", "callbacks", "config",
    "constraints", "custom_objects", "data", "datasets", "errors", "explain",
    "freezing", "initializers", "layers", "losses", "metrics", "mixed_precision",
    "models", "onnx", "ops", "optimizers", "plot", "preprocessing", "quantization",
    "random", "regularizers", "saving", "training", "transfer", "utils",
)  # fmt: skip
_NAMES = {
    "DeviceArray": "execution.device_array",
    "Function": "execution.function",
    "Initializer": "initializers",
    "Input": "layers",
    "KerasTensor": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "training",
    "Optimizer": "optimizers",
    "Sequential": "training",
    "Tensor": "graph.ir",
    "Variable": "graph.variable",
    "device": "execution.eager",
    "freeze": "freezing",
    "from_dlpack": "execution.device_array",
    "function": "execution.function",
    "grad": "graph",
    "load": "opening",
    "load_model": "training",
    "quantize": "quantization",
    "set_num_threads": "machine",
    "threads": "machine",
}

__all__ = ["__version__", *_MODULES, *_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("fastconv._core").__version__
    if name in _MODULES:
        return importlib.import_module(f"fastconv.{name}")
    if name in _NAMES:
        importlib.import_module("fastconv.ops")  # it fills the tables of the graph
        value = getattr(importlib.import_module(f"fastconv.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
