"""The folder of a training run: what was asked for, what came out, where it ran.

``config.toml`` (all arguments), ``environment.txt``, ``log.csv`` (a line an epoch),
``chart.svg``, ``model.safetensors``, ``result.json``, and ``checkpoints``, from which a
run that was cut off goes on.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError, DataError, FormatError
from fastconv.io import atomic
from fastconv.plot.chart import training_chart
from fastconv.training import overfitting

__all__ = ["RunDirectory", "to_toml"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class RunDirectory:
    """The files of one run; made by :meth:`create` or :meth:`open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.safetensors"
        self.log = path / "log.csv"
        self.chart = path / "chart.svg"
        self.config = path / "config.toml"
        self.environment = path / "environment.txt"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(
        cls, path: str | os.PathLike[str] | None, name: str = "run", force: bool = False
    ) -> RunDirectory:
        """An empty folder for a new run.

        Parameters
        ----------
        path: the folder; None is ``runs/<name>-<n>`` with the first n that is free.
        name: of the run, in the default path.
        force: take a folder that is not empty; its files are overwritten.

        Raises
        ------
        ArgumentError: the folder is not empty, or the path is a file.
        OSError: no permission, or a full disk.

        >>> import tempfile
        >>> run = RunDirectory.create(tempfile.mkdtemp())
        >>> run.log.name
        'log.csv'
        """
        folder = _free_folder(name) if path is None else Path(path)
        if folder.exists() and not folder.is_dir():
            raise ArgumentError(f"{folder}: expected a folder for the run, got a file")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise ArgumentError(
                f"{folder}: the folder is not empty; choose another, or pass --force "
                "to overwrite the files of the run in it"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The folder of a run that was made before.

        Raises
        ------
        DataError: there is no such folder, or no model in it.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise DataError(f"{path}: no such folder; expected that of a training run")
        if not run.model.is_file():
            raise DataError(
                f"{path}: holds no model.safetensors; expected the folder of a "
                "training run"
            )
        return run

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes ``config.toml``; :meth:`read_config` gives the same back."""
        atomic.write(self.config, to_toml(config).encode())

    def read_config(self) -> dict[str, Any]:
        """What ``config.toml`` says.

        Raises
        ------
        FormatError: the file is missing, or no TOML.
        """
        try:
            return tomllib.loads(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise FormatError(f"{self.config}: no such file") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FormatError(f"{self.config}: expected TOML: {error}") from error

    def write_chart(self, history: Mapping[str, Sequence[float]], title: str) -> None:
        """Draws ``chart.svg``, with a mark where over-fitting begins."""
        found = overfitting.find(history)
        mark = None if found is None else found.since
        self.chart.write_text(training_chart(history, title, mark), encoding="utf-8")

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Writes ``result.json``."""
        self.result.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _free_folder(name: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.") or "run"
    number = 1
    while (folder := Path("runs", f"{safe}-{number}")).exists():
        number += 1
    return folder


def to_toml(config: Mapping[str, Any], prefix: str = "") -> str:
    """Nested mappings as TOML 1.0: strings, numbers, booleans, lists; None is left out.

    Raises
    ------
    ArgumentError: a value of another type.

    >>> print(to_toml({"epochs": 5, "data": {"mean": [0.1, 0.2]}}), end="")
    epochs = 5
    <BLANKLINE>
    [data]
    mean = [0.1, 0.2]
    """
    plain, tables = [], []
    for key, value in config.items():
        if isinstance(value, Mapping):
            name = prefix + _key(key)
            tables.append(f"\n[{name}]\n{to_toml(value, name + '.')}")
        elif value is not None:
            plain.append(f"{_key(key)} = {_value(key, value)}\n")
    return "".join(plain + tables)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    """Between quotes, with the escapes of JSON, and that of DEL, which TOML adds."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):  # repr() of inf and nan is TOML's too
        return repr(float(value))
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str | os.PathLike):
        return _string(os.fspath(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(key, item) for item in value) + "]"
    raise ArgumentError(f"config: {key}: {type(value).__name__} has no form in TOML")
