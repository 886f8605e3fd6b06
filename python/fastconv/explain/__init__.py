"""What a network sees: maps of its layers, and what its answer depends on.

Functions take a model and arrays and give arrays; `fastconv.plot` draws them::

    cams = fc.explain.grad_cam(model, x)
    fc.plot.overlays(x, cams).save("cams.svg")
"""

from fastconv.explain.attention import grad_cam, occlusion, saliency
from fastconv.explain.excite import maximise
from fastconv.explain.features import pca, tsne
from fastconv.explain.inside import activations, architecture, gradients, weights

__all__ = [
    "activations",
    "architecture",
    "grad_cam",
    "gradients",
    "maximise",
    "occlusion",
    "pca",
    "saliency",
    "tsne",
    "weights",
]
