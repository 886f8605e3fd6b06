"""ONNX files made by hand, and what ONNX Runtime makes of them."""

import numpy as np
import pytest

from fastconv.weights.onnx import proto
from fastconv.weights.onnx.tensors import from_array
from fastconv.weights.onnx.wire import encode


def attribute(name, value):
    made = proto.Attribute(name=name)
    kind = next(
        number
        for number, types in (
            (1, float), (2, int), (3, str), (4, np.ndarray), (6, "floats"), (7, "ints")
        )
        if (isinstance(value, types) if isinstance(types, type) else
            types == ("floats" if isinstance(value[0], float) else "ints"))
    )  # fmt: skip
    value = value.encode() if kind == 3 else value
    value = from_array(value) if kind == 4 else value
    setattr(made, proto.ATTRIBUTES[kind], value)
    made.type = kind
    return made


def node(op, inputs, outputs, name="", domain="", **attrs):
    """A node; inputs and outputs are names with spaces between, "-" for none."""
    return proto.Node(
        input=[n if n != "-" else "" for n in inputs.split()],
        output=outputs.split(),
        op_type=op,
        name=name,
        domain=domain,
        attribute=[attribute(k, v) for k, v in attrs.items()],
    )


def value(name, shape, dtype=1):
    dims = [
        proto.Dimension(dim_value=n) if n else proto.Dimension(dim_param="n")
        for n in shape
    ]
    kind = proto.TensorType(elem_type=dtype, shape=proto.Shape(dim=dims))
    return proto.Value(name=name, type=proto.Type(tensor_type=kind))


def message(nodes, shape=(0, 3, 8, 8), arrays=(), opset=18, outputs="y"):
    """A model of an input x."""
    initializers = [
        a if isinstance(a, proto.Tensor) else from_array(np.asarray(a), name)
        for name, a in dict(arrays).items()
    ]
    graph = proto.Graph(
        node=nodes,
        name="g",
        initializer=initializers,
        input=[value("x", shape)],
        output=[proto.Value(name=n) for n in outputs.split()],
    )
    kind = proto.Opset(version=opset)
    return proto.Model(ir_version=8, graph=graph, opset_import=[kind])


def write(path, *args, **kwargs):
    """The path of a file with such a model."""
    path.write_bytes(encode(message(*args, **kwargs)))
    return path


def runtime(path, *arrays):
    """The first output that ONNX Runtime computes of arrays."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [given.name for given in session.get_inputs()]
    given = {n: np.ascontiguousarray(a) for n, a in zip(names, arrays, strict=True)}
    return session.run(None, given)[0]


def first(x):
    """Channels first."""
    return np.moveaxis(x, -1, 1) if x.ndim > 2 else x


def last(x):
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim > 2 else x


def difference(a, b):
    """The largest difference, relative to the largest value."""
    assert a.shape == b.shape
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)
