"""Data and first weights that are the same under Keras and under fastconv."""

import numpy as np


def data(*shapes, classes=None, seed=0):
    """Normal numbers of each shape; with classes also labels that follow from them."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape).astype("float32") for shape in shapes]
    if classes is None:
        return arrays if len(arrays) > 1 else arrays[0]
    rows = arrays[0].reshape(len(arrays[0]), -1)
    labels = (rows @ rng.normal(size=(rows.shape[1], classes))).argmax(axis=1)
    return (*arrays, labels)


def fill(model, seed=1):
    """Gives every layer weights from NumPy, in the order of the layers' names."""
    rng = np.random.default_rng(seed)
    for layer in sorted(model.layers, key=lambda layer: layer.name):
        values = [rng.uniform(0.05, 0.4, w.shape) for w in layer.get_weights()]
        signs = [rng.choice([-1, 1], w.shape) for w in layer.get_weights()]
        moving = [w.name.split("/")[-1].startswith("moving") for w in layer.weights]
        layer.set_weights([
            v if m else v * s for v, s, m in zip(values, signs, moving, strict=True)
        ])  # fmt: skip


def curve(history):
    """The numbers of a History, without what the two count differently."""
    return {name: list(map(float, v)) for name, v in history.history.items()}
