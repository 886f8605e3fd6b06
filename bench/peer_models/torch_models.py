"""The models in PyTorch; the variants are memory formats."""

import contextlib

import torch
from torch import nn

from peer_models.task import MOMENTUM, RATE, Step, Task


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


MODELS = {"lenet": lenet}


def version() -> str:
    return torch.__version__


def build(task: Task) -> Step:
    layout = getattr(torch, f"{task.variant}_format", None) or torch.channels_last
    model = MODELS[task.model]().to(memory_format=layout)
    x = torch.from_numpy(task.images()).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=layout)
    make = _train if task.mode == "train" else _infer
    return make(model, x, torch.from_numpy(task.labels()), task.dtype)


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
            return model(x).float().softmax(-1).numpy()

    return step
