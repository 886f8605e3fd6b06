"""The command ``fastconv``: train, predict, summary, models, doctor and more.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

USER_ERROR, INTERNAL_ERROR, LACKING, INTERRUPTED = 2, 1, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    0: done; 2: bad arguments, data, files or an absent device (one line on stderr);
    1: an error inside fastconv; 3: what `check` looks for lacks; 130: Ctrl-C, after
    saving what there was.

    Parameters
    ----------
    argv: the arguments after the program's name; None is those of the process.

    >>> from fastconv.cli import main
    >>> main(["summary", "no_such_model"])
    2
    """
    from fastconv.cli.parser import build_parser

    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (
        BrokenPipeError
    ):  # the reader of a pipe left: `fastconv summary lenet | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _report(error)


def _run(args: Any) -> int:
    import importlib
    import json

    command = importlib.import_module(f"fastconv.cli.{args.command}")
    result = command.run(args)
    if args.json:
        print(json.dumps(result))
    sys.stdout.flush()
    if result.get("interrupted"):
        return INTERRUPTED
    return LACKING if result.get("lacking") else 0


def _report(error: Exception) -> int:
    from fastconv import config
    from fastconv.errors import FastconvError

    if config.setting("traceback"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, FastconvError | OSError):
        print(f"fastconv: error: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    print(
        f"fastconv: internal error: {type(error).__name__}: {_one_line(error)}; please "
        "report it with FASTCONV_TRACEBACK=1 and the output of `fastconv doctor`",
        file=sys.stderr,
    )
    return INTERNAL_ERROR


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
