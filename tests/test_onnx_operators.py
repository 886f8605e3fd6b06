"""Every operator that is read, against ONNX Runtime; and written again, the same."""

import numpy as np
import pytest

import fastconv as fc
from onnx_files import difference, first, last, node, runtime, write

pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(0)
IMAGE = (2, 6, 8, 10)


def f(*shape):
    return RNG.normal(size=shape).astype("f4")


def whole(*numbers):
    return np.array(numbers, np.int64)


def one(op, inputs="x", arrays=(), shape=IMAGE, opset=18, **attrs):
    """A graph of one node."""
    return [node(op, inputs, "y", **attrs)], shape, arrays, opset


def several(*nodes, arrays=(), shape=IMAGE, opset=18):
    made = [node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes]
    return made, shape, arrays, opset


POSITIVE = ("Abs", "x", "a")
NORM = {"a": f(6), "b": f(6), "m": f(6), "v": np.abs(f(6)) + 0.1}
CASES = {
    **{op: one(op) for op in (
        "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Neg", "Abs", "Exp", "Floor",
        "Ceil", "Round", "Sign", "Sin", "Cos", "Erf", "HardSwish", "Mish", "LeakyRelu",
        "Elu", "Celu", "Selu", "HardSigmoid", "GlobalAveragePool", "GlobalMaxPool",
        "GlobalLpPool", "Identity", "Softmax", "Flatten",
    )},
    "log": several(("Exp", "x", "a"), ("Log", "a", "y")),
    "sqrt": several(POSITIVE, ("Sqrt", "a", "y")),
    "reciprocal": several(("Exp", "x", "a"), ("Reciprocal", "a", "y")),
    "gelu": one("Gelu", opset=20),
    "gelu tanh": one("Gelu", opset=20, approximate="tanh"),
    "prelu": one("PRelu", "x s", {"s": f(6, 1, 1)}),
    "relu6": one("Clip", "x a b", {"a": np.float32(0), "b": np.float32(6)}),
    "clip below": one("Clip", "x a", {"a": np.float32(-0.5)}),
    "clip 7": one("Clip", opset=7, min=-1.0, max=0.5),
    "softmax channels": one("Softmax", axis=1),
    "softmax 7": one("Softmax", shape=(2, 7), opset=7),
    "log softmax": one("LogSoftmax", axis=1),
    # windows
    "conv": one("Conv", "x w b", {"w": f(4, 6, 3, 3), "b": f(4)}, strides=[2, 1],
                pads=[1, 0, 2, 3], dilations=[1, 2]),
    "conv lower": one("Conv", "x w", {"w": f(9, 2, 4, 3)}, group=3, strides=[2, 2],
                      auto_pad="SAME_LOWER"),
    "conv upper": one("Conv", "x w", {"w": f(6, 1, 4, 3)}, group=6, strides=[2, 2],
                      auto_pad="SAME_UPPER"),
    "conv 1d": one("Conv", "x w", {"w": f(4, 6, 3)}, (2, 6, 9)),
    "conv 3d": one("Conv", "x w", {"w": f(4, 3, 3, 3, 3)}, (2, 3, 5, 6, 7),
                   pads=[1] * 6),
    "deconv": one("ConvTranspose", "x w b", {"w": f(6, 4, 3, 3), "b": f(4)},
                  strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2]),
    "deconv even": one("ConvTranspose", "x w", {"w": f(6, 4, 4, 4)}, strides=[2, 2],
                       pads=[1, 1, 1, 1]),
    "deconv dilated": one("ConvTranspose", "x w", {"w": f(6, 4, 2, 2)},
                          strides=[2, 2], dilations=[2, 1]),
    "max pool": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "max pool up": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool up, pads": one("MaxPool", kernel_shape=[2, 2], strides=[3, 3],
                             pads=[1] * 4, ceil_mode=1),
    "max pool dilated": one("MaxPool", kernel_shape=[3, 3], dilations=[2, 2]),
    "mean pool": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "mean pool whole": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2],
                           pads=[1] * 4, count_include_pad=1),
    "mean pool up": one("AveragePool", kernel_shape=[3, 3], strides=[2, 2],
                        ceil_mode=1),
    "mean pool lower": one("AveragePool", kernel_shape=[2, 3], auto_pad="SAME_LOWER"),
    "lp pool": one("LpPool", kernel_shape=[3, 3], p=3),
    # normalisation
    "lrn": one("LRN", size=3, alpha=0.3, beta=0.5, bias=1.5),
    "batch norm": one("BatchNormalization", "x a b m v", NORM, epsilon=1e-2),
    "batch norm of rows": one("BatchNormalization", "x a b m v", NORM, (3, 6)),
    "instance norm": one("InstanceNormalization", "x a b", NORM),
    "group norm": one("GroupNormalization", "x a b", NORM, opset=21, num_groups=3),
    "layer norm": one("LayerNormalization", "x a b", NORM, (2, 5, 6), axis=-1),
    "layer norm of two axes": one("LayerNormalization", "x a", {"a": f(5, 6)},
                                  (2, 5, 6), axis=1),
    # products
    "gemm": one("Gemm", "x w b", {"w": f(6, 4), "b": f(4)}, (3, 6), alpha=0.5,
                beta=2.0),
    "gemm transposed": one("Gemm", "x w b", {"w": f(4, 6), "b": f(1, 4)}, (3, 6),
                           transB=1),
    "rows of maps": several(
        ("Conv", "x k", "c"), ("Flatten", "c", "a"), ("Dropout", "a", "d"),
        ("Gemm", "d w b", "y", {"transB": 1}),
        arrays={"k": f(4, 6, 3, 3), "w": f(4, 192), "b": f(4)}),
    "rows of maps, out": several(
        ("Conv", "x k", "c"), ("Flatten", "c", "y"), arrays={"k": f(4, 6, 3, 3)}),
    "matmul and bias": several(
        ("MatMul", "x w", "a"), ("Add", "a b", "y"), shape=(3, 6),
        arrays={"w": f(6, 4), "b": f(4)}),
    "matmul of a sequence": one("MatMul", "x w", {"w": f(6, 4)}, (3, 5, 6)),
    "matmul with itself": several(
        ("Transpose", "x", "t", {"perm": [0, 2, 1]}), ("MatMul", "x t", "y"),
        shape=(3, 5, 6)),
    # with weights and constants
    **{f"{op} {name}": several(POSITIVE, (op, "a c", "y"), arrays={"c": c})
       for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
       for name, c in (("channels", np.abs(f(6, 1, 1)) + 0.5), ("all", f(1, 6, 8, 10)),
                       ("number", np.float32(1.5)))
       if (op, name) != ("Pow", "all")},
    "subtract from": one("Sub", "c x", {"c": f(6, 1, 1)}),
    "sum": one("Sum", "x x c", {"c": f(6, 1, 1)}),
    "mean": one("Mean", "x c", {"c": f(6, 1, 1)}),
    "greater": several(("Greater", "x c", "g"), ("Cast", "g", "y", {"to": 1}),
                       arrays={"c": np.float32(0.2)}),
    "where": several(("Less", "x c", "g"), ("Not", "g", "q"), ("Where", "q x c", "y"),
                     arrays={"c": np.float32(0.2)}),
    "squeeze and excite": several(
        ("ReduceMean", "x", "a", {"axes": [2, 3], "keepdims": 0}),
        ("Gemm", "a w", "g"), ("Sigmoid", "g", "s"), ("Unsqueeze", "s i", "u"),
        ("Mul", "x u", "y"), arrays={"w": f(6, 6), "i": whole(2, 3)}, opset=13),
    # reductions
    **{f"{op} {axis} {keep}": one(op, "x a", {"a": whole(axis)}, keepdims=keep)
       for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1",
                  "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
       for axis in (1, -1) for keep in (0, 1)},
    "reduce 13": one("ReduceMax", opset=13, axes=[2, 3]),
    "arg max": several(("ArgMax", "x", "g", {"axis": 1}),
                       ("Cast", "g", "y", {"to": 1})),
    # shapes
    "view": several(
        ("Shape", "x", "s"), ("Gather", "s z", "b"), ("Unsqueeze", "b i", "u"),
        ("Concat", "u m", "t", {"axis": 0}), ("Reshape", "x t", "y"),
        arrays={"z": np.int64(0), "i": whole(0), "m": whole(-1)}),
    "reshape": one("Reshape", "x t", {"t": whole(0, 3, -1)}),
    "shuffle": several(
        ("Reshape", "x t", "a"), ("Transpose", "a", "b", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", "b u", "y"),
        arrays={"t": whole(0, 2, 3, 8, 10), "u": whole(0, 6, 8, 10)}),
    "transpose": one("Transpose", perm=[0, 2, 1, 3]),
    "squeeze": several(("GlobalAveragePool", "x", "a"), ("Squeeze", "a i", "y"),
                       arrays={"i": whole(2, 3)}),
    "squeeze 7": several(("GlobalAveragePool", "x", "a"),
                         ("Squeeze", "a", "y", {"axes": [2, 3]}), opset=7),
    "concat": one("Concat", "x x", axis=1),
    "slice": one("Slice", "x s e a t", {"s": whole(1, -1), "e": whole(5, -(1 << 62)),
                                        "a": whole(1, 3), "t": whole(2, -1)}),
    "slice 7": one("Slice", opset=7, axes=[2, 1], starts=[1, 0], ends=[9, -1]),
    "split": several(("Split", "x s", "a b", {"axis": 1}),
                     ("Concat", "b a", "y", {"axis": 1}), arrays={"s": whole(2, 4)}),
    "split 18": several(("Split", "x", "a b", {"axis": 1, "num_outputs": 2}),
                        ("Mul", "b a", "y")),
    "gather": one("Gather", "x i", {"i": whole(2, 4, -1)}, axis=1),
    "gather one": one("Gather", "x i", {"i": np.int64(2)}, axis=2),
    "pad": one("Pad", "x p v", {"p": whole(0, 0, 1, 2, 0, 0, 3, 0),
                                "v": np.float32(2.5)}),
    "pad reflect": one("Pad", "x p", {"p": whole(0, 0, 1, 2, 0, 0, 3, 0)},
                       mode="reflect"),
    "pad edge": one("Pad", "x p", {"p": whole(0, 0, 1, 2, 0, 0, 3, 0)}, mode="edge"),
    "pad less": one("Pad", "x p", {"p": whole(0, 0, -1, 2, 0, 0, 3, -2)}),
    "pad 7": one("Pad", opset=7, pads=[0, 1, 0, 0, 0, 0, 0, 2], value=1.5),
    "expand": several(("GlobalMaxPool", "x", "a"), ("Expand", "a s", "y"),
                      arrays={"s": whole(1, 6, 4, 3)}),
    "tile": one("Tile", "x s", {"s": whole(1, 2, 1, 3)}),
    "depth to space": one("DepthToSpace", shape=(2, 12, 4, 5), blocksize=2),
    "depth to space crd": one("DepthToSpace", shape=(2, 12, 4, 5), blocksize=2,
                              mode="CRD"),
    "space to depth": one("SpaceToDepth", blocksize=2),
    # interpolation
    "upsample 7": one("Upsample", opset=7, scales=[1.0, 1.0, 2.0, 3.0]),
    "upsample 9": one("Upsample", "x s", {"s": np.array([1, 1, 2, 2], "f4")}, opset=9,
                      mode="linear"),
    "resize 10": one("Resize", "x s", {"s": np.array([1, 1, 2, 2], "f4")}, opset=10),
    "resize to": one("Resize", "x - - s", {"s": whole(2, 6, 5, 21)}, mode="linear"),
    **{f"resize {mode} {how} {scale}": one(
        "Resize", "x - s", {"s": np.array([1, 1, *scale], "f4")}, opset=19, mode=mode,
        coordinate_transformation_mode=how)
       for mode in ("nearest", "linear", "cubic")
       for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel",
                   "half_pixel_symmetric")
       for scale in ((2, 2), (0.5, 1.7))},
    **{f"resize {how}": one("Resize", "x - s", {"s": np.array([1, 1, 1.6, 0.7], "f4")},
                            nearest_mode=how)
       for how in ("floor", "ceil", "round_prefer_ceil")},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operator(case, tmp_path):
    nodes, shape, arrays, opset = CASES[case]
    path = write(tmp_path / "a.onnx", nodes, (0, *shape[1:]), arrays, opset)
    x = f(*shape)
    expected = runtime(path, x)
    model = fc.onnx.load(path)
    images = model.input_shape[1:] != shape[1:] or len(shape) > 3
    y = model.predict(last(x) if images else x, verbose=0)
    got = first(y) if difference_of_forms(y, expected) else y
    assert difference(got, expected) < 1e-5
    model.export(tmp_path / "b.onnx", opset=20)
    given = first(last(x) if images else x)
    assert difference(runtime(tmp_path / "b.onnx", given), first(y)) < 1e-5


def difference_of_forms(y, expected):
    """Whether the result is channels last, where the file has channels first."""
    if y.shape != expected.shape:
        return True
    return y.ndim > 2 and not np.allclose(y, expected, rtol=1e-4, atol=1e-4)
