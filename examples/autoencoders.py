"""Auto-encoders: dense, convolutional, denoising and variational.

Each one learns, without labels, to give its input back through a narrow code::

    python examples/autoencoders.py --data path/to/mnist
    python examples/autoencoders.py --data digits --epochs 30    # nothing to fetch

For each it writes the test images over their reconstructions to the folder ``--out``;
for the variational one also the manifold: what the decoder makes of a grid of codes.
At the end the code of the convolutional one is used for another task: a linear
classifier on it is trained with a few labels, and compared with one on pixels.

Hinton and Salakhutdinov, Science 313 (2006); Vincent et al., ICML 2008 (denoising);
Kingma and Welling, ICLR 2014 (variational).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import layers, ops

Pair = tuple[fc.Model, fc.Model]  # an encoder and a decoder


def dense(shape: tuple[int, ...], code: int) -> Pair:
    """One hidden layer on each side."""
    encoder = fc.Sequential([
        fc.Input(shape), layers.Flatten(), layers.Dense(256, "relu"),
        layers.Dense(code),
    ])  # fmt: skip
    decoder = fc.Sequential([
        fc.Input((code,)), layers.Dense(256, "relu"),
        layers.Dense(int(np.prod(shape)), "sigmoid"), layers.Reshape(shape),
    ])  # fmt: skip
    return encoder, decoder


def convolutional(shape: tuple[int, ...], code: int) -> Pair:
    """Strided convolutions down, transposed ones up; sides that 4 divides."""
    h, w = shape[0] // 4, shape[1] // 4
    kind = {"activation": "relu", "padding": "same", "strides": 2}
    encoder = fc.Sequential([
        fc.Input(shape), layers.Conv2D(16, 3, **kind), layers.Conv2D(32, 3, **kind),
        layers.Flatten(), layers.Dense(code),
    ])  # fmt: skip
    decoder = fc.Sequential([
        fc.Input((code,)), layers.Dense(h * w * 32, "relu"), layers.Reshape((h, w, 32)),
        layers.Conv2DTranspose(16, 3, **kind), layers.Conv2DTranspose(8, 3, **kind),
        layers.Conv2D(shape[2], 3, padding="same", activation="sigmoid"),
    ])  # fmt: skip
    return encoder, decoder


def joined(pair: Pair) -> fc.Model:
    """Encoder and decoder in a row."""
    x = fc.Input(pair[0].input_shape[1:])
    return fc.Model(x, pair[1](pair[0](x)))


def pixel_loss(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy of pixels as probabilities of white, summed over an image."""
    p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    value = y_true * ops.log(p) + (1.0 - y_true) * ops.log(1.0 - p)
    return -ops.sum(value, axis=(1, 2, 3))


def variational(shape: tuple[int, ...], code: int) -> tuple[fc.Model, Pair]:
    """A model of (images, noise), and its parts.

    The encoder gives mean and log variance of the code; the noise, which comes in as a
    second input, makes a sample of it: ``z = mean + exp(log variance / 2) noise``. The
    outputs are the image and the divergence of the code from a standard normal,
    ``-1/2 sum(1 + log variance - mean^2 - variance)``.
    """
    encoder, decoder = dense(shape, 2 * code)[0], dense(shape, code)[1]
    x, noise = fc.Input(shape, name="image"), fc.Input((code,), name="noise")
    found = encoder(x)
    mean, log_variance = found[:, :code], found[:, code:]
    z = mean + ops.exp(log_variance * 0.5) * noise
    divergence = -0.5 * ops.sum(
        1.0 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=1
    )
    model = fc.Model([x, noise], {"image": decoder(z), "divergence": divergence})
    return model, (encoder, decoder)


class NoisyBatches:
    """Batches of (images, fresh noise) for the variational auto-encoder."""

    def __init__(self, x: np.ndarray, code: int, batch_size: int) -> None:
        self.x, self.code, self.size, self.epoch = x, code, batch_size, 0

    def __len__(self) -> int:
        return (len(self.x) + self.size - 1) // self.size

    def __iter__(self) -> Any:
        draw = fc.random.generator(fc.random.get_seed(), 1000 + self.epoch)
        self.epoch += 1
        order = draw.permutation(len(self.x))
        for start in range(0, len(order), self.size):
            x = self.x[order[start : start + self.size]]
            noise = draw.standard_normal((len(x), self.code), np.float32)
            zeros = np.zeros(len(x), np.float32)
            yield [x, noise], {"image": x, "divergence": zeros}


def fit_variational(x: np.ndarray, args: argparse.Namespace) -> Pair:
    """Trains it; the loss is what Kingma and Welling call the negative bound."""
    model, parts = variational(x.shape[1:], 2)
    model.compile(
        fc.optimizers.Adam(0.001),
        loss={"image": pixel_loss, "divergence": lambda zero, found: found - zero},
    )
    data = NoisyBatches(x, 2, args.batch_size)
    model.fit(data, epochs=args.epochs, verbose=args.verbose)
    return parts


def manifold(decoder: fc.Model, side: int = 15, reach: float = 2.5) -> fc.plot.Figure:
    """What the decoder makes of a grid of codes."""
    steps = np.linspace(-reach, reach, side, dtype=np.float32)
    codes = np.array([(a, b) for b in steps[::-1] for a in steps])
    images = decoder.predict(codes, verbose=0)
    return fc.plot.images(
        images, title="The manifold of codes", columns=side, size=32, limits=(0, 1)
    )


def transfer(
    encoder: fc.Model, data: fc.datasets.Dataset, x: np.ndarray, x_test: np.ndarray
) -> dict[str, float]:
    """Test accuracy of a linear classifier with 100 labels: on pixels, on codes."""
    found = {}
    for name, see in (("pixels", np.asarray), ("codes", _codes(encoder))):
        train, test = (see(v).reshape(len(v), -1) for v in (x[:100], x_test))
        mean, scale = train.mean(0), train.std(0).mean() + 1e-6
        fc.random.set_seed(0)
        model = fc.Sequential([
            fc.Input(train.shape[1:]), layers.Dense(len(data.class_names), "softmax"),
        ])  # fmt: skip
        model.compile(
            fc.optimizers.Adam(0.01),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        model.fit((train - mean) / scale, data.y_train[:100], epochs=100, verbose=0)
        scores = model.evaluate((test - mean) / scale, data.y_test, verbose=0)
        found[name] = scores[1]
    return found


def _codes(encoder: fc.Model) -> Any:
    return lambda x: encoder.predict(x, verbose=0)


def show(name: str, x: np.ndarray, given: np.ndarray, model: Any, out: Path) -> float:
    """Draws inputs over outputs; gives the mean squared error."""
    made = model.predict(given, verbose=0)
    both = np.concatenate([given[:12], made[:12]])
    figure = fc.plot.images(both, title=name, columns=12, size=48, limits=(0, 1))
    figure.save(out / f"{name}.svg")
    error = float(np.mean(np.square(made - x)))
    print(f"{name}: mean squared error of held-out images {error:.4f}")
    return error


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Trains and draws all four; gives their errors and the accuracies of transfer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="mnist", help="name or folder of a data set")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--code", type=int, default=16)
    parser.add_argument(
        "--noise", type=float, default=0.4, help="for the denoising one"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("autoencoders"))
    args = parser.parse_args(argv)
    data = fc.datasets.load(args.data)
    x, x_test = (v / np.float32(255) for v in (data.x_train, data.x_test))
    args.out.mkdir(parents=True, exist_ok=True)
    fc.random.set_seed(args.seed)
    noisy, noisy_test = (_noisy(v, args, i) for i, v in enumerate((x, x_test)))
    found: dict[str, float] = {}
    for name, make, seen, seen_test in (
        ("dense", dense, x, x_test),
        ("convolutional", convolutional, x, x_test),
        ("denoising", convolutional, noisy, noisy_test),
    ):
        pair = make(x.shape[1:], args.code)
        model = joined(pair)
        model.compile(fc.optimizers.Adam(0.001), loss=pixel_loss)
        model.fit(
            seen, x, epochs=args.epochs, batch_size=args.batch_size,
            verbose=args.verbose,
        )  # fmt: skip
        found[name] = show(name, x_test, seen_test, model, args.out)
        if name == "convolutional":
            found |= transfer(pair[0], data, x, x_test)
            print(f"100 labels, linear: pixels {found['pixels']:.1%}, "
                  f"codes {found['codes']:.1%}")  # fmt: skip
    encoder, decoder = fit_variational(x, args)
    codes = encoder.predict(x_test, verbose=0)[:, :2]
    figure = fc.plot.scatter(
        codes, data.y_test, data.class_names, "Codes of test images"
    )
    figure.save(args.out / "codes.svg")
    manifold(decoder).save(args.out / "manifold.svg")
    made = decoder.predict(codes, verbose=0)
    found["variational"] = float(np.mean(np.square(made - x_test)))
    print(f"variational, code of 2: {found['variational']:.4f}")
    return found


def _noisy(x: np.ndarray, args: argparse.Namespace, part: int) -> np.ndarray:
    draw = fc.random.generator(args.seed, 100 + part)
    noise = draw.standard_normal(x.shape, np.float32) * np.float32(args.noise)
    return np.clip(x + noise, 0, 1)


if __name__ == "__main__":
    main()
