"""What is to be measured, and the data for it: the same in every library."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Step = Callable[[], object]

IMAGENET = ((224, 224, 3), 1000)
# Height, width, channels; classes. U-Net has a class for each pixel.
MODELS = {
    "lenet": ((32, 32, 1), 10), "smallnet": ((32, 32, 3), 10),
    "alexnet": IMAGENET, "vgg16": IMAGENET, "googlenet": IMAGENET,
    "resnet18": IMAGENET, "resnet50": IMAGENET, "mobilenetv2": IMAGENET,
    "densenet121": IMAGENET, "squeezenet": IMAGENET,
    "unet": ((128, 128, 3), 2), "unet256": ((256, 256, 3), 2),
}  # fmt: skip
UNET_MAPS = {
    "unet": (64, 128, 256, 512), "unet256": (64, 128, 256, 512, 1024)
}  # fmt: skip
RATE, MOMENTUM = 0.01, 0.9


@dataclass(frozen=True)
class Task:
    model: str
    batch: int
    mode: str  # "train" or "infer"
    dtype: str = "float32"  # or "bfloat16", "int8"
    variant: str = ""  # of the library: a memory layout, say
    threads: int = 0  # 0: the library's default
    graph: str = ""  # path of the ONNX graph

    @property
    def name(self) -> str:
        return f"{self.mode}/{self.model}/b{self.batch}"

    def images(self) -> np.ndarray:
        """A batch of images, channels last."""
        shape = (self.batch, *MODELS[self.model][0])
        return np.random.default_rng(0).random(shape, np.float32)

    def labels(self) -> np.ndarray:
        """A class for each image, or for each of its pixels."""
        image, classes = MODELS[self.model]
        pixels = image[:2] if self.model in UNET_MAPS else ()
        return np.random.default_rng(1).integers(0, classes, (self.batch, *pixels))
