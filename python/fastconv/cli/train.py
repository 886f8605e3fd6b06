"""``fastconv train``: fit a model, test it once on the held-out part, save the run."""

from __future__ import annotations

import time
import tomllib
from argparse import Namespace
from typing import Any

from fastconv import callbacks, datasets, layers, losses, optimizers, random
from fastconv.cli.common import make_model, set_machine, weights_digest
from fastconv.cli.facts import as_text, machine_facts
from fastconv.cli.inputs import Inputs
from fastconv.data.split import stratified_split
from fastconv.datasets import Dataset
from fastconv.errors import ArgumentError
from fastconv.io.series import Series
from fastconv.training.fingerprint import differences
from fastconv.training.run_directory import RunDirectory, to_toml

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Trains, saves and reports; Ctrl-C saves what there is and skips the test."""
    if args.epochs < 1:
        raise ArgumentError(f"epochs: expected 1 or more, got {args.epochs}")
    if args.batch_size < 1:
        raise ArgumentError(f"batch_size: expected 1 or more, got {args.batch_size}")
    if not 0 <= args.warm_up < 1:
        raise ArgumentError(f"warm-up: expected a share below 1, got {args.warm_up}")
    if args.resume and args.time_limit is not None:
        raise ArgumentError(
            "resume: expected no --time-limit beside it: a training that the clock "
            "ends cannot be repeated; give --epochs"
        )
    for name in ("shift", "cutout"):
        if getattr(args, name) < 0:
            found = getattr(args, name)
            raise ArgumentError(f"{name}: expected 0 or more pixels, got {found}")
    set_machine(args)
    random.set_seed(args.seed)
    data = datasets.load(args.data)
    model = make_model(
        args.model, data.x_train.shape[3], len(data.class_names), args.dtype
    )
    inputs = Inputs.of(data.x_train, model.input_shape[1:])
    directory = _open_run(args, data, inputs)
    print(_opening(model, data, directory))
    start = time.perf_counter()
    training = _fit(model, data, inputs, args, directory)
    history = training.history
    seconds = time.perf_counter() - start
    model.save(directory.model)
    result = {
        "model": args.model,
        "data": args.data,
        "parameters": model.count_params(),
        "epochs": len(history.get("loss", ())),
        "seconds": round(seconds, 3),
        **{name: values[-1] for name, values in history.items()},
        "run": str(directory.path),
        "sha256": weights_digest(model),
        "interrupted": training.interrupted,
    }
    if not result["interrupted"]:
        result |= _test(model, data, inputs)
        found = model.predict(inputs(data.x_test), batch_size=256, verbose=0)
        names = data.class_names
        directory.write_mistakes(data.x_test, data.y_test, found, names)
    directory.write_result(result)
    print(_closing(result, directory))
    return result


def _open_run(args: Namespace, data: Dataset, inputs: Inputs) -> RunDirectory:
    name = f"{args.model}-{data.name.rstrip('/').rpartition('/')[2]}"
    if args.resume and args.out is None:
        raise ArgumentError("resume: expected --out, the folder of the run to go on")
    directory = RunDirectory.create(args.out, name, args.force or args.resume)
    hidden = ("command", "json", "force", "resume")
    config = {
        "train": {k: v for k, v in vars(args).items() if k not in hidden},
        "classes": {"names": list(data.class_names)},
        "inputs": inputs.config(),
    }
    if args.resume and directory.config.exists():
        _same(config, directory)
        return directory
    Series(directory.checkpoints).clear()
    directory.write_config(config)
    directory.environment.write_text(as_text(machine_facts()) + "\n", encoding="utf-8")
    return directory


def _same(config: dict[str, Any], directory: RunDirectory) -> None:
    """Refuses to go on with another training than that of the folder."""
    was, asked = directory.read_config(), tomllib.loads(to_toml(config))
    for one in (was, asked):
        for free in ("out", "threads"):  # neither changes the result
            one.get("train", {}).pop(free, None)
    found = list(differences(was, asked, ""))
    if found:
        raise ArgumentError(
            f"{directory.path}: --resume goes on with the same arguments only; "
            f"{'; '.join(found)}"
        )


def _fit(
    model: Any, data: Dataset, inputs: Inputs, args: Namespace, directory: RunDirectory
) -> callbacks.History:
    x, y = inputs(data.x_train), data.y_train
    validation = None
    if args.validation_split:
        kept, held = stratified_split(y, args.validation_split, args.seed)
        validation = (x[held], y[held])
        x, y = x[kept], y[kept]
    model.compile(
        optimizer=optimizers.SGD(
            _rate(args, len(x)),
            momentum=args.momentum,
            weight_decay=args.weight_decay or None,
        ),
        loss=losses.SparseCategoricalCrossentropy(label_smoothing=args.label_smoothing),
        metrics=["accuracy"],
        device=args.device,
    )
    log = callbacks.CSVLogger(directory.log)
    record = _Record(directory, f"{args.model} on {data.name}")
    return model.fit(
        x,
        y,
        batch_size=args.batch_size,
        epochs=args.epochs,
        augment=_changes(args, x.shape[1:], inputs.black),
        validation_data=validation,
        callbacks=[log, record],
        sanity=False if args.no_sanity else None,
        time_limit=args.time_limit,
        resume=directory.checkpoints if args.time_limit is None else None,
    )


def _rate(args: Namespace, samples: int) -> Any:
    """The learning rate of each step; a time limit anneals a number itself."""
    if args.time_limit is not None:
        return args.lr
    steps = max(1, args.epochs * -(-samples // args.batch_size))
    rising = round(steps * args.warm_up)
    if not rising:
        return optimizers.schedules.CosineDecay(args.lr, steps)
    return optimizers.schedules.CosineDecay(
        0.0, steps - rising, warmup_target=args.lr, warmup_steps=rising
    )


def _changes(args: Namespace, shape: tuple[int, ...], fill: float) -> list[Any] | None:
    """How training images are changed at random."""
    found: list[Any] = []
    if args.shift:
        height, width = shape[:2]
        crop = layers.RandomCrop(height, width, padding=args.shift, fill_value=fill)
        found.append(crop)
    if args.flip:
        found.append(layers.RandomFlip("horizontal"))
    if args.cutout:
        share = (args.cutout**2 / (shape[0] * shape[1]),) * 2
        found.append(layers.RandomErasing((1, 1), share, fill_value=fill))
    return found or None


class _Record(callbacks.Callback):
    """Saves the model and the chart after each epoch: a killed run leaves them."""

    kept = ("_history",)

    def __init__(self, directory: RunDirectory, title: str) -> None:
        self._directory, self._title = directory, title
        self._history: dict[str, list[float]] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the epoch to the files."""
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(float(value))
        self._directory.write_chart(self._history, self._title)
        self.model.save(self._directory.model)


def _test(model: Any, data: Dataset, inputs: Inputs) -> dict[str, float]:
    found = model.evaluate(
        inputs(data.x_test), data.y_test, batch_size=256, verbose=0, return_dict=True
    )
    return {f"test_{name}": float(value) for name, value in found.items()}


def _opening(model: Any, data: Dataset, directory: RunDirectory) -> str:
    return (
        f"{model.name}: {model.count_params():,} parameters; {data.name}: "
        f"{len(data.x_train):,} images to train, {len(data.x_test):,} held out; "
        f"run: {directory.path}"
    )


def _closing(result: dict[str, Any], directory: RunDirectory) -> str:
    saved = f"saved in {directory.path} (chart: {directory.chart})"
    if result["interrupted"]:
        return f"interrupted after {result['epochs']} epochs; {saved}"
    return (
        f"test accuracy {result['test_accuracy']:.2%}, loss {result['test_loss']:.4f}, "
        f"after {result['epochs']} epochs in {result['seconds']:.1f} s; {saved}"
    )
