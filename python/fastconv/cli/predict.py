"""``fastconv predict``: the class of images, by a trained model."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

from fastconv.cli.common import open_run, set_machine
from fastconv.cli.images import read_images
from fastconv.errors import ArgumentError

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Prints the likeliest classes of each image with their probabilities."""
    if args.top < 1:
        raise ArgumentError(f"--top: expected 1 or more, got {args.top}")
    set_machine(args)
    model, inputs, config = open_run(args.run_dir)
    names = config["classes"]["names"]
    predictions = []
    for path in args.images:
        images = read_images(path, inputs.scale)
        if args.invert:
            images = np.float32(inputs.scale) - images
        scores = model.predict(inputs(images), verbose=0)
        for i, row in enumerate(scores):
            label = path if len(scores) == 1 else f"{path}[{i}]"
            predictions.append({"image": label, "classes": _top(row, names, args.top)})
            print(_line(predictions[-1]))
    return {"run": args.run_dir, "predictions": predictions}


def _top(row: np.ndarray, names: list[str], count: int) -> list[dict[str, Any]]:
    best = np.argsort(-row, kind="stable")[:count]
    return [{"class": names[i], "probability": float(row[i])} for i in best]


def _line(prediction: dict[str, Any]) -> str:
    words = (f"{c['class']} {c['probability']:.2%}" for c in prediction["classes"])
    return f"{prediction['image']}: {', '.join(words)}"
