"""CIFAR-10 with a small residual network, in well under an hour on two cores.

ResNet-9 with batches of 256, augmentation (crops after a border of 4 pixels, mirrored
halves, a square of 8 pixels erased), smoothed labels, and one cycle of the learning
rate: up for a fifth of the training, then down to 0 as a cosine::

    python examples/cifar10.py --data path/to/cifar10

The command line has the same recipe::

    fastconv train resnet9 --data path/to/cifar10 --epochs 28 --batch-size 256 \
        --lr 0.3 --warm-up 0.2 --weight-decay 0.005 --shift 4 --flip --cutout 8 \
        --label-smoothing 0.1 --validation-split 0.02

``--data`` is what `fastconv.datasets.load` takes: a folder with the binary version, or
with images, one folder a class. A training that was cut off goes on with ``--out``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import fastconv as fc

PEAK = 0.3  # learning rate
WEIGHT_DECAY = 0.005
SMOOTHING = 0.1  # of the labels
CUTOUT = 1 / 16  # of an image's area


def main(argv: Sequence[str] | None = None) -> float:
    """Trains, and gives the accuracy on the test part."""
    args = arguments(argv)
    fc.utils.set_random_seed(args.seed)
    data = fc.datasets.load(args.data)
    mean, deviation = data.x_train.mean(), data.x_train.std()

    def scaled(images: np.ndarray) -> np.ndarray:
        return (images - np.float32(mean)) / np.float32(deviation)

    shape = data.x_train.shape[1:]
    model = fc.models.ResNet9(input_shape=shape, classes=len(data.class_names))
    steps = args.epochs * -(-len(data.x_train) // args.batch_size)
    rising = steps // 5
    rate = fc.optimizers.schedules.CosineDecay(
        0.0, steps - rising, warmup_target=PEAK, warmup_steps=rising
    )
    model.compile(
        fc.optimizers.SGD(rate, momentum=0.9, weight_decay=WEIGHT_DECAY),
        fc.losses.SparseCategoricalCrossentropy(label_smoothing=SMOOTHING),
        metrics=["accuracy"],
    )
    black = float(scaled(np.zeros(1, np.float32))[0])
    changes = [
        fc.layers.RandomCrop(*shape[:2], padding=4, fill_value=black),
        fc.layers.RandomFlip("horizontal"),
        fc.layers.RandomErasing((1, 1), (CUTOUT, CUTOUT), fill_value=0),
    ]
    x_test = scaled(data.x_test)
    model.fit(
        scaled(data.x_train), data.y_train, batch_size=args.batch_size,
        epochs=args.epochs, validation_data=(x_test, data.y_test), verbose=args.verbose,
        augment=changes, resume=args.out,
    )  # fmt: skip
    accuracy = float(model.evaluate(x_test, data.y_test, 256, verbose=0)[1])
    print(f"test accuracy {accuracy:.2%}")
    return accuracy


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="cifar10", help="folder or name")
    parser.add_argument("--epochs", type=int, default=28)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for checkpoints; default none")
    parser.add_argument("--verbose", type=int, default=2)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
