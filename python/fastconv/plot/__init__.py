"""Pictures of training, models and what they see, as SVG without any dependency.

Every function takes arrays and gives a `Figure`: it has the text (``.svg``), writes it
(``.save("file.svg")``), and shows itself in notebooks. What is drawn is computed
elsewhere: `fastconv.explain` (activation maps, saliency, Grad-CAM ...),
`fastconv.adversarial`, ``model.fit(...).history``, `fastconv.metrics`.
"""

from fastconv.plot.bubbles import bubbles
from fastconv.plot.chart import curves, sweep_chart
from fastconv.plot.images import (
    feature_maps,
    filters,
    images,
    overlays,
    worst_examples,
)
from fastconv.plot.matrix import confusion_matrix, table
from fastconv.plot.network import network
from fastconv.plot.svg import Figure
from fastconv.plot.xy import histograms, lines, scatter

__all__ = [
    "Figure",
    "bubbles",
    "confusion_matrix",
    "curves",
    "feature_maps",
    "filters",
    "histograms",
    "images",
    "lines",
    "network",
    "overlays",
    "scatter",
    "sweep_chart",
    "table",
    "worst_examples",
]
