"""Small helpers with Keras's names."""

from __future__ import annotations

import os
import random as python_random
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import random
from fastconv.data.folder import image_dataset_from_directory
from fastconv.data.labels import to_categorical

if TYPE_CHECKING:
    from fastconv.plot import Figure

__all__ = [
    "clear_session",
    "image_dataset_from_directory",
    "plot_model",
    "set_random_seed",
    "to_categorical",
]


def set_random_seed(seed: int) -> None:
    """Seeds Python's ``random``, NumPy's global generator, and fastconv.

    Raises
    ------
    ArgumentError if ``seed`` is not an integer in [0, 2^63).

    >>> import fastconv as fc
    >>> fc.utils.set_random_seed(0)
    """
    random.set_seed(seed)
    python_random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (scripts that use the old interface)


def clear_session() -> None:
    """Starts the numbers in layers' names, and the random numbers of weights, again.

    >>> import fastconv as fc
    >>> fc.utils.clear_session()
    """
    from fastconv.layers.base import reset_names

    reset_names()
    random.set_seed(random.get_seed())


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] | None = "model.svg",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Figure:
    """Draws the graph of a model: a box for each call of a layer, arrows downwards.

    Parameters
    ----------
    model: `Sequential` or functional, with known inputs. A model inside is one box.
    to_file: name of an SVG file; None writes none. Keras draws PNG, with Graphviz.
    show_shapes, show_dtype: add them to the boxes, of the layer's outputs.
    show_layer_names: add the names of the layers.
    show_layer_activations: add the names of the activations.
    show_trainable: mark layers with weights as trainable or not.

    Returns
    -------
    fastconv.plot.Figure, which notebooks show.

    Raises
    ------
    ArgumentError: a model whose layers or inputs are not known; a name that does not
    end in ``.svg``.

    >>> import fastconv as fc
    >>> fc.utils.plot_model(fc.models.LeNet5(), None, show_shapes=True)
    <Figure 172x786>
    """
    from fastconv import plot
    from fastconv.training.drawing import boxes_and_edges

    boxes, edges = boxes_and_edges(
        model, show_shapes, show_dtype, show_layer_names, show_layer_activations,
        show_trainable,
    )  # fmt: skip
    figure = plot.network(boxes, edges, model.name)
    if to_file is not None:
        figure.save(to_file)
    return figure
