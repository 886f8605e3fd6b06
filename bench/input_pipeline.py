"""How fast images come from a folder, against what a training step of LeNet takes.

    python bench/input_pipeline.py --data FOLDER --peer-python PATH

FOLDER holds CIFAR-10 as test.tar.gz (CLASS/NAME.jpg). Each way to read it is a process
of its own that gives shuffled batches of float32 for one epoch a round; rounds go
through all of them in turn. fastconv runs in this interpreter's environment, PyTorch in
that of PATH. "Per core" is images for each second of CPU time, of a process and its
workers; for the training step, images a second over the cores that it has.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from machine import Load, describe

BATCH = 64
SIDE = 32
STEPS = 150  # of training in a round
NEEDED = 3.0  # times what training takes, the least that is promised
TRAINING = "fastconv, LeNet training step"
DEFAULT = "fastconv, folder, cached (default)"

Epoch = Callable[[], Iterator[Any]]


def fastconv_images(source: Path, cache: Any) -> Epoch:
    from fastconv.data import image_dataset_from_directory

    data = image_dataset_from_directory(
        source, image_size=(SIDE, SIDE), batch_size=BATCH, cache=cache
    )
    numbers = iter(range(1 << 30))
    return lambda: data.batches(next(numbers))


def fastconv_training() -> Epoch:
    import numpy as np

    import fastconv as fc

    layers = fc.layers
    model = fc.Sequential([
        layers.Input((SIDE, SIDE, 3)),
        layers.Conv2D(6, 5, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(120, 5, activation="relu"), layers.Flatten(),
        layers.Dense(84, activation="relu"), layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    sgd = fc.optimizers.SGD(0.01, momentum=0.9)
    model.compile(sgd, "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 3), np.float32)
    y = np.arange(BATCH) % 10

    def epoch() -> Iterator[Any]:
        for _ in range(STEPS):
            model.train_on_batch(x, y)
            yield x, y

    return epoch


def torch_files(source: Path, scale: bool) -> Any:
    """What torchvision's ImageFolder is, with its ToTensor if scale."""
    import numpy as np
    import torch
    from PIL import Image

    classes = sorted(path.name for path in source.iterdir())
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((source / name).iterdir())
    ]

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, i: int) -> Any:
            path, label = files[i]
            with path.open("rb") as file:
                image = np.array(Image.open(file).convert("RGB"))
            pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
            return (pixels.float().div(255) if scale else pixels), label

    return Files()


def torch_folder(source: Path, workers: int) -> Epoch:
    import torch

    data = torch_files(source, scale=True)
    loader = torch.utils.data.DataLoader(data, BATCH, True, num_workers=workers)
    return lambda: iter(loader)


def torch_memory(source: Path, workers: int) -> Epoch:
    """Its best mode: decoded once, and indexed a batch at a time."""
    import torch

    pairs = list(torch_files(source, scale=False))
    x = torch.stack([image for image, _ in pairs])
    y = torch.tensor([label for _, label in pairs])

    class Batches(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, rows: Any) -> Any:
            return x[rows].float(), y[rows]

    data = Batches()
    sampler = torch.utils.data.BatchSampler(
        torch.utils.data.RandomSampler(data), BATCH, drop_last=False
    )
    loader = torch.utils.data.DataLoader(
        data, sampler=sampler, batch_size=None, num_workers=workers
    )
    return lambda: iter(loader)


# By name: whose interpreter, and what makes an epoch of the folder and the archive.
WAYS: dict[str, tuple[bool, Callable[[Path, Path], Epoch]]] = {
    TRAINING: (True, lambda folder, tar: fastconv_training()),
    "fastconv, folder, decoded each time": (
        True, lambda folder, tar: fastconv_images(folder, False),
    ),
    "fastconv, tar.gz, decoded each time": (
        True, lambda folder, tar: fastconv_images(tar, False),
    ),
    DEFAULT: (True, lambda folder, tar: fastconv_images(folder, True)),
    "fastconv, folder, mapped file": (
        True, lambda folder, tar: fastconv_images(folder, folder.parent / "cache"),
    ),
    "pytorch, folder, 0 workers": (False, lambda folder, tar: torch_folder(folder, 0)),
    "pytorch, folder, 2 workers": (False, lambda folder, tar: torch_folder(folder, 2)),
    "pytorch, memory, 0 workers": (False, lambda folder, tar: torch_memory(folder, 0)),
    "pytorch, memory, 2 workers": (False, lambda folder, tar: torch_memory(folder, 2)),
}  # fmt: skip


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [
        resource.getrusage(who)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return sum(u.ru_utime + u.ru_stime for u in used)


def work(name: str, folder: Path, tar: Path) -> None:
    """A process that answers each line with a round: one epoch."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    epoch = WAYS[name][1](folder, tar)

    def run() -> dict[str, float]:
        images, wall, cpu = 0, time.perf_counter(), cpu_seconds()
        for x, _, *_ in epoch():
            images += len(x)
        return {
            "images": images,
            "wall": time.perf_counter() - wall,
            "cpu": cpu_seconds() - cpu,
        }

    run()  # what is decoded once is decoded here
    print(json.dumps("ready"), file=answers)
    for _ in sys.stdin:
        print(json.dumps(run()), file=answers)


class Worker:
    """One way, in its process."""

    def __init__(self, name: str, python: str, folder: Path, tar: Path) -> None:
        order = [python, __file__, "--worker", name, str(folder), str(tar)]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (the worker closes it)
        self.process = subprocess.Popen(
            order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True,
        )  # fmt: skip
        self.rounds: list[dict[str, float]] = []
        self.answer()

    def round(self) -> None:
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        self.rounds.append(self.answer())

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.log.seek(0)
        raise RuntimeError((self.log.read().strip().splitlines() or ["no answer"])[-1])


def measure(python: str, data: Path, rounds: int) -> dict[str, Any]:
    workers: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as space:
        folder = Path(space) / "images"
        with tarfile.open(data / "test.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        found = list(folder.iterdir())
        folder = found[0] if len(found) == 1 else folder
        try:
            for name, (ours, _) in WAYS.items():
                interpreter = sys.executable if ours else python
                try:
                    workers[name] = Worker(
                        name, interpreter, folder, data / "test.tar.gz"
                    )
                except (OSError, RuntimeError) as error:
                    missing[name] = str(error)
            load = Load([worker.process.pid for worker in workers.values()])
            for _ in range(rounds):
                for worker in workers.values():
                    worker.round()
            share = load.others()
        finally:
            for worker in workers.values():
                worker.process.kill()
                worker.process.wait()
    return {
        "images_per_second": {n: rates(w, "wall") for n, w in workers.items()},
        "images_per_core_second": {n: per_core(n, w) for n, w in workers.items()},
        "missing": missing,
        "cpu_share_of_others": share,
        "machine": describe(),
    }


def rates(worker: Worker, clock: str) -> list[float]:
    return [r["images"] / r[clock] for r in worker.rounds]


def per_core(name: str, worker: Worker) -> list[float]:
    if name != TRAINING:
        return rates(worker, "cpu")
    cores = len(os.sched_getaffinity(0))  # its threads wait for each other and spin
    return [rate / cores for rate in rates(worker, "wall")]


def table(found: dict[str, Any]) -> str:
    """The result in Markdown."""
    lines = ["| | images a second | per core | / training |", "|---|---|---|---|"]
    per_core = found["images_per_core_second"]
    for name, rates in found["images_per_second"].items():
        ratio = "-"
        if TRAINING in per_core:
            pairs = zip(per_core[name], per_core[TRAINING], strict=True)
            ratio = f"{statistics.median(a / b for a, b in pairs):.2f}"
        whole, one = statistics.median(rates), statistics.median(per_core[name])
        lines.append(f"| {name} | {whole:,.0f} | {one:,.0f} | {ratio} |")
    lines += [f"| {n} | missing: {why} | | |" for n, why in found["missing"].items()]
    share = found["cpu_share_of_others"]
    return "\n".join([*lines, "", f"Other processes used {share:.1%} of the CPUs."])


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10")
    parser.add_argument("--peer-python", required=True, help="interpreter with torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    chosen = parser.parse_args()
    found = measure(chosen.peer_python, chosen.data, chosen.rounds)
    print(table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    per_core = found["images_per_core_second"]
    if DEFAULT not in per_core or TRAINING not in per_core:
        return 1
    pairs = zip(per_core[DEFAULT], per_core[TRAINING], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"The default gives {ratio:.1f} times what training takes; needed: {NEEDED}.")
    return 0 if ratio >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
