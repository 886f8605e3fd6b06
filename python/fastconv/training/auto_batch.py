"""``batch_size="auto"``: as large as throughput needs and memory allows."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.errors import ArgumentError
from fastconv.execution.devices import has_plans
from fastconv.io.available import available_bytes
from fastconv.training.feeding import narrow
from fastconv.training.step_plans import with_batch

LARGEST = 1024  # beyond, models generalise worse: Keskar et al., ICLR 2017
STEPS = 32  # an epoch should have so many, or few updates are done
WORK = 2_000_000_000  # operations of a step that hide what a step costs besides them
_PROBED = 32  # samples of the plan that tells the work of one
_SHARE = 0.8  # of the available memory

logger = logging.getLogger("fastconv")


def choose(model: Any, x: Any, y: Any, sample_weight: Any) -> int:
    """The largest power of two within three limits, for training on arrays.

    1024; a step of two billion operations, which takes long enough for its fixed costs
    not to count; 32 steps an epoch. Then the plan, with its inputs, must fit into 80 %
    of the memory that is available, by its exact size. Nothing is timed, so that the
    answer is the same each time as long as memory is not short; it is logged.
    """
    parts = [_arrays(v, n) for v, n in ((x, "x"), (y, "y"), (sample_weight, "w"))]
    samples = tree.common_length((parts[0], parts[1], parts[2]), "data")
    plans = model._prepare(tree.slice_rows(parts[0], slice(1)))
    if not has_plans(plans.device):
        raise ArgumentError(
            f"batch_size: 'auto' needs plans, which device {plans.device!r} has not; "
            "give a number"
        )
    given = model._pack(*(tree.slice_rows(part, slice(1)) for part in parts))

    def planned(size: int) -> Any:
        return plans.executable("train", *with_batch(given, size))

    work = sum(line.flops for line in planned(_PROBED).report()) / _PROBED
    limits = (LARGEST, WORK / max(work, 1), samples / STEPS)
    size = _power_of_two(min(limits))
    free = plans.arena.backend.available_bytes
    there = available_bytes() if free is None else free
    room = None if there is None else _SHARE * there + plans.arena.bytes
    while size > 1 and room is not None and _bytes(planned(size)) > room:
        size //= 2
    logger.info(
        "batch_size='auto': %d (%s bytes; limits: %d, %.0f by work, %.0f by samples, "
        "%s bytes)",
        size, f"{_bytes(planned(size)):,}", *limits,
        "unknown" if room is None else f"{room:,.0f}",
    )  # fmt: skip
    return size


def _arrays(value: Any, name: str) -> Any:
    if value is None or isinstance(value, list | tuple | dict | np.ndarray):
        return narrow(tree.to_arrays(value, name))
    if hasattr(value, "__array__"):
        return narrow(tree.to_arrays(value, name))
    raise ArgumentError(
        f"batch_size: 'auto' needs arrays, received a {type(value).__name__} of ready "
        "batches as x"
    )


def _power_of_two(limit: float) -> int:
    """The largest power of two up to ``limit``; at least 1."""
    return 1 << max(0, int(limit).bit_length() - 1)


def _bytes(plan: Any) -> int:
    """Arena and inputs of a plan; the weights are there already."""
    inputs = len(plan.graph.inputs)
    return int(sum(plan.plan.buffer_bytes[: 1 + inputs]))
