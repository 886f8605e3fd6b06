"""``fastconv quantize``: the model of a run with integers instead of floats."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

from fastconv import datasets
from fastconv.cli.common import open_run, set_machine, weights_digest
from fastconv.errors import ArgumentError
from fastconv.quantization import quantize
from fastconv.training.run_directory import RunDirectory

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Makes a run of the quantised model, and prints what it costs in accuracy."""
    if args.samples < 1:
        raise ArgumentError(f"--samples: expected 1 or more, got {args.samples}")
    set_machine(args)
    model, inputs, config = open_run(args.run_dir)
    data = datasets.load(args.data or config["train"]["data"])
    out = args.out or f"{args.run_dir.rstrip('/')}-int8"
    directory = RunDirectory.create(out, force=args.force)
    count = min(args.samples, len(data.x_train))
    chosen = np.linspace(0, len(data.x_train) - 1, count).astype(int)
    small = quantize(model, inputs(data.x_train[chosen]), args.method)
    small.save(directory.model)
    directory.write_config(config)
    before, after = (_accuracy(m, inputs(data.x_test), data.y_test)
                     for m in (model, small))  # fmt: skip
    result = {
        "run": args.run_dir,
        "out": str(directory.path),
        "method": args.method,
        "samples": count,
        "test_accuracy": after,
        "test_accuracy_float32": before,
        "bytes": directory.model.stat().st_size,
        "sha256": weights_digest(small),
    }
    directory.write_result(result)
    print(
        f"test accuracy {after:.2%} with int8, {before:.2%} with float32; "
        f"{result['bytes']:,} bytes; saved in {directory.path}"
    )
    return result


def _accuracy(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    scores = model.predict(x, batch_size=256, verbose=0)
    return float(np.mean(scores.argmax(axis=-1) == y))
