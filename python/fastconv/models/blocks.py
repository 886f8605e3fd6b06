"""What several networks are made of: parts as in torchvision, and a top as in Keras."""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
)

__all__ = ["conv", "normalize", "predictions", "relu"]


def conv(x: Any, maps: int, window: Any, name: str, **options: Any) -> Any:
    """A convolution without bias; padded so that stride 1 keeps the size."""
    sides = window if isinstance(window, tuple) else (window, window)
    options = {"padding": tuple(s // 2 for s in sides), **options}
    return Conv2D(
        maps, window, use_bias=False, kernel_initializer="he_normal", name=name,
        **options,
    )(x)  # fmt: skip


def normalize(x: Any, name: str, epsilon: float = 1e-5) -> Any:
    """Batch normalisation with PyTorch's constants."""
    return BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def relu(x: Any, name: str) -> Any:
    """Rectified."""
    return Activation("relu", name=name)(x)


def predictions(x: Any, classes: int, activation: Any) -> Any:
    """The mean of each map, and one dense layer, with the names of Keras."""
    x = GlobalAveragePooling2D(name="avg_pool")(x)
    return Dense(classes, activation=activation, name="predictions")(x)
