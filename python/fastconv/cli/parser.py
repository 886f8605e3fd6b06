"""The arguments of all commands, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["build_parser"]

_MODEL = "name of a model, such as lenet"
_RUN = "folder of a training run"
_DATA = (
    "name of a data set (digits, mnist, fashion_mnist, cifar10), or a folder or file: "
    "IDX files of MNIST, CIFAR-10, image folders, .npz"
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; ``args.command`` names the module to run."""
    parser = argparse.ArgumentParser(
        prog="fastconv",
        description="Convolutional networks: train, use, inspect and time them.",
        epilog="`fastconv COMMAND --help` shows the arguments of a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (text, add_arguments) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text}.")
        add_arguments(command)
        command.add_argument(
            "--json", action="store_true", help="print one JSON object as the last line"
        )
    return parser


class _Version(argparse.Action):
    """Prints the version when it is asked for, and imports it only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fastconv import __version__

        print(f"fastconv {__version__}")
        parser.exit()


def _option(
    parser: argparse.ArgumentParser, flag: str, default: Any, text: str
) -> None:
    text = f"{text} (default: {default})"
    parser.add_argument(flag, type=type(default), default=default, help=text)


def _machine(parser: argparse.ArgumentParser) -> None:
    _option(parser, "--device", "auto", "auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="number of threads that compute")


def _dtype(parser: argparse.ArgumentParser) -> None:
    text = 'what layers hand on (default: float32); bfloat16 is "mixed_bfloat16"'
    dtypes = ["float32", "bfloat16", "float16"]
    parser.add_argument("--dtype", choices=dtypes, default=dtypes[0], help=text)


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    _option(parser, "--data", "digits", _DATA)
    _option(parser, "--epochs", 40, "passes over the training part")
    text = "train for so many seconds, instead of a number of epochs"
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help=text)
    _option(parser, "--batch-size", 32, "images a step")
    _option(parser, "--lr", 0.02, "learning rate at the start; it falls as a cosine")
    text = "share of the training over which the learning rate rises to its start"
    _option(parser, "--warm-up", 0.0, text)
    _option(parser, "--momentum", 0.9, "of the gradient descent")
    _option(parser, "--weight-decay", 0.0, "of the gradient descent")
    _option(parser, "--shift", 2, "pixels that training images move by, at random")
    text = "mirror half of the training images, left to right"
    parser.add_argument("--flip", action="store_true", help=text)
    text = "side in pixels of the square erased from each training image"
    _option(parser, "--cutout", 0, text)
    text = "share of each target that is spread over all classes"
    _option(parser, "--label-smoothing", 0.0, text)
    _option(parser, "--validation-split", 0.1, "share of the training part, may be 0")
    _option(parser, "--seed", 0, "of weights and order")
    text = "do not check data and model before the first epoch"
    parser.add_argument("--no-sanity", action="store_true", help=text)
    text = "folder of the run (default: runs/MODEL-DATA-N)"
    parser.add_argument("--out", metavar="DIR", help=text)
    parser.add_argument("--force", action="store_true", help="overwrite a run in DIR")
    text = "go on with the run in DIR, if one was cut off there"
    parser.add_argument("--resume", action="store_true", help=text)
    _dtype(parser)
    _machine(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", help=_RUN)
    text = "PNG, PGM, PPM, JPEG, or .npy with one image or a stack of them"
    parser.add_argument("images", metavar="IMAGE", nargs="+", help=text)
    text = "swap black and white: for dark digits on white paper"
    parser.add_argument("--invert", action="store_true", help=text)
    _option(parser, "--top", 1, "classes shown")
    _machine(parser)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", help=_RUN)
    parser.add_argument("--data", help=f"{_DATA} (default: that of the run)")
    _option(parser, "--batch-size", 256, "images a step")
    _machine(parser)


def _quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", help=_RUN)
    parser.add_argument("--data", help=f"{_DATA} (default: that of the run)")
    _option(parser, "--samples", 512, "training images that ranges are taken from")
    text = "how ranges are taken (default: mse)"
    methods = ["mse", "percentile", "minmax"]
    parser.add_argument("--method", choices=methods, default="mse", help=text)
    text = "folder of the new run (default: RUN-int8)"
    parser.add_argument("--out", metavar="DIR", help=text)
    parser.add_argument("--force", action="store_true", help="overwrite a run in DIR")
    _machine(parser)


def _summary(parser: argparse.ArgumentParser) -> None:
    text = f"{_MODEL}; or a file or run of a trained one"
    parser.add_argument("model", metavar="MODEL", help=text)
    _option(parser, "--batch-size", 32, "images a step, for the memory")


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    _option(parser, "--batch-size", 64, "images a step")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    text = "time, share of the peak and advice for each layer, and all steps"
    parser.add_argument("--profile", action="store_true", help=text)
    _option(parser, "--seconds", 2.0, "time to measure for")
    _dtype(parser)
    _machine(parser)


def _tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    _option(parser, "--batch-size", 64, "images a step")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    _dtype(parser)
    text = "the table to extend (default: kernels.txt in the cache, which plans follow)"
    parser.add_argument("--out", metavar="FILE", help=text)
    _machine(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    text = "names of models, such as resnet50 vgg16; or all"
    parser.add_argument("models", metavar="MODEL", nargs="+", help=text)
    _option(parser, "--batch-size", 8, "images a step")
    _option(parser, "--seconds", 1.0, "time to measure each step for")
    text = "measure no training"
    parser.add_argument("--no-training", action="store_true", help=text)
    _option(parser, "--out", "compare", "folder of table.csv and chart.svg")
    _machine(parser)


def _models(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-peak", action="store_true", help="skip the test of speed")


def _check(parser: argparse.ArgumentParser) -> None:
    text = "a Python script that uses Keras; it is read, and not run"
    parser.add_argument("script", metavar="SCRIPT.py", help=text)


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "train": ("Train a model and save the run", _train),
    "predict": ("Classify images with a trained model", _predict),
    "evaluate": ("Measure a trained model on held-out data", _evaluate),
    "quantize": ("Make a trained model compute with integers (int8)", _quantize),
    "summary": ("Show the layers of a model", _summary),
    "bench": ("Measure the speed of a model", _bench),
    "tune": ("Measure which kernels are the fastest for a model", _tune),
    "compare": ("Measure networks beside their published accuracies", _compare),
    "check": ("List what a Keras script uses that fastconv lacks", _check),
    "models": ("List the networks of the zoo", _models),
    "doctor": ("Describe this machine, for bug reports", _doctor),
}
