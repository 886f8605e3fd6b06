"""Learning on simulated images, then on few real ones.

Digits are drawn as strokes of a pen, without any font or file: moved, slanted, thick
and thin, blurred and noisy, by fastconv's augmentation. A network that has only seen
those reads handwritten digits already; fine-tuned on a few real images of each class it
is compared with one that has seen nothing but these::

    python examples/simulated_digits.py --data path/to/mnist

It prints the accuracies on the real test images, as means over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastconv as fc

Strokes = list[np.ndarray]  # polylines (points, 2) of x and y in 0 .. 1, y downwards


def arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float
) -> np.ndarray:
    """A part of an ellipse, from an angle to another in degrees, 0 to the right."""
    angles = np.radians(np.linspace(start, end, 10))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


def line(*points: tuple[float, float]) -> np.ndarray:
    """A polyline."""
    return np.array(points)


def joined(*parts: np.ndarray) -> np.ndarray:
    """One stroke of several."""
    return np.concatenate(parts)


FORMS: list[list[Strokes]] = [  # of each digit, in which people write it
    [[arc(0.5, 0.5, 0.22, 0.34, -90, 270)], [arc(0.5, 0.5, 0.28, 0.32, -60, 300)]],
    [[line((0.5, 0.15), (0.5, 0.85))], [line((0.36, 0.3), (0.53, 0.15), (0.53, 0.85))]],
    [
        [joined(arc(0.48, 0.34, 0.2, 0.18, -170, 50),
                line((0.28, 0.82), (0.74, 0.82)))],
        [joined(arc(0.47, 0.34, 0.2, 0.18, -170, 60),
                arc(0.36, 0.76, 0.1, 0.08, -20, -330), line((0.76, 0.84)))],
    ],
    [[joined(arc(0.46, 0.33, 0.2, 0.17, -160, 80),
             arc(0.46, 0.67, 0.23, 0.18, -80, 150))]],
    [
        [line((0.56, 0.15), (0.24, 0.6), (0.78, 0.6)), line((0.6, 0.4), (0.6, 0.86))],
        [line((0.3, 0.2), (0.28, 0.52), (0.7, 0.52)), line((0.68, 0.18), (0.66, 0.86))],
    ],
    [[joined(line((0.34, 0.17), (0.33, 0.45)), arc(0.45, 0.64, 0.23, 0.2, -110, 150)),
      line((0.34, 0.17), (0.7, 0.17))]],
    [
        [joined(line((0.58, 0.14)), arc(0.62, 0.6, 0.32, 0.44, -130, -180),
                arc(0.49, 0.66, 0.19, 0.18, -180, 180))],
        [joined(line((0.44, 0.14)), arc(0.5, 0.66, 0.2, 0.18, 180, -180))],
    ],
    [
        [line((0.26, 0.19), (0.73, 0.19), (0.42, 0.85))],
        [line((0.26, 0.19), (0.73, 0.19), (0.45, 0.85)), line((0.4, 0.5), (0.7, 0.5))],
    ],
    [
        [arc(0.5, 0.32, 0.17, 0.16, 90, 450), arc(0.5, 0.67, 0.2, 0.19, -90, 270)],
        [joined(arc(0.52, 0.32, 0.17, 0.16, -30, -270),
                arc(0.5, 0.67, 0.19, 0.18, -90, 220), line((0.68, 0.24)))],
    ],
    [
        [joined(arc(0.5, 0.34, 0.19, 0.18, 0, -360), line((0.66, 0.86)))],
        [joined(arc(0.5, 0.34, 0.19, 0.18, 0, -360),
                arc(0.46, 0.6, 0.23, 0.26, 0, 120))],
    ],
]  # fmt: skip


def draw(strokes: Strokes, width: float, size: int) -> np.ndarray:
    """The picture (size, size) of strokes, in 0 .. 1: a pen of ``width`` pixels."""
    start = np.concatenate([s[:-1] for s in strokes]).astype(np.float32) * size
    end = np.concatenate([s[1:] for s in strokes]).astype(np.float32) * size
    way = end - start
    y, x = np.mgrid[0:size, 0:size, 0:1].astype(np.float32)[:2] + np.float32(0.5)
    dx, dy = x - start[:, 0], y - start[:, 1]
    length = np.maximum((way**2).sum(1), 1e-9)
    along = np.clip((dx * way[:, 0] + dy * way[:, 1]) / length, 0, 1)
    squared = (dx - along * way[:, 0]) ** 2 + (dy - along * way[:, 1]) ** 2
    return np.clip(width / 2 - np.sqrt(squared.min(-1)) + 0.5, 0, 1)


def simulated(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """So many images (size, size, 1) in 0 .. 1 of drawn digits, and their labels."""
    random = fc.random.generator(seed, 1)
    labels = np.arange(count) % 10
    images = np.empty((count, size, size, 1), np.float32)
    for i, label in enumerate(labels):
        form = FORMS[label][random.integers(len(FORMS[label]))]
        shaky = [stroke + random.normal(0, 0.02, (1, 2)) for stroke in form]
        shaky = [stroke + random.normal(0, 0.008, stroke.shape) for stroke in shaky]
        pen = random.uniform(0.05, 0.13) * size
        images[i, ..., 0] = draw(shaky, pen, size)
    return images, labels


def changes() -> list[fc.layers.Layer]:
    """How drawn digits differ from each other, at random in every epoch."""
    layers = fc.layers
    return [
        layers.RandomRotation(0.05, fill_mode="constant"),
        layers.RandomShear(0.3, 0.05, fill_mode="constant"),
        layers.RandomZoom((-0.15, 0.25), (-0.15, 0.4), fill_mode="constant"),
        layers.RandomTranslation(0.06, 0.06, fill_mode="constant"),
        layers.RandomGaussianNoise(0.06),
    ]


def network(shape: tuple[int, ...], seed: int) -> fc.Sequential:
    """A small one, with new weights."""
    fc.utils.set_random_seed(seed)
    layers = fc.layers
    return fc.Sequential(
        [
            fc.Input(shape),
            layers.Conv2D(16, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(name="maps"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.3, name="features"),
            layers.Dense(10, activation="softmax", name="head"),
        ]
    )


def train(model: fc.Model, x: np.ndarray, y: np.ndarray, **options: object) -> None:
    """Adam, with a rate that falls as a cosine."""
    epochs, batch = options["epochs"], options["batch_size"]
    steps = epochs * -(-len(x) // batch)
    rate = fc.optimizers.schedules.CosineDecay(options.pop("rate"), steps)
    model.compile(
        fc.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(x, y, verbose=0, **options)


def few(y: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Rows of so many images of each class, chosen at random."""
    order = fc.random.generator(seed, 2).permutation(len(y))
    return np.concatenate([order[y[order] == label][:shots] for label in range(10)])


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Trains on drawn digits, on few real ones, and on both; gives the accuracies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="digits", help="name or folder of real ones")
    parser.add_argument("--images", type=int, default=10000, help="to draw")
    parser.add_argument("--epochs", type=int, default=8, help="on drawn images")
    parser.add_argument("--shots", type=int, default=10, help="real images a class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for a figure of drawn digits")
    args = parser.parse_args(argv)
    data = fc.datasets.load(args.data)
    x, y, x_test, y_test = (
        data.x_train / np.float32(255), data.y_train,
        data.x_test / np.float32(255), data.y_test,
    )  # fmt: skip
    size = x.shape[1]
    drawn, labels = simulated(args.images, size, seed=0)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        seen = fc.data.augment(drawn[:40], changes()).batches(epoch=0)
        first = np.clip(np.concatenate([batch[0] for batch in seen]), 0, 1)
        figure = fc.plot.images(first, title="Drawn, not written", columns=10)
        figure.save(args.out / "drawn.svg")
    found: dict[str, list[float]] = {"drawn": [], "few real": [], "drawn, few real": []}
    for seed in range(args.seeds):
        rows = few(y, args.shots, seed)
        model = network(x.shape[1:], seed)
        train(
            model, drawn, labels, rate=2e-3, epochs=args.epochs, batch_size=64,
            augment=changes(),
        )  # fmt: skip
        found["drawn"].append(model.evaluate(x_test, y_test, 256, 0)[1])
        groups = fc.transfer.layer_groups(model, ["maps", "features"])
        fc.transfer.discriminative_rates(groups)
        train(model, x[rows], y[rows], rate=1e-3, epochs=60, batch_size=20)
        found["drawn, few real"].append(model.evaluate(x_test, y_test, 256, 0)[1])
        fresh = network(x.shape[1:], seed)
        train(fresh, x[rows], y[rows], rate=1e-3, epochs=60, batch_size=20)
        found["few real"].append(fresh.evaluate(x_test, y_test, 256, 0)[1])
    means = {name: float(np.mean(values)) for name, values in found.items()}
    for name, mean in means.items():
        print(f"trained on {name}: test accuracy {mean:.2%}")
    gain = means["drawn, few real"] - means["few real"]
    print(f"margin over training from scratch: {100 * gain:.1f} points")
    return means


if __name__ == "__main__":
    main()
