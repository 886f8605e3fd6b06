"""fastconv on a GPU, alternately with PyTorch if that is installed: steps of networks.

    python bench/gpu.py [ROW ...]        rows: train/resnet50, infer/*

A step ends when the loss, or the probabilities, are there; images come from host memory
in each step. With --resident they lie on the device, and a step ends when the device
is done. PyTorch runs channels-last with autotuned algorithms; with --dtype tf32 both
compute in TF32, with --dtype bfloat16 or float16 PyTorch under autocast, of float16
with a scaled loss. --compile adds
torch.compile. The ratio is to the fastest. Beside it stands what PyTorch took on such a
machine, with resident images, by --baseline. --profile adds the time of each kind of
kernel, and of each product beside the least that the GPU allows (ceilings of the
baseline).

The rows are printed and written as JSON, with the memory that fastconv's plan needs and
the most PyTorch took.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
from peer_models.fastconv_models import model_of
from peer_models.task import MOMENTUM, RATE, Task

import fastconv as fc
from fastconv.execution import tuned
from fastconv.execution.devices import backend_of
from fastconv.training import plan_report, step_profile

ROWS = (
    ("lenet", 512), ("alexnet", 512), ("vgg16", 128), ("googlenet", 256),
    ("resnet50", 256), ("mobilenetv2", 256), ("densenet121", 128), ("unet256", 32),
)  # fmt: skip
ROUNDS, SECONDS = 3, 0.4
BASELINE = Path(__file__).parent / "results" / "gpu-h200-pytorch.json"
BASELINE_NAMES = {"mobilenetv2": "mobilenet_v2", "unet256": "unet"}
POLICIES = {
    "float32": "float32", "tf32": "float32", "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}  # fmt: skip
PEERS = {
    "float32": "torch", "tf32": "torch tf32", "bfloat16": "torch amp",
    "float16": "torch amp float16",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What is measured of each row."""

    resident: bool
    compile: bool
    profile: bool
    baseline: dict


class Ours:
    """A step of fastconv, its plan and the arrays for it."""

    def __init__(self, task: Task, resident: bool) -> None:
        fc.mixed_precision.set_global_policy(POLICIES[task.dtype])
        fc.config.set_float32_precision("tf32" if task.dtype == "tf32" else "float32")
        model = model_of(task)
        if task.mode != "train":  # without the folding of statistics in each step
            model = fc.freeze(model)
        model.compile(
            fc.optimizers.SGD(RATE, momentum=MOMENTUM),
            "sparse_categorical_crossentropy",
            device="cuda",
        )
        self.training = task.mode == "train"
        self.memory = plan_report.memory(model, task.batch, self.training)["total"]
        self.plan = plan_report.plan(model, task.batch, self.training)
        self.arrays = [task.images(), task.labels()][: 1 + self.training]
        if resident:
            backend = backend_of("cuda")
            self.arrays = [backend.shared(array) for array in self.arrays]
        self.model, self.resident = model, resident

    def __call__(self) -> None:
        if self.resident:
            self.plan.plan.run(self.plan.arena, self.arrays, [])
        elif self.training:
            self.model.train_on_batch(*self.arrays)
        else:
            self.model.predict_on_batch(*self.arrays)

    def profile(self) -> list[step_profile.Step]:
        """The steps of the plan with their times."""
        return step_profile.measure(self.plan, self.arrays)

    def products(
        self, steps: list[step_profile.Step], peak: step_profile.Peak
    ) -> list[dict[str, object]]:
        """Each different product, by its time, beside the least that the GPU allows."""
        found: dict[str, list[step_profile.Step]] = {}
        for node, step in zip(self.plan.nodes, steps, strict=True):
            if node.kind in tuned.PRODUCTS:
                found.setdefault(tuned.problem(node), []).append(step)
        lines = []
        for name, own in found.items():
            floor = sum(max(step.limits(peak)) for step in own)
            facts = {"kernel": own[0].report.choice, "steps": len(own), "us": _us(own)}
            share = {"floor us": floor, "share of floor": floor / _us(own)}
            lines.append({"problem": name, **facts, **share})
        return sorted(lines, key=lambda line: -line["us"])


def kinds(steps: list[step_profile.Step]) -> list[dict[str, object]]:
    """Kinds of steps and their kernels, by their time in a step of the network."""
    found: dict[str, list[step_profile.Step]] = {}
    for step in steps:
        found.setdefault(f"{step.report.op} {step.report.kernel}", []).append(step)
    lines = [
        {
            "kernel": name,
            "steps": len(own),
            "us": sum(s.us for s in own),
            "gbytes_per_second": sum(s.bytes for s in own) / _us(own) / 1e3,
            "gflops": sum(s.report.flops for s in own) / _us(own) / 1e3,
        }
        for name, own in found.items()
    ]
    return sorted(lines, key=lambda line: -line["us"])


def _us(steps: list[step_profile.Step]) -> float:
    return max(sum(step.us for step in steps), 1e-3)


def torch_steps(task: Task, wanted: Wanted) -> dict:
    """The same step of PyTorch, by mode."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return {}
    name = PEERS[task.dtype]
    steps = {name: torch_step(task, wanted.resident, name)}
    if wanted.compile:
        name = f"{name} compiled"
        steps[name] = torch_step(task, wanted.resident, name)
    return steps


def torch_step(task: Task, resident: bool, name: str):
    import torch
    from peer_models import torch_models

    model = torch_models.make(task.model).cuda().to(memory_format=torch.channels_last)
    run = torch.compile(model) if name.endswith("compiled") else model
    x = torch.from_numpy(task.images()).permute(0, 3, 1, 2).pin_memory()
    y = torch.from_numpy(task.labels()).pin_memory()
    if resident:
        x, y = x.cuda(), y.cuda()
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM, fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    half = torch.float16 if "float16" in name else torch.bfloat16
    scaler = torch.amp.GradScaler("cuda", enabled=half == torch.float16)

    def precision():
        return torch.autocast("cuda", half, enabled="amp" in name)

    def images():
        there = x.cuda(non_blocking=True)
        return there.contiguous(memory_format=torch.channels_last)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with precision():
            scores = run(images())
        loss = loss_of(scores.float(), y.cuda(non_blocking=True))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss if resident else loss.item()

    def infer():
        with torch.inference_mode(), precision():
            found = run(images()).softmax(1)
            return found if resident else found.float().cpu()

    def step():
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = "tf32" in name
        torch.backends.cuda.matmul.allow_tf32 = "tf32" in name
        train() if task.mode == "train" else infer()
        torch.cuda.synchronize()

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


def row(task: Task, wanted: Wanted) -> dict[str, object]:
    """One line of the table."""
    ours = Ours(task, wanted.resident)
    steps = {"fastconv": ours}
    with contextlib.suppress(ImportError):
        import torch

        torch.cuda.reset_peak_memory_stats()
    steps |= torch_steps(task, wanted)
    peers = [name for name in steps if name != "fastconv"]
    for one in steps.values():
        milliseconds(one, 0)  # plans, recordings, autotuning
    rounds = [
        {name: milliseconds(one, SECONDS) for name, one in steps.items()}
        for _ in range(ROUNDS)
    ]
    found: dict[str, object] = {
        f"{name} ms": statistics.median(r[name] for r in rounds) for name in steps
    }
    mine = float(str(found["fastconv ms"]))
    found["images/s"] = 1e3 * task.batch / mine
    found["plan bytes"] = ours.memory
    if peers:
        found["ratio"] = statistics.median(
            min(r[name] for name in peers) / r["fastconv"] for r in rounds
        )
        found["torch bytes"] = torch.cuda.max_memory_allocated()
    for how, ms in baseline_of(task, wanted.baseline).items():
        found[f"baseline {how} ms"] = ms
        found[f"ratio to baseline {how}"] = ms / mine
    if wanted.profile:
        measured = ours.profile()
        found["profile"] = kinds(measured)
        found["products"] = ours.products(measured, ceilings(task, wanted.baseline))
    return found


def ceilings(task: Task, table: dict) -> step_profile.Peak:
    """What the GPU reaches: a product of 8192 x 8192 matrices, and a copy."""
    found = {row["name"]: row for row in table["rows"] if row["kind"] == "ceiling"}
    names = {"bfloat16": "bf16", "float16": "bf16", "tf32": "tf32", "float32": "fp32"}
    dtype = names[task.dtype]  # both halves have one rate
    moved = found["copy"]["gb_s"]
    return step_profile.Peak(found[f"gemm8192_{dtype}"]["tflop_s"] * 1e3, moved, moved)


def baseline_of(task: Task, table: dict) -> dict[str, float]:
    """Milliseconds of the task in an earlier run of PyTorch, by mode."""
    mode = {"bfloat16": "bf16", "float16": "fp16"}.get(task.dtype, "tf32")
    name = BASELINE_NAMES.get(task.model, task.model)
    return {
        f"{line['how']} {mode}": line[f"{task.mode}_ms"]
        for line in table.get("rows", ())
        if (line["kind"], line.get("name"), line.get("mode")) == ("net", name, mode)
        and (line["batch"], "error" in line) == (task.batch, False)
    }


def show(name: str, found: dict[str, object]) -> None:
    """Prints a row, and its profile as a table."""
    lines = found.get("profile", [])
    hidden = ("profile", "products")
    facts = {key: value for key, value in found.items() if key not in hidden}
    print(name, json.dumps(facts, default=str), flush=True)
    total = sum(line["us"] for line in lines) or 1.0
    for line in lines:
        print(
            f"  {line['kernel']:<44.44} {line['steps']:4} {line['us']:10.1f} us "
            f"{line['us'] / total:6.1%} {line['gbytes_per_second']:8.0f} GB/s "
            f"{line['gflops']:9.0f} GFLOP/s",
            flush=True,
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=["*"])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--budget", type=float, default=240, help="seconds in all")
    parser.add_argument("--dtype", choices=POLICIES, default="float32")
    parser.add_argument("--resident", action="store_true", help="images on the device")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--profile", action="store_true", help="times of kernels")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="of PyTorch")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    end = time.perf_counter() + chosen.budget
    given = chosen.baseline
    earlier = json.loads(given.read_text("utf-8")) if given.exists() else {}
    wanted = Wanted(chosen.resident, chosen.compile, chosen.profile, earlier)
    facts = machine.describe() | {"gpu": backend_of("cuda").detail}
    facts |= {"dtype": chosen.dtype, "images": "device" if wanted.resident else "host"}
    table = {"machine": facts, "rows": {}}
    for mode in ("train", "infer"):
        for model, batch in ROWS:
            task = Task(model, batch, mode, chosen.dtype)
            if not any(fnmatch(task.name, f"{p}*") for p in chosen.rows):
                continue
            if time.perf_counter() > end:
                print(f"{task.name}: no time left", flush=True)
                continue
            try:
                table["rows"][task.name] = row(task, wanted)
            except Exception as error:  # the other rows still count
                table["rows"][task.name] = {"error": f"{type(error).__name__}: {error}"}
            show(task.name, table["rows"][task.name])
            chosen.out.write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
