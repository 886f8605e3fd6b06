"""The models as ONNX graphs, for engines that only infer; the variant is the engine."""

import importlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from peer_models.task import CLASSES, INPUTS, Step, Task


class _Net:
    """A chain of nodes with random weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(2)

    def add(self, op: str, *shapes: tuple[int, ...], **attributes: object) -> None:
        """A node on the result of the last one, with weights of these shapes."""
        at = len(self.nodes)
        names = [f"w{at}_{i}" for i in range(len(shapes))]
        for name, shape in zip(names, shapes, strict=True):
            values = 0.1 * self.rng.standard_normal(shape, np.float32)
            self.weights.append(numpy_helper.from_array(values, name))
        inputs = [f"t{at}", *names]
        self.nodes.append(helper.make_node(op, inputs, [f"t{at + 1}"], **attributes))

    def conv(self, c: int, k: int, size: int) -> None:
        self.add("Conv", (k, c, size, size), (k,), kernel_shape=[size, size])
        self.add("Relu")

    def dense(self, c: int, k: int) -> None:
        self.add("Gemm", (c, k), (k,))

    def pool(self) -> None:
        self.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])


def lenet(net: _Net) -> None:
    net.conv(1, 6, 5)
    net.pool()
    net.conv(6, 16, 5)
    net.pool()
    net.conv(16, 120, 5)
    net.add("Flatten")
    net.dense(120, 84)
    net.add("Relu")
    net.dense(84, 10)
    net.add("Softmax", axis=-1)


MODELS = {"lenet": lenet}


def version(variant: str) -> str:
    return importlib.import_module(variant).__version__


def build(task: Task) -> Step:
    if task.mode != "infer":
        raise NotImplementedError("it does not train")
    net = _Net()
    MODELS[task.model](net)
    h, w, c = INPUTS[task.model]
    make = helper.make_tensor_value_info
    source = make("t0", TensorProto.FLOAT, [task.batch, c, h, w])
    result = make(
        f"t{len(net.nodes)}", TensorProto.FLOAT, [task.batch, CLASSES[task.model]]
    )
    graph = helper.make_graph(net.nodes, task.model, [source], [result], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    x = np.ascontiguousarray(task.images().transpose(0, 3, 1, 2))
    engine = _onnxruntime if task.variant == "onnxruntime" else _openvino
    return engine(model.SerializeToString(), x, task.dtype)


def _onnxruntime(model: bytes, x: np.ndarray, dtype: str) -> Step:
    import onnxruntime

    if dtype == "bfloat16":
        raise NotImplementedError("no bfloat16 on its CPU provider")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"t0": x})


def _openvino(model: bytes, x: np.ndarray, dtype: str) -> Step:
    import openvino

    precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model),
        "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"},
    )
    request = compiled.create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True)
