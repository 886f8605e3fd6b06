"""What is to be measured, and the data for it: the same in every library."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Step = Callable[[], object]

INPUTS = {"lenet": (32, 32, 1)}  # height, width, channels
CLASSES = {"lenet": 10}
RATE, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True)
class Task:
    model: str
    batch: int
    mode: str  # "train" or "infer"
    dtype: str  # "float32" or "bfloat16"
    variant: str = ""  # of the library: a memory layout, say

    def images(self) -> np.ndarray:
        """A batch of images, channels last."""
        shape = (self.batch, *INPUTS[self.model])
        return np.random.default_rng(0).random(shape, np.float32)

    def labels(self) -> np.ndarray:
        return np.random.default_rng(1).integers(0, CLASSES[self.model], self.batch)
