"""From five classes to five others with few images: transfer against a fresh start.

A small residual network learns the first five classes of CIFAR-10 (aeroplane, car,
bird, cat, deer). The other five (dog, frog, horse, ship, truck) are then learned from
1, 5 or 50 images each, in four ways, and measured on all their test images::

    means       nearest mean of the features of a class, without any training: Snell,
                Swersky, Zemel, "Prototypical networks", NIPS 2017, section 2.2, with a
                network that was trained as usual
    head        a new head on the features of the frozen network, which are computed
                once, into a file (`fastconv.transfer.extract`)
    fine-tuned  then the whole network, from the head to the image, group by group, each
                group at a smaller rate than the one behind it
    scratch     the same network without what it had learned, for as long

    python examples/transfer_cifar10.py --data path/to/cifar10

It prints the accuracies as means over ``--draws`` choices of the images, and the
margin.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc

OLD, NEW = range(5), range(5, 10)
WAYS = ("means", "head", "fine-tuned", "scratch")


def part(x: np.ndarray, y: np.ndarray, classes: range) -> tuple[np.ndarray, np.ndarray]:
    """The images of some classes, which are numbered from 0."""
    inside = np.isin(y, classes)
    return x[inside], y[inside] - classes.start


def few(y: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Rows of so many images of each class, chosen at random."""
    order = fc.random.generator(seed, 1).permutation(len(y))
    return np.concatenate([order[y[order] == c][:shots] for c in np.unique(y)])


def base(args: argparse.Namespace, shape: tuple[int, ...]) -> fc.Model:
    """The network without its top: a vector an image."""
    return fc.models.ResNet9(
        include_top=False, pooling="max", width=args.width, input_shape=shape
    )


def head(features: Any, classes: int) -> Any:
    """The classifier of ResNet-9."""
    x = fc.layers.Rescaling(0.125, name="scale")(features)
    return fc.layers.Dense(classes, activation="softmax", name="head")(x)


def train(
    model: fc.Model, x: Any, y: Any, rate: float, epochs: int, batch: int, **rest: Any
) -> None:
    """Momentum, and a rate that rises for a fifth of the steps, then falls to 0."""
    steps = epochs * -(-len(y) // batch)
    cosine = fc.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 5, warmup_target=rate, warmup_steps=steps // 5
    )
    model.compile(
        fc.optimizers.SGD(cosine, momentum=0.9, weight_decay=0.005),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(x, y, batch, epochs, **{"verbose": 0, **rest})


def changes(shape: tuple[int, ...]) -> list[fc.layers.Layer]:
    """Crops after a border of 4 pixels, mirrored halves."""
    crop = fc.layers.RandomCrop(*shape[:2], padding=4)
    return [crop, fc.layers.RandomFlip("horizontal")]


def pretrained(args: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> fc.Model:
    """The base, after it has learned the old classes."""
    found = base(args, x.shape[1:])
    model = fc.Model(found.input, head(found.output, len(OLD)))
    train(
        model, x, y, 0.2, args.epochs, 128, augment=changes(x.shape[1:]),
        verbose=args.verbose,
    )  # fmt: skip
    return found


def on_features(
    args: argparse.Namespace,
    found: fc.Model,
    few: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> tuple[float, fc.Model]:
    """Accuracy of the nearest means of classes, and a head; ``test``: features."""
    (x, y), (features, labels) = few, test
    with tempfile.TemporaryDirectory() as folder:
        seen = fc.transfer.extract(found, x, Path(folder) / "features.npy")
        means = np.stack([seen[y == c].mean(0) for c in range(len(NEW))])
        nearest = ((features[:, None] - means) ** 2).sum(-1).argmin(1)
        vector = fc.Input(seen.shape[1:])
        top = fc.Model(vector, head(vector, len(NEW)))
        train(top, seen, y, 0.2, args.tuning, 50)
    return float((nearest == labels).mean()), top


def fine_tuned(
    args: argparse.Namespace,
    found: fc.Model,
    top: fc.Model,
    few: tuple[np.ndarray, np.ndarray],
) -> fc.Model:
    """The base with a head that is trained already, and then both."""
    model = fc.Model(found.input, head(found.output, len(NEW)))
    model.get_layer("head").set_weights(top.get_layer("head").get_weights())
    groups = fc.transfer.layer_groups(model, fc.models.ResNet9.levels.values())
    fc.transfer.discriminative_rates(groups)
    for layer in found.layers:  # few images are bad statistics
        layer.trainable = not isinstance(layer, fc.layers.BatchNormalization)
    groups = [[layer for layer in group if layer.trainable] for group in groups]
    every = max(args.tuning // (2 * len(groups)), 1)
    train(
        model, *few, 0.05, args.tuning, 50, augment=changes(few[0].shape[1:]),
        callbacks=[fc.callbacks.GradualUnfreezing(groups, every)],
    )  # fmt: skip
    return model


def scratch(args: argparse.Namespace, few: tuple[np.ndarray, np.ndarray]) -> fc.Model:
    """A network that has seen the few images only."""
    found = base(args, few[0].shape[1:])
    model = fc.Model(found.input, head(found.output, len(NEW)))
    train(model, *few, 0.1, args.tuning, 50, augment=changes(few[0].shape[1:]))
    return model


def compared(
    args: argparse.Namespace,
    found: fc.Model,
    few: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    features: np.ndarray,
) -> list[float]:
    """The accuracies of the four ways."""

    def accuracy(model: fc.Model, x: np.ndarray) -> float:
        return float(model.evaluate(x, test[1], 256, 0)[1])

    means, top = on_features(args, found, few, (features, test[1]))
    whole = fine_tuned(args, found, top, few)
    return [
        means,
        accuracy(top, features),
        accuracy(whole, test[0]),
        accuracy(scratch(args, few), test[0]),
    ]


def main(argv: Sequence[str] | None = None) -> dict[int, dict[str, float]]:
    """Gives by number of images a class the accuracies on the new classes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="cifar10", help="name or folder")
    parser.add_argument("--epochs", type=int, default=4, help="on the old classes")
    parser.add_argument("--tuning", type=int, default=60, help="epochs on the few")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 50])
    parser.add_argument("--draws", type=int, default=3, help="choices of these images")
    parser.add_argument("--width", type=int, default=16, help="maps of the first layer")
    parser.add_argument("--verbose", type=int, default=2)
    args = parser.parse_args(argv)
    fc.utils.set_random_seed(0)
    data = fc.datasets.load(args.data)
    mean, deviation = data.x_train.mean(), data.x_train.std()
    x, x_test = (
        (images - np.float32(mean)) / np.float32(deviation)
        for images in (data.x_train, data.x_test)
    )
    found = pretrained(args, *part(x, data.y_train, OLD))
    weights = found.get_weights()
    (x, y), test = part(x, data.y_train, NEW), part(x_test, data.y_test, NEW)
    features = found.predict(test[0], 256, verbose=0)
    result = {}
    for shots in args.shots:
        rows = []
        for draw in range(args.draws):
            chosen = few(y, shots, draw)
            found.set_weights(weights)
            rows.append(compared(args, found, (x[chosen], y[chosen]), test, features))
        accuracies = np.mean(rows, axis=0).tolist()
        result[shots] = dict(zip(WAYS, accuracies, strict=True))
        print(f"{shots:2d} images a class:", end=" ")
        print(", ".join(f"{way} {value:.1%}" for way, value in result[shots].items()))
        margin = max(accuracies[:3]) - accuracies[3]
        print(f"   margin over training from scratch: {100 * margin:.1f} points")
    return result


if __name__ == "__main__":
    main()
