"""The names of Keras 1: accepted, with a warning that names the new one."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, layers

OLD = [
    (lambda: layers.Convolution2D(4, 3, 2), "kernel_size", (4, (3, 2))),
    (lambda: layers.Convolution2D(nb_filter=4, nb_row=3, nb_col=2),
     "kernel_size|filters", (4, (3, 2))),
    (lambda: layers.Convolution1D(4, filter_length=3), "kernel_size", (4, (3,))),
    (lambda: layers.Convolution3D(4, 1, 2, 3), "kernel_size", (4, (1, 2, 3))),
]  # fmt: skip


@pytest.mark.parametrize(("make", "new", "expected"), OLD)
def test_old_convolutions(make, new, expected):
    with pytest.warns(DeprecationWarning, match=new):
        layer = make()
    assert (layer.filters, layer.kernel_size) == expected


RENAMED = [
    (layers.Conv2D, {"filters": 1, "kernel_size": 1}, "border_mode", "same", "padding"),
    (layers.Conv2D, {"filters": 1, "kernel_size": 1}, "bias", False, "use_bias"),
    (layers.Conv2D, {"filters": 1, "kernel_size": 1}, "subsample", (2, 2), "strides"),
    (layers.MaxPooling2D, {}, "border_mode", "same", "padding"),
    (layers.MaxPooling1D, {}, "pool_length", (3,), "pool_size"),
    (layers.Dense, {}, "output_dim", 3, "units"),
    (layers.Dropout, {}, "p", 0.5, "rate"),
    (layers.LeakyReLU, {}, "alpha", 0.5, "negative_slope"),
    (layers.Reshape, {}, "dims", (3, 1), "target_shape"),
]


@pytest.mark.parametrize(("layer", "given", "old", "value", "new"), RENAMED)
def test_old_argument(layer, given, old, value, new):
    with pytest.warns(
        DeprecationWarning, match=f"'{old}' is now called '{new}'"
    ) as seen:
        made = layer(**given, **{old: value})
    assert getattr(made, new) == value
    assert seen[0].filename == __file__


def test_old_initializer_and_data_format():
    with pytest.warns(DeprecationWarning, match="init"):
        dense = layers.Dense(2, init="lecun_uniform")
    assert isinstance(dense.kernel_initializer, fc.initializers.LecunUniform)
    with pytest.warns(DeprecationWarning, match="dim_ordering"):
        pool = layers.MaxPooling2D(dim_ordering="th")
    assert pool.data_format == "channels_first"


def test_given_twice():
    with pytest.raises(errors.ArgumentError, match="'rate' was given twice"):
        layers.Dropout(p=0.5, rate=0.5)


def test_saved_under_todays_names():
    with pytest.warns(DeprecationWarning, match="now"):
        layer = layers.Convolution2D(4, 3, 3, border_mode="same")
    copy = type(layer).from_config(layer.get_config())
    assert (copy.kernel_size, copy.padding) == ((3, 3), "same")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_layers_of_the_courses_listing():
    """Course, section 10: (depth, height, width) with channels first."""
    layers.set_image_data_format("channels_first")
    try:
        stack = [
            layers.Convolution2D(8, 3, 3, border_mode="valid", input_shape=(3, 16, 16)),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Activation("relu"),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(12, init="lecun_uniform"),
            layers.Activation("sigmoid"),
            layers.Dense(5, init="lecun_uniform"),
            layers.Activation("softmax"),
        ]
    finally:
        layers.set_image_data_format("channels_last")
    assert stack[0].input_shape_hint == (3, 16, 16)
    x = np.ones((2, 3, 16, 16), np.float32)
    for layer in stack:
        x = layer(x)
    np.testing.assert_allclose(x.sum(axis=-1), [1, 1], rtol=1e-5)
