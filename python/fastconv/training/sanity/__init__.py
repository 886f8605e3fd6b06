"""Checks of data, model and loss before the first epoch."""

from __future__ import annotations

import logging
from typing import Any

from fastconv.data import tree
from fastconv.training.feeding import Epochs
from fastconv.training.sanity import duplicates, inputs, targets
from fastconv.training.sanity.finding import Finding
from fastconv.training.sanity.probe import Probe

__all__ = ["Finding", "check"]

SAMPLES = 1024  # looked at, spread over the data; of them 64 go through the model
BYTES = 1 << 26  # of inputs that are copied for it, unless two samples have more
logger = logging.getLogger("fastconv")


def check(model: Any, data: Epochs, validation: Epochs | None) -> list[Finding]:
    """What looks wrong before ``model`` is trained on ``data``; nothing is changed.

    On up to 1024 samples: inputs that are constant, infinite or badly scaled where the
    first layer with weights reads them, and outputs that do not fit the loss. On all
    targets: labels that are out of range, unused or imbalanced. Training samples that
    are validation samples, too. With a pass of up to 64 samples through the model: an
    initial loss that is not that of guessing, equal predictions for all samples, units
    that never fire, layers without a gradient. What would cost more than about a second
    is left out, as the log says at level DEBUG.

    No random number is drawn; weights, statistics and optimiser stay as they are.
    """
    x, y, _ = data.peek(max(2, min(SAMPLES, BYTES // _row_bytes(data.inputs))))
    if y is None:
        return []
    found = inputs.faults(x)
    model._prepare(x)
    _, aims, _ = model._pack(x, y, None)
    losses, _ = model.compiled_loss.of(model.output_names)
    specs = model.output_specs
    whole = data.targets
    full = aims if whole is None else model._pack(x, whole, None)[1]
    outputs = [
        targets.Output(name, loss, spec, aim, whole is not None)
        for name, loss, spec, aim in zip(
            model.output_names, losses, specs, full, strict=True
        )
        if loss is not None and aim is not None
    ]
    bad = [fault for output in outputs for fault in output.faults()]
    found += bad
    if validation is not None:
        found += duplicates.faults(data.inputs, validation.inputs)
    probe = Probe(model, x, aims, scored=not any(f.check == "labels" for f in bad))
    found += probe.faults(outputs)
    for part in probe.skipped:
        logger.debug("sanity: %s", part)
    return found


def report(found: list[Finding]) -> None:
    """Writes the findings into the log, a warning each."""
    for finding in found:
        logger.warning("sanity: %s", finding.message)


def _row_bytes(x: Any) -> int:
    """Bytes of a sample; 1 for inputs that are not known."""
    return sum(array[:1].nbytes for _, array in tree.leaves(x, "x")) or 1
