"""What is shown while a model works: a bar on a terminal, else one line an epoch."""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from fastconv.errors import ArgumentError

REFRESH = 0.1  # seconds between two updates of the bar


class Progress:
    """The display of one pass over data.

    verbose: 0 nothing, 1 a bar, 2 one line, "auto": 1 on a terminal or in a notebook.
    title: "Epoch 1/10", say. steps: how many there are, None if unknown. done: how many
    were done before.
    """

    def __init__(
        self, verbose: Any, title: str, steps: int | None, done: int = 0
    ) -> None:
        self.verbose = resolve(verbose)
        self.title = title
        self._start = self._shown = time.perf_counter()
        self._done = self._drawn = done
        self._bar: Any = None
        if self.verbose == 1:
            self._bar = _tqdm()(
                total=steps, initial=done, desc=title, file=sys.stdout, unit="batch",
                leave=True, mininterval=0, miniters=1, dynamic_ncols=True,
            )  # fmt: skip

    def step(self, logs: Callable[[], dict[str, Any]]) -> None:
        """After a batch."""
        self._done += 1
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._shown >= REFRESH:
            self._shown = now
            self._draw(logs())

    def end(self, logs: dict[str, Any]) -> None:
        """After the last batch."""
        if self._bar is not None:
            self._draw(logs)
            self._bar.close()
        elif self.verbose == 2:
            seconds = time.perf_counter() - self._start
            parts = [f"{self.title}: {seconds:.1f}s", text(logs)]
            print(", ".join(part for part in parts if part), flush=True)

    def close(self) -> None:
        """After an error."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self, logs: dict[str, Any]) -> None:
        self._bar.set_postfix_str(text(logs), refresh=False)
        self._bar.update(self._done - self._drawn)
        self._bar.refresh()
        self._drawn = self._done


def text(logs: dict[str, Any]) -> str:
    """The logs in one line."""
    return ", ".join(f"{name} {_number(value)}" for name, value in logs.items())


def resolve(verbose: Any) -> int:
    """``verbose`` as a number."""
    if verbose == "auto":
        return 1 if _interactive() else 2
    if verbose not in (0, 1, 2):
        raise ArgumentError(
            f"verbose: expected 'auto', 0, 1 or 2; received {verbose!r}"
        )
    return int(verbose)


def _interactive() -> bool:
    if "ipykernel" in sys.modules:
        return True
    return bool(getattr(sys.stdout, "isatty", lambda: False)())


def _tqdm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about widgets that are not installed
        name = "tqdm.auto" if "ipykernel" in sys.modules else "tqdm"
        return importlib.import_module(name).tqdm


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3e}"
