"""One convolution in one direction, in fastconv and in PyTorch: see op_worker.py.

`build_LIBRARY(problem, direction, layout)` gives a function that runs it once and
returns its milliseconds, and the kernels that run, as far as they are known.
"""

import math
import time
from collections.abc import Callable

import numpy as np
from problems import Problem

DIRECTIONS = ("forward", "backward_data", "backward_weights")
Step = Callable[[], float]


def output(problem: Problem) -> tuple[int, ...]:
    """The sizes of the result by axis."""
    sizes = (problem.sizes(key) for key in "iwsd")
    return tuple(
        (i + sum(pad) - d * (w - 1) - 1) // s + 1
        for i, w, s, d, pad in zip(*sizes, problem.padding, strict=True)
    )


def flops(problem: Problem) -> int:
    """Of any direction: two for each multiply-add."""
    filters = problem["k"] * problem["c"] // problem["g"]
    return 2 * problem["n"] * filters * math.prod(output(problem) + problem.sizes("w"))


def operands(problem: Problem) -> list[np.ndarray]:
    """Input, weights and gradient of the output, channels last."""
    depth = problem["c"] // problem["g"]
    shapes = (
        (problem["n"], *problem.sizes("i"), problem["c"]),
        (*problem.sizes("w"), depth, problem["k"]),
        (problem["n"], *output(problem), problem["k"]),
    )
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def build_fastconv(problem: Problem, direction: str, layout: str) -> tuple[Step, str]:
    """The step of a plan as the plan profiles it: a network is one plan."""
    import fastconv as fc

    def run(src, weights, ddst):
        dst = fc.ops.conv(
            src, weights, strides=problem.sizes("s"), padding=problem.padding,
            dilation_rate=problem.sizes("d"), groups=problem["g"],
        )  # fmt: skip
        if direction == "forward":
            return dst
        return fc.grad(dst, [src if direction == "backward_data" else weights], ddst)

    arrays = operands(problem)
    plan = fc.function(run).compile(*arrays)
    kernels = ", ".join(step.kernel for step in plan.report() if step.kernel)
    return lambda: sum(plan.profile(arrays)) / 1e6, kernels


def build_torch(problem: Problem, direction: str, layout: str) -> tuple[Step, str]:
    """PyTorch's operator; unequal padding is put around the input beforehand."""
    import torch

    src, weights, ddst = (torch.from_numpy(a) for a in operands(problem))
    padding = [before for before, _ in problem.padding]
    src, ddst = torch.movedim(src, -1, 1), torch.movedim(ddst, -1, 1)
    if any(before != after for before, after in problem.padding):
        sides = [n for pair in reversed(problem.padding) for n in pair]
        src, padding = torch.nn.functional.pad(src, sides), [0] * len(padding)
    weights = weights.permute(-1, -2, *range(weights.ndim - 2))
    form = torch.contiguous_format
    if layout == "channels_last":
        form = torch.channels_last if src.ndim == 4 else torch.channels_last_3d
    src, weights, ddst = (
        tensor.contiguous(memory_format=form) for tensor in (src, weights, ddst)
    )
    options = (problem.sizes("s"), padding, problem.sizes("d"), False,
               [0] * len(padding), problem["g"])  # fmt: skip
    mask = [direction == name for name in (*DIRECTIONS[1:], "bias")]

    backward = torch.ops.aten.convolution_backward

    @torch.inference_mode()
    def step() -> float:
        start = time.perf_counter()
        if direction == "forward":
            torch.convolution(src, weights, None, *options)
        else:
            backward(ddst, src, weights, None, *options, mask)
        return 1e3 * (time.perf_counter() - start)

    return step, ""
