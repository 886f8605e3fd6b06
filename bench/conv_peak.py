"""Convolution in all directions as a share of the machine's multiply-add peak.

    python bench/conv_peak.py 4x56x56x256 256 3
    python bench/conv_peak.py 64x32x32x1 6 5 --padding valid

The first argument is the shape of the input, N [D] [H] W C; then the number of filters
and the size of the window.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv import _core

sys.path.insert(0, str(Path(__file__).parent))
from machine import Load


def directions(chosen: argparse.Namespace) -> fc.Function:
    """Forward, data gradient and weight gradient as one function."""

    def run(src, weights, ddst):
        dst = fc.ops.conv(
            src, weights, strides=chosen.stride, padding=chosen.padding,
            dilation_rate=chosen.dilation, groups=chosen.groups,
        )  # fmt: skip
        return dst, *fc.grad(dst, [src, weights], ddst)

    return fc.function(run)


def arrays(chosen: argparse.Namespace) -> list[np.ndarray]:
    """Input, weights and the gradient of the output."""
    src = tuple(map(int, chosen.input.split("x")))
    kernel = (chosen.kernel,) * (len(src) - 2)
    weights = (*kernel, src[-1] // chosen.groups, chosen.filters)
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape, np.float32) for shape in (src, weights)]
    dst = fc.ops.conv(
        *values, strides=chosen.stride, padding=chosen.padding,
        dilation_rate=chosen.dilation, groups=chosen.groups,
    )  # fmt: skip
    return [*values, rng.standard_normal(dst.shape, np.float32)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("input", help="shape of the input, such as 4x56x56x256")
    parser.add_argument("filters", type=int)
    parser.add_argument("kernel", type=int)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--padding", choices=("same", "valid"), default="same")
    parser.add_argument("--dilation", type=int, default=1)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    values = arrays(chosen)
    plan = directions(chosen).compile(*values)
    load = Load([])
    peak = _core.measure_peak(1.0)
    times = np.median(
        [plan.profile(values) for _ in range(chosen.rounds + 1)][1:], axis=0
    )
    after = _core.measure_peak(1.0)  # of two, the better: it is the least disturbed
    best = max(peak["gflops"], after["gflops"])
    print(f"peak {best:.0f} GFLOP/s, {peak['threads']} threads, {_core.active_isa()}")
    for step, nanoseconds in zip(plan.report(), times, strict=True):
        if step.op.startswith("conv"):
            rate = step.flops / nanoseconds
            print(
                f"{step.op:22} {step.kernel:16} {nanoseconds / 1e6:9.3f} ms "
                f"{rate:8.1f} GFLOP/s {rate / best:6.1%} of peak"
            )
    print(f"other processes used {load.others():.1%} of the CPUs")


if __name__ == "__main__":
    main()
