"""Engines that only infer, on the ONNX graph of a task; the variant is the engine."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from peer_models.task import Step, Task


def version(variant: str) -> str:
    return importlib.import_module(variant).__version__


def build(task: Task) -> Step:
    x = np.ascontiguousarray(task.images().transpose(0, 3, 1, 2))
    if task.dtype == "int8":
        task = replace(task, graph=_quantized(task, x))
    engine = _onnxruntime if task.variant == "onnxruntime" else _openvino
    return engine(task, x)


def _quantized(task: Task, x: np.ndarray) -> str:
    """The graph with int8 weights, a scale a filter, and uint8 in between."""
    from onnxruntime import quantization

    path = Path(task.graph).with_suffix(".int8.onnx")

    class Images(quantization.CalibrationDataReader):
        given = iter([{"images": x}])

        def get_next(self) -> dict | None:
            return next(self.given, None)

    if not path.exists():
        quantization.quantize_static(
            task.graph, path, Images(), per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
        )  # fmt: skip
    return str(path)


def _onnxruntime(task: Task, x: np.ndarray) -> Step:
    import onnxruntime

    if task.dtype == "bfloat16":
        raise NotImplementedError("no bfloat16 on its CPU provider")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    session = onnxruntime.InferenceSession(
        task.graph, options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"images": x})


def _openvino(task: Task, x: np.ndarray) -> Step:
    import openvino

    precision = {"bfloat16": "bf16"}.get(task.dtype, "f32")
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if task.threads:
        hints["INFERENCE_NUM_THREADS"] = task.threads
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(task.graph), "CPU", hints)
    request = compiled.create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True)
