"""A training step of a head on a frozen base, against inference of the base alone.

The two run alternately; printed are medians of CPU seconds, their ratio, and the exact
memory of both, and of a step that trains everything::

    python bench/frozen.py ResNet50 MobileNetV2 --side 160 --batch-size 4
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import fastconv as fc

WARM_UP = 2


def with_head(base: fc.Model, trainable: bool) -> fc.Model:
    """A new classifier of 100 classes on a base, compiled."""
    base.trainable = trainable
    scores = fc.layers.Dense(100, activation="softmax")(base.output)
    model = fc.Model(base.input, scores)
    optimizer = fc.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def seconds(run: Callable[[], Any]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(name: str, side: int, batch: int, rounds: int) -> dict[str, Any]:
    """Times and bytes of one network."""
    base = fc.models.get(name)(
        include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg"
    )
    base.compile()
    everything = with_head(base, True).memory(batch)["total"]
    model = with_head(base, False)
    x = fc.random.generator(0).standard_normal((batch, side, side, 3), np.float32)
    labels = np.arange(batch) % 100
    pairs = [
        (
            seconds(lambda: base.predict_on_batch(x)),
            seconds(lambda: model.train_on_batch(x, labels)),
        )
        for _ in range(WARM_UP + rounds)
    ][WARM_UP:]
    inference, step = (median(times) for times in zip(*pairs, strict=True))
    return {
        "network": name,
        "inference_ms": inference * 1e3,
        "head_step_ms": step * 1e3,
        "ratio": median(b / a for a, b in pairs),
        "inference_bytes": base.memory(batch, training=False)["total"],
        "head_step_bytes": model.memory(batch)["total"],
        "full_step_bytes": everything,
    }


def main() -> None:
    """Measures the networks that are named; a JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--side", type=int, default=160, help="pixels of the images")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    for name in args.networks:
        print(json.dumps(measure(name, args.side, args.batch_size, args.rounds)))


if __name__ == "__main__":
    main()
