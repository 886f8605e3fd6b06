"""fastconv on a GPU, alternately with PyTorch if that is installed: steps of networks.

    python bench/gpu.py [--out FILE] [ROW ...]        rows: train/resnet50, infer/*

Images come from host memory in each step, and a step ends when the loss, or the
probabilities, are there. PyTorch runs channels-last with autotuned algorithms, in
float32 proper and with TF32; the ratio is to its float32. The rows are printed and
written as JSON, with the memory that fastconv's plan needs and the most PyTorch took.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
from peer_models.fastconv_models import model_of
from peer_models.task import MOMENTUM, RATE, Task

import fastconv as fc
from fastconv.execution.devices import backend_of
from fastconv.training import plan_report

ROWS = (
    ("lenet", 64), ("alexnet", 128), ("vgg16", 32), ("googlenet", 64),
    ("resnet50", 64), ("mobilenetv2", 64), ("densenet121", 32), ("unet", 16),
)  # fmt: skip
ROUNDS, SECONDS = 3, 0.4


def ours(task: Task):
    """A step of fastconv, and the bytes of its plan."""
    model = model_of(task)
    model.compile(
        fc.optimizers.SGD(RATE, momentum=MOMENTUM),
        "sparse_categorical_crossentropy",
        device="cuda",
    )
    x, y = task.images(), task.labels()
    training = task.mode == "train"
    memory = plan_report.memory(model, task.batch, training)["total"]
    if training:
        return (lambda: model.train_on_batch(x, y)), memory
    return (lambda: model.predict_on_batch(x)), memory


def torch_step(task: Task, tf32: bool):
    """The same step of PyTorch."""
    import torch
    from peer_models import torch_models

    model = torch_models.make(task.model).cuda().to(memory_format=torch.channels_last)
    x = torch.from_numpy(task.images()).permute(0, 3, 1, 2).pin_memory()
    y = torch.from_numpy(task.labels()).pin_memory()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    loss_of = torch.nn.CrossEntropyLoss()

    def images():
        there = x.cuda(non_blocking=True)
        return there.contiguous(memory_format=torch.channels_last)

    def train():
        optimizer.zero_grad()
        loss = loss_of(model(images()), y.cuda(non_blocking=True))
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        with torch.inference_mode():
            return model(images()).softmax(1).cpu()

    def step():
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        return train() if task.mode == "train" else infer()

    model.train(task.mode == "train")
    return step


def milliseconds(step, seconds: float) -> float:
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def row(task: Task) -> dict[str, object]:
    """One line of the table."""
    step, memory = ours(task)
    steps = {"fastconv": step}
    with contextlib.suppress(ImportError):
        import torch

        torch.cuda.reset_peak_memory_stats()
        steps["torch"] = torch_step(task, False)
        steps["torch tf32"] = torch_step(task, True)
    for one in steps.values():
        milliseconds(one, 0)  # plans, recordings, autotuning
    rounds = [
        {name: milliseconds(one, SECONDS) for name, one in steps.items()}
        for _ in range(ROUNDS)
    ]
    found: dict[str, object] = {
        f"{name} ms": statistics.median(r[name] for r in rounds) for name in steps
    }
    found["images/s"] = 1e3 * task.batch / float(str(found["fastconv ms"]))
    found["plan bytes"] = memory
    if "torch" in steps:
        found["ratio"] = statistics.median(r["torch"] / r["fastconv"] for r in rounds)
        found["torch bytes"] = torch.cuda.max_memory_allocated()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=["*"])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--budget", type=float, default=240, help="seconds in all")
    chosen = parser.parse_args()
    end = time.perf_counter() + chosen.budget
    facts = machine.describe() | {"gpu": backend_of("cuda").detail}
    table = {"machine": facts, "rows": {}}
    for mode in ("train", "infer"):
        for model, batch in ROWS:
            task = Task(model, batch, mode)
            if not any(fnmatch(task.name, f"{p}*") for p in chosen.rows):
                continue
            if time.perf_counter() > end:
                print(f"{task.name}: no time left", flush=True)
                continue
            try:
                table["rows"][task.name] = row(task)
            except Exception as error:  # the other rows still count
                table["rows"][task.name] = {"error": f"{type(error).__name__}: {error}"}
            print(task.name, table["rows"][task.name], flush=True)
            chosen.out.write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
