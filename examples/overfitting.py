"""Over-fitting, and three ways against it, in one figure.

A dense network learns 1,000 digits by heart: the loss of the training falls to
nothing, that of the held-out images rises. A fifth of the labels that it learns from
are wrong (``--wrong``), so that what is learned by heart costs accuracy, too; those of
the held-out and test images are right. Early stopping, a penalty on large weights (L2)
and dropout each make it better on images that it has not seen::

    python examples/overfitting.py --data path/to/mnist
    python examples/overfitting.py --data digits --methods none early dropout

It writes ``overfitting.svg`` (the curves of the plain training) and ``remedies.svg``
(the held-out loss of all) to the folder ``--out``, and prints the test accuracies, as
means over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc

METHODS = ("none", "early", "l2", "dropout")
VALIDATION = 1000  # images, taken behind those of the training


def network(
    shape: tuple[int, ...], classes: int, method: str, width: int
) -> fc.Sequential:
    """Two hidden layers, of more weights than there are pixels to learn from."""
    layers = fc.layers
    penalty: dict[str, Any] = {}
    if method == "l2":
        penalty["kernel_regularizer"] = fc.regularizers.L2(0.01)
    body = [fc.Input(shape), layers.Flatten()]
    for _ in range(2):
        body.append(layers.Dense(width, activation="relu", **penalty))
        if method == "dropout":
            body.append(layers.Dropout(0.5))
    return fc.Sequential([*body, layers.Dense(classes, "softmax", **penalty)])


def train(
    data: fc.datasets.Dataset, method: str, args: argparse.Namespace, seed: int
) -> tuple[dict[str, list[float]], float]:
    """The history of one training, and the accuracy on the test part."""
    fc.utils.set_random_seed(seed)
    x, y = data.x_train / np.float32(255), data.y_train
    order = fc.random.generator(seed, 1).permutation(len(x))
    kept, held = order[: args.images], order[args.images :][:VALIDATION]
    classes = len(data.class_names)
    draw = fc.random.generator(seed, 2)
    wrong = draw.random(len(kept)) < args.wrong
    labels = (y[kept] + wrong * draw.integers(1, classes, len(kept))) % classes
    model = network(x.shape[1:], classes, method, args.width)
    steps = args.epochs * -(-len(kept) // 32)
    model.compile(
        fc.optimizers.Adam(fc.optimizers.schedules.CosineDecay(0.001, steps)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    callbacks = []
    if method == "early":
        callbacks.append(
            fc.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
        )
    history = model.fit(
        x[kept], labels, epochs=args.epochs, validation_data=(x[held], y[held]),
        callbacks=callbacks, verbose=args.verbose,
    )  # fmt: skip
    scores = model.evaluate(
        data.x_test / np.float32(255), data.y_test, batch_size=256, verbose=0
    )
    return history.history, scores[1]


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Trains with each method and draws; gives the test accuracies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="mnist", help="name or folder of a data set")
    parser.add_argument("--images", type=int, default=1000, help="to train on")
    parser.add_argument("--wrong", type=float, default=0.2, help="share of labels")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--width", type=int, default=512, help="of hidden layers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("overfitting"))
    args = parser.parse_args(argv)
    data = fc.datasets.load(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    found, losses = {}, {}
    for method in args.methods:
        runs = [train(data, method, args, seed) for seed in range(args.seeds)]
        found[method] = float(np.mean([accuracy for _, accuracy in runs]))
        print(f"{method}: test accuracy {found[method]:.2%}")
        history = runs[0][0]
        losses[method] = (range(1, len(history["loss"]) + 1), history["val_loss"])
        if method == "none":
            figure = fc.plot.curves(history, "A dense network learns by heart")
            figure.save(args.out / "overfitting.svg")
    figure = fc.plot.lines(losses, "Loss of held-out images", "epoch")
    figure.save(args.out / "remedies.svg")
    return found


if __name__ == "__main__":
    main()
