"""``fastconv summary``: layers, shapes, parameters, operations and memory."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fastconv.cli.common import make_model, weights_digest
from fastconv.training import load_model
from fastconv.training.run_directory import RunDirectory

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Prints the summary of a model of the zoo, of a saved one, or of a run."""
    path = Path(args.model)
    if path.is_dir():
        model = load_model(RunDirectory.open(path).model)
    elif path.is_file():
        model = load_model(path)
    else:
        model = make_model(args.model)
    if model.compiled_loss is None:
        model.compile("sgd", "sparse_categorical_crossentropy")
    model.summary(batch_size=args.batch_size)
    return {
        "model": args.model,
        "parameters": model.count_params(),
        "trainable_parameters": sum(w.size for w in model.trainable_weights),
        "layers": [layer.name for layer in model.layers],
        "sha256": weights_digest(model),
    }
