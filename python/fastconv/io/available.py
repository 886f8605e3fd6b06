"""Amounts of memory: what this process may still take, and as users write them."""

from __future__ import annotations

import re
from pathlib import Path

from fastconv.errors import ArgumentError

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """The smaller of the machine's available memory and what the cgroup leaves.

    None where the system does not say.
    """
    known = [n for n in (_machine(), _cgroup2(), _cgroup1()) if n is not None]
    return max(0, min(known)) if known else None


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup2() -> int | None:
    return _left(_CGROUP / "memory.max", _CGROUP / "memory.current", "inactive_file")


def _cgroup1() -> int | None:
    memory = _CGROUP / "memory"
    names = "memory.limit_in_bytes", "memory.usage_in_bytes"
    return _left(memory / names[0], memory / names[1], "total_inactive_file")


def _left(limit: Path, usage: Path, reclaimable: str) -> int | None:
    """The limit less what is used; cached files do not count, the kernel drops them."""
    try:
        total, used = limit.read_text().strip(), int(usage.read_text())
        if not total.isdigit():
            return None
        for line in (usage.parent / "memory.stat").read_text().splitlines():
            if line.startswith(f"{reclaimable} "):
                used -= int(line.split()[1])
    except (OSError, ValueError):
        return None
    return int(total) - used


_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def byte_count(amount: int | str | None, name: str) -> int | None:
    """Bytes from a number, or from "4GB" (10^9) or "4GiB" (2^30); None stays None.

    >>> byte_count("1.5KB", "memory_limit"), byte_count("2 MiB", "memory_limit")
    (1500, 2097152)
    """
    if amount is None:
        return None
    text = f"{amount}B" if hasattr(amount, "__index__") else str(amount)
    found = re.fullmatch(r"(\d+|\d*\.\d+) ?([KMGT]?)(I?)B", text.strip().upper())
    if found is None or float(found[1]) == 0:
        raise ArgumentError(
            f"{name}: expected a number of bytes > 0, or text like '4GB' or '500MiB'; "
            f"received {amount!r}"
        )
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2]])
