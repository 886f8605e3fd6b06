"""Images a second of the CIFAR recipe: pad-crop by 4, flip, uint8 to scaled float32.

`python bench/augment.py --threads 1` prints one JSON line; with torchvision installed
its transforms of version 2 are measured on the same batches: one draw for the whole
batch, which is less work than one for each image.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np

from fastconv import layers, set_num_threads
from fastconv.data.augmented import Pipeline

MEAN, STD = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])


def best(run: Callable[[], Any], images: int, seconds: float) -> float:
    """Images a second of the fastest of many runs."""
    run()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return round(images / fastest)


def recipes() -> dict[str, Pipeline]:
    """What is measured."""
    moves = [layers.RandomCrop(32, 32, padding=4), layers.RandomFlip("horizontal")]
    scale = layers.Rescaling(1 / STD, -MEAN / STD)
    return {
        "crop_flip_normalise": Pipeline([*moves, scale]),
        "rotate_zoom_normalise": Pipeline(
            [layers.RandomRotation(0.04), layers.RandomZoom(0.1), scale]
        ),
        "randaugment_normalise": Pipeline([*moves, layers.RandAugment(), scale]),
    }


def torchvision_run(x: np.ndarray, threads: int) -> Callable[[], Any] | None:
    """The same recipe with torchvision, or None without it."""
    try:
        import torch
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:  # absent, or for another torch
        print(f"without torchvision: {error}", file=sys.stderr)
        return None
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    scale = {"mean": (MEAN / 255).tolist(), "std": (STD / 255).tolist()}
    change = v2.Compose([
        v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(**scale),
    ])  # fmt: skip
    return lambda: change(tensor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    set_num_threads(args.threads)
    shape = (args.batch_size, 32, 32, 3)
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rates = {
        name: best(lambda p=pipeline: p(x), len(x), args.seconds)
        for name, pipeline in recipes().items()
    }
    peer = torchvision_run(x, args.threads)
    if peer is not None:
        rates["torchvision_crop_flip_normalise"] = best(peer, len(x), args.seconds)
    print(json.dumps({"images_per_second": rates, **vars(args), **machine.describe()}))


if __name__ == "__main__":
    main()
