"""The machine as fastconv sees it: threads and instruction sets."""

from __future__ import annotations

from fastconv import _core
from fastconv.errors import ArgumentError

__all__ = ["set_num_threads", "threads"]


def set_num_threads(count: int) -> None:
    """Sets how many threads compute; 0 is the default again.

    The default is min(CPU affinity, cgroup quota rounded down, OMP_NUM_THREADS).
    Results are the same bytes for every number of threads.

    Raises
    ------
    ArgumentError if ``count`` is not an integer >= 0.

    >>> import fastconv as fc
    >>> fc.set_num_threads(0)
    """
    if not hasattr(count, "__index__") or int(count) < 0:
        raise ArgumentError(f"threads: expected an integer >= 0, received {count!r}")
    _core.set_thread_count(int(count))


class threads:  # noqa: N801  (a context manager, named as users write it)
    """Computes with ``count`` threads inside a with block.

    >>> import fastconv as fc
    >>> with fc.threads(1):
    ...     y = fc.ops.relu([-1.0, 2.0])
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> threads:
        self._before = _core.thread_count()
        set_num_threads(self.count)
        return self

    def __exit__(self, *error: object) -> None:
        _core.set_thread_count(self._before)
