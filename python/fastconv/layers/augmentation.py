"""What layers that change images at random share."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv._core import AugmentFill, AugmentKind, AugmentStep
from fastconv.data.augmented import Pipeline
from fastconv.errors import ArgumentError
from fastconv.graph.trace import constant
from fastconv.layers import check, context, layout
from fastconv.layers.base import Layer

FILLS = ("constant", "nearest", "reflect", "wrap")
Pair = tuple[float, float]


class Augmentation(Layer):
    """Changes images in training, other ways at each step; else it is the identity.

    A subclass says what is done in `augment_steps`. The work is done on the host, in
    C++, on threads; the same layers are steps of `fastconv.data.augment`. Called on
    arrays, it changes them unless ``training=False`` is given, as in Keras. Images are
    (N, H, W, C); the output is of the layer's dtype. There is no gradient through it.
    """

    _rank = 4

    def __init__(
        self, seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else check.integer(self, "seed", seed, 0)
        self.data_format = layout.resolve(data_format)

    def augment_steps(self, training: bool = True) -> list[AugmentStep]:
        """The native steps, in training or else."""
        return self.steps() if training else []

    def steps(self) -> list[AugmentStep]:
        """The native steps in training."""
        raise NotImplementedError

    def call(self, x: Any, training: bool = False) -> Any:
        """The images, in training changed."""
        x = ops.cast(x, self.dtype)
        if not self.augment_steps(training):
            return x
        images = layout.to_last(ops.stop_gradient(x), self.data_format)
        state, stream = context.draw()
        pipeline = Pipeline([self])
        if self.seed is not None:
            own = constant(np.array([self.seed], np.int64))
            state = ops.concatenate([own, state[1:]], axis=0)

        def change(images: np.ndarray, state: np.ndarray) -> np.ndarray:
            seed, step = state.tolist()
            return pipeline(images, None, seed, step, stream)

        shape = pipeline.output_shape(images.shape)
        changed = ops.callback(change, [images, state], (shape, self.dtype))
        return layout.from_last(changed, self.data_format)

    def _run_now(self, args: Any, kwargs: Any) -> Any:
        return super()._run_now(args, {"training": True, **kwargs})


def native(kind: str, **fields: Any) -> AugmentStep:
    """A step of the C++ side; see src/augment/augment.h."""
    step = AugmentStep(AugmentKind.__members__[kind])
    for name, value in fields.items():
        setattr(step, name, value)
    return step


def drawn(kind: str, first: Pair, second: Pair = (0, 0), **fields: Any) -> AugmentStep:
    """A step whose factors are drawn from these ranges."""
    low, high = zip(first, second, strict=True)
    return native(kind, low=low, high=high, **fields)


def bounds(
    layer: Layer,
    what: str,
    value: Any,
    least: float,
    most: float,
    both_ways: bool = False,
) -> Pair:
    """``value``, a number or a pair of them, as the range that a factor is drawn from.

    A number f is (0, f), or (-f, f) if the factor goes both ways.
    """
    pair = value if isinstance(value, list | tuple) else (0, value)
    if isinstance(value, int | float) and both_ways:
        pair = (-abs(value), abs(value))
    fits = len(pair) == 2 and all(
        isinstance(v, int | float | np.number)
        and not isinstance(v, bool)
        and least <= v <= most
        for v in pair
    )
    if not fits:
        raise ArgumentError(
            f"{check.who(layer)}: expected {what}, a number or a pair of numbers in "
            f"[{least:g}, {most:g}], received {value!r:.80}"
        )
    low, high = sorted(float(v) for v in pair)
    return low, high


def probability(layer: Layer, what: str, value: Any) -> float:
    """How often a step is done if its probability is itself drawn from a range."""
    return sum(bounds(layer, what, value, 0, 1)) / 2


def value_range(layer: Layer, value: Any) -> Pair:
    """``value``, what black and white are."""
    fits = isinstance(value, list | tuple) and len(value) == 2 and value[0] < value[1]
    if not fits:
        raise ArgumentError(
            f"{check.who(layer)}: expected value_range, a pair (low, high), such as "
            f"(0, 255) or (0, 1), received {value!r:.80}"
        )
    return float(value[0]), float(value[1])


class Resampling(Augmentation):
    """A layer that fetches pixels from other places."""

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        kinds = ("nearest", "bilinear")
        self.fill_mode = check.choice(self, "fill_mode", fill_mode, FILLS)
        self.interpolation = check.choice(self, "interpolation", interpolation, kinds)
        self.fill_value = check.number(self, "fill_value", fill_value, -np.inf)

    @property
    def fetching(self) -> dict[str, Any]:
        """The fields of native steps that say what is outside, and between pixels."""
        return {
            "fill": AugmentFill.__members__[self.fill_mode],
            "fill_value": self.fill_value,
            "bilinear": self.interpolation == "bilinear",
        }
