"""``fastconv evaluate``: a trained model on held-out data."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fastconv import datasets
from fastconv.cli.common import open_run, set_machine, weights_digest

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Prints loss and accuracy on the test part of the data set."""
    set_machine(args)
    model, inputs, config = open_run(args.run_dir)
    name = args.data or config["train"]["data"]
    data = datasets.load(name)
    found = model.evaluate(
        inputs(data.x_test),
        data.y_test,
        batch_size=args.batch_size,
        verbose=0,
        return_dict=True,
    )
    result = {f"test_{metric}": float(value) for metric, value in found.items()}
    words = ", ".join(f"{metric} {value:.4f}" for metric, value in result.items())
    print(f"{name}: {len(data.x_test):,} images: {words}")
    return {
        "run": args.run_dir,
        "data": name,
        "samples": len(data.x_test),
        **result,
        "sha256": weights_digest(model),
    }
