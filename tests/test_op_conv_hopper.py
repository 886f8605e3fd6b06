"""Convolutions and matrix products of halves and TF32 on the instructions of sm_90a.

On GPUs without them other kernels compute the same.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv._core import Activation, ConvAttrs, Epilogue, GemmAttrs, OpKind
from fastconv.execution import devices
from fastconv.execution.function import Function
from fastconv.graph.ir import emit
from fastconv.ops.activation import epilogue_shapes
from fastconv.ops.geometry import output_shape, window
from narrowed import narrow, wide

# batch, sizes, channels, filters, window, strides, padding, dilation
CASES = {
    "pointwise": (2, (9, 7), 64, 48, (1, 1), 1, "same", 1),
    "pointwise, one row": (1, (1, 1), 32, 96, (1, 1), 1, "same", 1),
    "pointwise, stride 2": (2, (9, 8), 32, 136, (1, 1), 2, "same", 1),
    "3x3": (2, (13, 11), 24, 40, (3, 3), 1, "same", 1),
    "3x3, several blocks of channels": (1, (8, 8), 136, 72, (3, 3), 1, "same", 1),
    "3x3, stride 2": (2, (15, 14), 72, 64, (3, 3), 2, "same", 1),
    "2x5, stride 4 and 3": (1, (17, 19), 8, 16, (2, 5), (4, 3), "same", 1),
    "stride, one pixel": (2, (1, 5), 8, 16, (1, 3), (3, 2), "same", 1),
    "3x1, padded on one side": (1, (12, 9), 8, 8, (3, 1), 1, [(2, 0), (0, 3)], 1),
    "cropped": (2, (12, 10), 16, 8, (2, 2), 1, [(-1, 0), (0, -2)], 1),
    "dilated": (1, (12, 13), 16, 24, (3, 3), 1, "same", (2, 3)),
    "line": (3, (40,), 16, 24, (5,), 1, "causal", 1),
    "pointwise volume": (2, (3, 4, 5), 8, 16, (1, 1, 1), 1, "same", 1),
}


def attributes(case, epilogue=None):
    """The attributes of a case, and the shapes of src, weights and dst."""
    n, sizes, c, k, kernel, strides, padding, dilation = case
    src = (n, *sizes, c)
    geometry = window(
        "conv", src, kernel, out_channels=k, strides=strides, padding=padding,
        dilation=dilation,
    )  # fmt: skip
    attrs = ConvAttrs(geometry=geometry, epilogue=epilogue or Epilogue())
    return attrs, (src, (*kernel, c, k), output_shape(geometry, len(sizes)))


def directions(attrs, into, back):
    """The three directions, of tensors that `into` casts; `back` casts results."""

    def run(src, weights, ddst):
        src, weights, ddst = into(src), into(weights), into(ddst)
        made = [
            emit(OpKind.conv, attrs, src, weights)[0],
            emit(OpKind.conv_backward_data, attrs, ddst, weights)[0],
        ]
        return [
            *map(back, made),
            emit(OpKind.conv_backward_weights, attrs, src, ddst)[0],
        ]

    return run


def signs(seed, *shapes):
    """-1, 0 and 1: sums of these are exact in halves as long as they are small."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-1, 2, shape).astype(np.float32) for shape in shapes]


def unchanged(tensor):
    return tensor


def to_float16(tensor):
    return ops.cast(tensor, "float16")


CASTS = {
    "bfloat16": (narrow, wide), "float16": (to_float16, wide),
    "tf32": (unchanged, unchanged),
}  # fmt: skip
OPERANDS = pytest.mark.parametrize("of", CASTS)


def check(gpu, reference, case, of, seed=0):
    attrs, shapes = attributes(case)
    arrays = signs(seed, *shapes)
    run = directions(attrs.replace(tf32=int(of == "tf32")), *CASTS[of])
    actual = gpu.run(run, *arrays)
    expected = reference(directions(attrs, unchanged, unchanged), *arrays)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)


@OPERANDS
@pytest.mark.parametrize("name", CASES)
def test_conv_in_every_direction(gpu, reference, name, of):
    check(gpu, reference, CASES[name], of)


# Large enough for each size of tiles: the cut follows from the problem alone.
TILES = {
    "256 x 128": (1, (150, 112), 16, 128, (1, 1), 1, "same", 1),
    "256 x 64": (1, (184, 184), 8, 64, (1, 1), 1, "same", 1),
    "128 x 128, split": (1, (9, 9), 256, 128, (3, 3), 1, "same", 1),
}


@OPERANDS
@pytest.mark.parametrize("name", TILES)
def test_sizes_of_tiles(gpu, reference, name, of):
    check(gpu, reference, TILES[name], of)


@settings(max_examples=25)
@given(st.data())
def test_any_sizes(gpu, reference, data):
    def draw(most, least=1):
        return data.draw(st.integers(least, most))

    kernel = (draw(4), draw(4))
    dilation = (draw(3), draw(3))
    sizes = tuple(d * (k - 1) + draw(9) for k, d in zip(kernel, dilation, strict=True))
    padding = [(draw(2, 0), draw(2, 0)), (draw(2, 0), draw(2, 0))]
    case = (
        draw(3), sizes, 8 * draw(12), 8 * draw(20), kernel, draw(3), padding, dilation
    )  # fmt: skip
    check(gpu, reference, case, data.draw(st.sampled_from(list(CASTS))), draw(1000))


FLAGS = [
    {"add": 1},
    {"scale": 1, "bias": 1, "add": 1, "activation": Activation.relu},
    {"add": 1, "activation": Activation.relu6},
    {"bias": 1, "add": 1, "activation": Activation.leaky_relu, "alpha": 0.5},
    {"derivative": 1, "activation": Activation.relu},
    {"bias": 1, "activation": Activation.hard_tanh},
    {"add": 1, "derivative": 1, "activation": Activation.hard_tanh},
]


@OPERANDS
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", [OpKind.conv, OpKind.conv_backward_data])
@pytest.mark.parametrize("name", ["3x3", "pointwise, stride 2"])
def test_epilogues(gpu, reference, name, kind, flags, of):
    epilogue = Epilogue(**flags)
    attrs, (src, weights, dst) = attributes(CASES[name], epilogue)
    attrs = attrs.replace(tf32=int(of == "tf32"))
    read, made = (src, dst) if kind == OpKind.conv else (dst, src)
    arrays = signs(4, read, weights, *epilogue_shapes(epilogue, made))
    vectors = 2 + epilogue.scale + epilogue.bias

    def run(into, back):
        def product(*operands):
            cast = [t if 2 <= i < vectors else into(t) for i, t in enumerate(operands)]
            return back(emit(kind, attrs, *cast)[0])

        return product

    [actual] = gpu.run(run(*CASTS[of]), *arrays)
    [expected] = reference(run(unchanged, unchanged), *arrays)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("m", "k", "n"), [(64, 32, 48), (200, 264, 72), (1, 8, 1000)])
@OPERANDS
@pytest.mark.parametrize("transposed", ["neither", "b"])
def test_matrix_products(gpu, reference, m, k, n, transposed, of):
    into, back = CASTS[of]
    turned = transposed == "b"
    a, b = signs(7, (m, k), (n, k) if turned else (k, n))
    attrs = GemmAttrs(batch=1, m=m, n=n, k=k, transpose_b=int(turned))
    attrs = attrs.replace(tf32=int(of == "tf32"))
    [actual] = gpu.run(
        lambda a, b: back(emit(OpKind.gemm, attrs, into(a), into(b))[0]), a, b
    )
    np.testing.assert_array_equal(actual, a @ (b.T if turned else b))


def test_gradient_of_a_matrix(gpu):
    a, b = signs(8, (300, 72), (300, 136))
    attrs = GemmAttrs(batch=1, m=72, n=136, k=300, transpose_a=1)
    [actual] = gpu.run(
        lambda a, b: emit(OpKind.gemm, attrs, narrow(a), narrow(b))[0], a, b
    )
    np.testing.assert_array_equal(actual, a.T @ b)


def test_infinity_reaches_the_outputs_that_read_it(gpu, reference):
    attrs, (src, weights, _) = attributes(CASES["3x3, stride 2"])
    one, ones = np.zeros(src, np.float32), np.ones(weights, np.float32)
    one[0, 4, 4, 7] = 1
    [y] = gpu.run(
        lambda x, w: wide(emit(OpKind.conv, attrs, narrow(x), narrow(w))[0]),
        np.where(one, np.float32(np.inf), 1), ones,
    )  # fmt: skip
    [reads] = reference(lambda x, w: emit(OpKind.conv, attrs, x, w)[0], one, ones)
    np.testing.assert_array_equal(~np.isfinite(y), reads > 0)


@pytest.mark.parametrize("name", ["pointwise", "3x3", "3x3, stride 2"])
def test_the_emulated_gpu_has_the_instructions(gpu, name):
    if devices.backend_of("cuda").detail != "emulated":
        pytest.skip("needs the emulated GPU")
    attrs, shapes = attributes(CASES[name])
    arrays, run = signs(0, *shapes), directions(attrs, narrow, wide)
    steps = gpu.function(run).explain(*arrays)
    assert {s.kernel for s in steps if s.op.startswith("conv")} == {"hopper"}
    steps = Function(run, "cuda:1").explain(*arrays)
    assert "hopper" not in {s.kernel for s in steps}
