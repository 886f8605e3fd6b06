"""``fastconv check``: what a Keras script uses that fastconv lacks; it is not run."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastconv.cli.script_names import lacking
from fastconv.errors import FormatError

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Prints a line for each name or argument that is not there."""
    source = _text(Path(args.script))
    used, found = lacking(source, args.script)
    for item in found:
        print(f"{args.script}:{item.line}: {item}")
    if not found:
        print(f"{args.script}: nothing lacks; {used} names of Keras are used")
    items = [asdict(item) for item in found]
    return {"script": args.script, "used": used, "lacking": items}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: expected a Python script: {error}") from error
