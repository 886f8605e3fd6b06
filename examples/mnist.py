"""MNIST with a small network: four convolutions, fewer than half a million weights.

Two 3x3 convolutions before each pooling, batch normalisation, dropout, images moved by
up to two pixels, and one cycle of the learning rate::

    python examples/mnist.py --data path/to/mnist

``--data`` is what `fastconv.datasets.load` takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import fastconv as fc


def network(shape: tuple[int, ...], classes: int) -> fc.Sequential:
    """The network for images of ``shape``."""
    layers = fc.layers
    body = [fc.Input(shape), layers.Rescaling(1 / 255)]
    for maps in (32, 64):
        for _ in range(2):
            body += [
                layers.Conv2D(maps, 3, padding="same", use_bias=False),
                layers.BatchNormalization(momentum=0.9),
                layers.Activation("relu"),
            ]
        body += [layers.MaxPooling2D(), layers.Dropout(0.25)]
    body += [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(classes, activation="softmax"),
    ]
    return fc.Sequential(body, name="mnist")


def main(argv: Sequence[str] | None = None) -> float:
    """Trains, and gives the accuracy on the test part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="mnist", help="folder or name")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=2)
    args = parser.parse_args(argv)
    fc.utils.set_random_seed(args.seed)
    data = fc.datasets.load(args.data)
    height, width, channels = data.x_train.shape[1:]
    model = network((height, width, channels), len(data.class_names))
    steps = args.epochs * -(-len(data.x_train) // args.batch_size)
    rate = fc.optimizers.schedules.OneCycle(0.1, steps)
    model.compile(
        fc.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    x_train, x_test = (x.astype(np.float32) for x in (data.x_train, data.x_test))
    model.fit(
        x_train, data.y_train, batch_size=args.batch_size, epochs=args.epochs,
        augment=[fc.layers.RandomCrop(height, width, padding=2)], verbose=args.verbose,
    )  # fmt: skip
    accuracy = float(model.evaluate(x_test, data.y_test, 256, verbose=0)[1])
    print(f"{model.count_params():,} parameters, test accuracy {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    main()
