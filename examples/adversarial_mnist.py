"""Adversarial examples on MNIST, and training against them.

Two networks of the same shape are trained, one as usual and one on the worst images
within epsilon (`fastconv.adversarial.AdversarialBatches`). Then both are attacked with
projected gradient descent, and their accuracy is drawn as a function of epsilon::

    python examples/adversarial_mnist.py --data path/to/mnist
    python examples/adversarial_mnist.py --data digits --epochs 10   # nothing to fetch

It writes ``accuracy.svg`` and ``examples.svg`` to the folder ``--out`` and prints the
figures. Madry et al., "Towards deep learning models resistant to adversarial attacks",
ICLR 2018.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastconv as fc

EPSILONS = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15)


def network(shape: tuple[int, ...], classes: int, name: str) -> fc.Sequential:
    """Two convolutions with batch normalisation, and a hidden layer."""
    layers = fc.layers
    return fc.Sequential(
        [
            fc.Input(shape),
            layers.Conv2D(16, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(100, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ],
        name=name,
    )


def train(
    data: fc.datasets.Dataset, args: argparse.Namespace, robust: bool
) -> fc.Sequential:
    """A network trained as usual, or on adversarial examples."""
    fc.random.set_seed(args.seed)
    x, y = data.x_train / np.float32(255), data.y_train
    name = "robust" if robust else "plain"
    model = network(x.shape[1:], len(data.class_names), name)
    steps = args.epochs * -(-len(x) // args.batch_size)
    rate = fc.optimizers.schedules.CosineDecay(0.002, steps)
    model.compile(
        fc.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    fit = {"epochs": args.epochs, "verbose": args.verbose}
    if not robust:
        model.fit(x, y, batch_size=args.batch_size, **fit)
        return model
    batches = fc.adversarial.AdversarialBatches(
        model, x, y, args.epsilon, batch_size=args.batch_size, steps=args.steps,
        warm_up=args.epochs // 3,
    )  # fmt: skip
    model.fit(batches, **fit)
    return model


def main(argv: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Trains, attacks and draws; gives the accuracy of each network by epsilon."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="mnist", help="name or folder of a data set")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epsilon", type=float, default=0.1, help="in training")
    parser.add_argument("--steps", type=int, default=2, help="of the training's attack")
    parser.add_argument("--attack-steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000, help="held-out, attacked")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("adversarial"))
    args = parser.parse_args(argv)
    data = fc.datasets.load(args.data)
    x, y = data.x_test[: args.images] / np.float32(255), data.y_test[: args.images]
    args.out.mkdir(parents=True, exist_ok=True)
    curves: dict[str, list[float]] = {}
    for robust in (False, True):
        model = train(data, args, robust)
        accuracy = fc.adversarial.accuracy_under_attack(
            model, x, y, EPSILONS, fc.adversarial.pgd, steps=args.attack_steps
        )
        curves[model.name] = accuracy.tolist()
        pairs = zip(EPSILONS, accuracy, strict=True)
        print(model.name, ", ".join(f"{e:g}: {a:.1%}" for e, a in pairs), flush=True)
        if not robust:
            draw_examples(model, x[:10], y[:10], args)
    fc.plot.lines(
        {name: (EPSILONS, values) for name, values in curves.items()},
        "Accuracy under attack (PGD)", "epsilon", "accuracy",
    ).save(args.out / "accuracy.svg")  # fmt: skip
    return curves


def draw_examples(
    model: fc.Sequential, x: np.ndarray, y: np.ndarray, args: argparse.Namespace
) -> None:
    """Images, and what the attack makes of them, with the network's answers."""
    bad = fc.adversarial.pgd(model, x, y, args.epsilon, steps=args.attack_steps)
    both = np.concatenate([x, bad])
    answers = model.predict(both, verbose=0).argmax(1)
    title = f"Images, attacked images (epsilon {args.epsilon}), the answers"
    figure = fc.plot.images(both, answers, title, columns=len(x), limits=(0, 1))
    figure.save(args.out / "examples.svg")


if __name__ == "__main__":
    main()
