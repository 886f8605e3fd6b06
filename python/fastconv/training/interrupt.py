"""Ctrl-C while training: the step in progress ends, and nothing is lost."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupt:
    """Inside the with block, a first Ctrl-C only sets ``requested``; a second one
    raises.

    It acts in the main thread, and where nobody else handles the signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
