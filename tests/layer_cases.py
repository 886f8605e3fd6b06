"""Layers with arguments, an input shape and the output shape that Keras 3 gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv import layers


class Case(NamedTuple):
    """One layer, and what it makes of an input without its batch axis."""

    layer: str
    arguments: dict[str, Any]
    input: tuple[int, ...]
    output: tuple[int, ...]

    def make(self, **more: Any) -> layers.Layer:
        return getattr(layers, self.layer)(**{**self.arguments, **more})

    def __str__(self) -> str:
        given = ", ".join(f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.layer}({given})"


def case(layer: str, input: Any, output: Any, **arguments: Any) -> Case:
    return Case(layer, arguments, input, output)


SPATIAL = [  # layers with a data_format
    case("Conv1D", (10, 3), (8, 4), filters=4, kernel_size=3),
    case("Conv1D", (10, 3), (10, 4), filters=4, kernel_size=3, padding="causal"),
    case("Conv2D", (9, 8, 4), (5, 4, 6), filters=6, kernel_size=(3, 2), strides=2,
         padding="same"),
    case("Conv2D", (9, 8, 4), (5, 4, 6), filters=6, kernel_size=3, dilation_rate=2,
         groups=2, activation="relu"),
    case("Conv2D", (9, 8, 4), (3, 2, 6), filters=6, kernel_size=2, dilation_rate=2,
         strides=3),
    case("Conv3D", (4, 5, 6, 2), (3, 2, 3, 2), filters=2, kernel_size=2,
         strides=(1, 2, 2), use_bias=False),
    case("Conv1DTranspose", (5, 3), (11, 4), filters=4, kernel_size=3, strides=2),
    case("Conv2DTranspose", (5, 4, 3), (10, 8, 4), filters=4, kernel_size=3, strides=2,
         padding="same"),
    case("Conv2DTranspose", (5, 4, 3), (10, 8, 4), filters=4, kernel_size=3, strides=2,
         padding="same", output_padding=1),
    case("Conv3DTranspose", (2, 3, 2, 3), (4, 6, 4, 2), filters=2, kernel_size=2,
         strides=2),
    case("DepthwiseConv1D", (8, 3), (6, 6), kernel_size=3, depth_multiplier=2),
    case("DepthwiseConv2D", (8, 7, 3), (4, 4, 6), kernel_size=3, strides=2,
         padding="same", depth_multiplier=2),
    case("SeparableConv1D", (8, 3), (6, 5), filters=5, kernel_size=3),
    case("SeparableConv2D", (8, 7, 3), (8, 7, 5), filters=5, kernel_size=3,
         depth_multiplier=2, padding="same"),
    case("PartialConv2D", (6, 7, 3), (4, 5, 2), kernel_size=3,
         connections=[[0, 2], [1]]),
    case("Subsampling2D", (6, 8, 3), (3, 4, 3), activation="scaled_tanh"),
    case("MaxPooling1D", (9, 3), (4, 3), pool_size=3, strides=2),
    case("MaxPooling2D", (9, 8, 3), (5, 4, 3), pool_size=(3, 2), strides=2,
         padding="same"),
    case("MaxPooling3D", (4, 5, 6, 2), (2, 2, 3, 2)),
    case("AveragePooling1D", (9, 3), (4, 3)),
    case("AveragePooling2D", (9, 8, 3), (5, 4, 3), pool_size=3, strides=2,
         padding="same"),
    case("AveragePooling3D", (4, 5, 6, 2), (2, 2, 3, 2)),
    case("LpPooling1D", (9, 3), (4, 3), p=3.0),
    case("LpPooling2D", (9, 8, 3), (4, 4, 3)),
    case("LpPooling3D", (4, 5, 6, 2), (2, 2, 3, 2), p=1.0),
    case("GlobalMaxPooling1D", (4, 2), (2,)),
    case("GlobalMaxPooling2D", (4, 5, 2), (2,)),
    case("GlobalMaxPooling3D", (4, 5, 2, 2), (1, 1, 1, 2), keepdims=True),
    case("GlobalAveragePooling1D", (4, 2), (2,)),
    case("GlobalAveragePooling2D", (4, 5, 2), (1, 1, 2), keepdims=True),
    case("GlobalAveragePooling3D", (4, 5, 2, 2), (2,)),
    case("GlobalLpPooling1D", (4, 2), (2,)),
    case("GlobalLpPooling2D", (4, 5, 2), (2,), p=3.0),
    case("GlobalLpPooling3D", (4, 5, 2, 2), (2,)),
    case("SamePadding2D", (7, 8, 3), (9, 9, 3), kernel_size=3, strides=2),
    case("LocalResponseNormalization", (4, 4, 6), (4, 4, 6), alpha=0.5),
    case("SpatialDropout1D", (4, 2), (4, 2), rate=0.5),
    case("SpatialDropout2D", (4, 5, 2), (4, 5, 2), rate=0.5),
    case("SpatialDropout3D", (4, 5, 2, 2), (4, 5, 2, 2), rate=0.5),
    case("ZeroPadding1D", (5, 3), (8, 3), padding=(1, 2)),
    case("ZeroPadding2D", (5, 3, 2), (8, 6, 2), padding=((1, 2), (0, 3))),
    case("ZeroPadding3D", (5, 3, 2, 1), (7, 7, 2, 1), padding=(1, 2, 0)),
    case("Cropping1D", (5, 3), (2, 3), cropping=(1, 2)),
    case("Cropping2D", (5, 3, 2), (2, 2, 2), cropping=((1, 2), (0, 1))),
    case("Cropping2D", (5, 3, 2), (5, 3, 2)),
    case("UpSampling1D", (5, 3), (10, 3)),
    case("UpSampling2D", (5, 3, 2), (10, 9, 2), size=(2, 3), interpolation="bilinear"),
    case("UpSampling3D", (2, 3, 2, 1), (4, 3, 6, 1), size=(2, 1, 3)),
    case("Resizing", (5, 3, 2), (4, 7, 2), height=4, width=7),
    case("Resizing", (5, 9, 2), (4, 4, 2), height=4, width=4, antialias=True,
         crop_to_aspect_ratio=True, interpolation="bicubic"),
    case("Resizing", (5, 9, 2), (4, 4, 2), height=4, width=4, fill_value=0.5,
         pad_to_aspect_ratio=True),
    case("CenterCrop", (5, 6, 2), (4, 3, 2), height=4, width=3),
    case("CenterCrop", (5, 6, 2), (7, 3, 2), height=7, width=3),
    case("Cropping3D", (5, 3, 2, 1), (3, 3, 2, 1), cropping=(1, 0, 0)),
]  # fmt: skip

AUGMENTATION = [  # at inference the identity, but for the crop
    case("RandomCrop", (9, 8, 3), (5, 6, 3), height=5, width=6, padding=2),
    *(
        case(name, (5, 6, 3), (5, 6, 3), **arguments)
        for name, arguments in {
            "RandomFlip": {"mode": "vertical"},
            "RandomTranslation": {"height_factor": 0.1, "width_factor": (0.0, 0.2)},
            "RandomRotation": {"factor": 0.1, "fill_mode": "wrap", "seed": 3},
            "RandomZoom": {"height_factor": 0.5, "interpolation": "nearest"},
            "RandomShear": {"x_factor": 0.1},
            "RandomBrightness": {"factor": 0.1, "value_range": (0, 1)},
            "RandomContrast": {"factor": 0.1},
            "RandomSaturation": {"factor": (0.4, 0.6)},
            "RandomHue": {"factor": 0.1},
            "RandomColorJitter": {"brightness_factor": 0.1},
            "RandomGrayscale": {"factor": 0.1},
            "RandomInvert": {"factor": 0.1},
            "RandomGaussianBlur": {"kernel_size": (3, 5)},
            "RandomGaussianNoise": {"stddev": 0.1},
            "RandomErasing": {"fill_value": 3.0},
            "RandAugment": {"num_ops": 3, "factor": 0.3},
        }.items()
    ),
]

OTHERS = [
    case("Identity", (3, 4), (3, 4)),
    case("Dense", (5,), (7,), units=7, activation="gelu"),
    case(
        "Dense", (4, 5), (4, 7), units=7, use_bias=False, kernel_initializer="he_normal"
    ),
    case("Flatten", (4, 5, 2), (40,)),
    case("Flatten", (), (1,)),
    case("Reshape", (4, 5), (2, 10), target_shape=(2, -1)),
    case("Permute", (4, 5, 2), (5, 4, 2), dims=(2, 1, 3)),
    case("RepeatVector", (5,), (3, 5), n=3),
    case("Activation", (4, 5), (4, 5), activation="log_softmax"),
    case("ReLU", (5,), (5,), max_value=0.8, negative_slope=0.1, threshold=0.2),
    case("ReLU", (5,), (5,)),
    case("LeakyReLU", (5,), (5,)),
    case("ELU", (5,), (5,), alpha=0.5),
    case("Softmax", (5, 3), (5, 3), axis=1),
    case("BatchNormalization", (5, 3), (5, 3), momentum=0.9),
    case("BatchNormalization", (3, 4, 5), (3, 4, 5), axis=1, scale=False),
    case("LayerNormalization", (5, 3), (5, 3)),
    case("LayerNormalization", (5, 3, 4), (5, 3, 4), axis=(1, 3), center=False),
    case("Dropout", (5, 3), (5, 3), rate=0.5, seed=3),
    case("AlphaDropout", (5, 3), (5, 3), rate=0.5, seed=3, noise_shape=(None, 1, 3)),
    case("GaussianDropout", (5, 3), (5, 3), rate=0.5, seed=3),
    case("GaussianNoise", (5, 3), (5, 3), stddev=0.5),
    case("StochasticDepth", (5, 3), (5, 3), rate=0.25, seed=3),
    case("ActivityRegularization", (5, 3), (5, 3), l1=0.5, l2=0.25),
    case("GroupNormalization", (5, 3, 6), (5, 3, 6), groups=2),
    case("GroupNormalization", (6, 5), (6, 5), groups=-1, axis=1, scale=False),
    case("UnitNormalization", (5, 3), (5, 3), axis=(1, 2)),
    case("Rescaling", (4, 5, 3), (4, 5, 3), scale=1 / 255, offset=[-1, 0.5, 0]),
    case("Normalization", (4, 3), (4, 3)),
    case("Normalization", (4, 3), (4, 3), axis=(1, 2), invert=True),
    case("Normalization", (4, 3), (4, 3), mean=[1, 2, 3], variance=4.0),
    case("RBF", (2,), (3,), codes=[[1, 1], [1, -1], [-1, 1]]),
]

CASES = [*SPATIAL, *AUGMENTATION, *OTHERS]


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
