"""The models in PyTorch, torchvision's where it has them; variants: memory formats."""

import contextlib
import importlib

import torch
from torch import nn

from peer_models.task import MODELS, MOMENTUM, RATE, UNET_MAPS, Step, Task


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def smallnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(7200, 512), nn.Sigmoid(), nn.Linear(512, 10),
    )  # fmt: skip


class UNet(nn.Module):
    """As `fastconv.models.UNet`."""

    def __init__(self, name: str = "unet") -> None:
        super().__init__()
        ((*_, channels), classes), maps = MODELS[name], UNET_MAPS[name]
        sizes = zip((channels, *maps), maps, strict=False)
        self.down = nn.ModuleList(self._twice(c, k) for c, k in sizes)
        pairs = [*zip(maps[1:], maps, strict=False)][::-1]
        self.wider = nn.ModuleList(nn.ConvTranspose2d(c, k, 2, 2) for c, k in pairs)
        self.up = nn.ModuleList(self._twice(2 * k, k) for _, k in pairs)
        self.head = nn.Conv2d(maps[0], classes, 1)

    @staticmethod
    def _twice(c: int, k: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(c, k, 3, padding=1), nn.ReLU(),
            nn.Conv2d(k, k, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, twice in enumerate(self.down):
            if level:
                x = nn.functional.max_pool2d(x, 2)
            x = twice(x)
            kept.append(x)
        for wider, twice, beside in zip(self.wider, self.up, kept[-2::-1], strict=True):
            x = twice(torch.cat([beside, wider(x)], 1))
        return self.head(x)


_OWN = {"lenet": lenet, "smallnet": smallnet}
_VISION = {"mobilenetv2": "mobilenet_v2", "squeezenet": "squeezenet1_1"}
_PLAIN = {"googlenet": {"aux_logits": False, "init_weights": False}}


def make(name: str) -> nn.Module:
    if name in UNET_MAPS:
        return UNet(name)
    if name in _OWN:
        return _OWN[name]()
    if torch.version.cuda is None:
        _declare_operators()
    models = importlib.import_module("torchvision.models")
    make_one = getattr(models, _VISION.get(name, name))
    return make_one(weights=None, **_PLAIN.get(name, {}))


def _declare_operators() -> None:
    """Those of torchvision that no model here needs; its own do not fit this torch."""
    with contextlib.suppress(RuntimeError):
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor"
            )


def version() -> str:
    return torch.__version__


def build(task: Task) -> Step:
    if task.threads:
        torch.set_num_threads(task.threads)
    layout = getattr(torch, f"{task.variant}_format", None) or torch.channels_last
    model = make(task.model).to(memory_format=layout)
    x = torch.from_numpy(task.images()).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=layout)
    step = _train if task.mode == "train" else _infer
    return step(model, x, torch.from_numpy(task.labels()), task.dtype)


def _precision(dtype: str) -> contextlib.AbstractContextManager:
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast("cpu", torch.bfloat16)


def _train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, dtype: str) -> Step:
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    loss_of = nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        with _precision(dtype):
            loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _infer(model: nn.Module, x: torch.Tensor, y: torch.Tensor, dtype: str) -> Step:
    model.eval()

    def step() -> object:
        with torch.inference_mode(), _precision(dtype):
            return model(x).float().softmax(1).numpy()

    return step


def export(task: Task) -> None:
    """Writes the model as an ONNX graph to ``task.graph``, for other libraries.

    For inference its normalisations are folded, and probabilities come out.
    """
    model = make(task.model)
    mode = torch.onnx.TrainingMode.TRAINING
    if task.mode == "infer":
        model = nn.Sequential(model, nn.Softmax(1)).eval()
        mode = torch.onnx.TrainingMode.EVAL
    x = torch.from_numpy(task.images()).permute(0, 3, 1, 2).contiguous()
    torch.onnx.export(
        model, (x,), task.graph, input_names=["images"], dynamo=False, training=mode,
        do_constant_folding=task.mode == "infer",
    )  # fmt: skip
