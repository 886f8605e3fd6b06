"""Tables of the kernels that were measured to be the best, by device and problem.

A table is text: a device in brackets, then a line a problem with its kernel and, where
that has a choice, the number of its tile and its splits of the sum::

    [NVIDIA H200]
    conv bfloat16 batch=64 in_channels=64 ... kernel=1x3x3 ...: hopper 1/1

fastconv ships one (``kernels.txt``, beside this file); `fastconv tune` writes that of
the user (`user_table`), whose lines come first. What a table says is a wish: where the
kernel cannot compute the problem so, the planner takes the one that it would have taken
without. A plan keeps what was wished when it was made, and so does its file.
"""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from fastconv import _core, config
from fastconv._core import Activation, OpKind
from fastconv.errors import FormatError
from fastconv.graph.ir import Node
from fastconv.io import atomic

PRODUCTS = frozenset((
    OpKind.conv, OpKind.conv_backward_data, OpKind.conv_backward_weights, OpKind.gemm,
))  # fmt: skip
SHIPPED = Path(__file__).with_name("kernels.txt")
_LINE = re.compile(r"(?P<problem>[^:]+): (?P<kernel>\w+)(?: (\d{1,9})/(\d{1,9}))?")


class Wish(NamedTuple):
    """A kernel, and how it cuts the problem; zeros: as it thinks best."""

    kernel: str
    tile: int = 0
    splits: int = 0

    def __str__(self) -> str:
        return f"{self.kernel} {self.tile}/{self.splits}" if self.tile else self.kernel


Wishes = Mapping[str, Wish]  # by problem
_on_trial: ContextVar[Wishes | None] = ContextVar("wishes on trial", default=None)


@contextmanager
def trying(wishes: Wishes) -> Iterator[None]:
    """Plans that are made in the with block follow these wishes, and no table."""
    token = _on_trial.set(wishes)
    try:
        yield
    finally:
        _on_trial.reset(token)


def apply(backend: _core.Backend, nodes: Sequence[Node], steps: Sequence[Any]) -> None:
    """Notes in the steps of a plan what is wished for their nodes."""
    wishes = wishes_for(backend)
    if not wishes:
        return
    for node, step in zip(nodes, steps, strict=True):
        wish = wishes.get(problem(node)) if node.kind in PRODUCTS else None
        if wish is not None:
            step.kernel, step.tiling = wish.kernel, (wish.tile, wish.splits)


def problem(node: Node) -> str:
    """What tables call a product: all that its time follows from."""
    dtypes = dict.fromkeys(t.dtype for t in node.inputs[:2])
    return " ".join((node.name, "*".join(dtypes), *_facts(node.attrs.to_dict())))


def _facts(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if name == "epilogue":
            if parts := _parts(value):
                yield f"epilogue={'+'.join(parts)}"
        elif isinstance(value, Mapping):
            yield from _facts(value)
        elif isinstance(value, tuple):
            if any(value):
                yield f"{name}={'x'.join(map(str, value))}"
        elif value:
            yield f"{name}={value}"


def _parts(epilogue: Mapping[str, Any]) -> list[str]:
    """The operands of an epilogue and its activation."""
    parts = [name for name in ("scale", "bias", "add", "derivative") if epilogue[name]]
    activation = Activation(epilogue["activation"])
    return parts + [activation.name] * (activation != Activation.identity)


def device_name(backend: _core.Backend) -> str:
    """What tables call a device: the model of the GPU, or of the CPU and its set."""
    if backend.available_bytes is None:
        return f"{_processor()} {backend.detail}"
    return backend.detail.partition(",")[0]


@functools.cache
def _processor() -> str:
    with suppress(OSError):
        info = Path("/proc/cpuinfo").read_text("utf-8", "replace")
        if model := re.search(r"^model name\s*: *(.+)$", info, re.MULTILINE):
            return model[1].replace("[", "(").replace("]", ")")
    return platform.machine()


def user_table() -> Path:
    """The table of the user: ``FASTCONV_TUNED``, else ``kernels.txt`` in the cache."""
    named = config.setting("tuned")
    return Path(named).expanduser() if named else config.cache_dir() / "kernels.txt"


def wishes_for(backend: _core.Backend) -> Wishes:
    """What is wished on a device: on trial, else by the user's and the shipped table.

    Raises
    ------
    FormatError for a table that is none.
    """
    on_trial = _on_trial.get()
    if on_trial is not None:
        return on_trial
    tables = [_table(*_state(path)) for path in (SHIPPED, user_table())]
    if not any(tables):
        return {}
    name = device_name(backend)
    shipped, own = (table.get(name, {}) for table in tables)
    return {**shipped, **own} if own else shipped


def _state(path: Path) -> tuple[Path, int | None]:
    """The file and when it was changed; None if there is none."""
    try:
        return path, path.stat().st_mtime_ns
    except OSError:
        return path, None


@functools.lru_cache(maxsize=8)
def _table(path: Path, changed: int | None) -> dict[str, dict[str, Wish]]:
    return {} if changed is None else read(path)


def read(path: Path) -> dict[str, dict[str, Wish]]:
    """The wishes of a table by device and problem.

    Raises
    ------
    FormatError for a line that is no part of a table.
    """
    table: dict[str, dict[str, Wish]] = {}
    device: dict[str, Wish] | None = None
    for number, raw in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            device = table.setdefault(line[1:-1], {})
        elif line and not line.startswith("#"):
            found = _LINE.fullmatch(line)
            if found is None or device is None:
                raise FormatError(
                    f"{path}, line {number}: expected '[device]' or 'problem: kernel' "
                    f"or 'problem: kernel tile/splits', received {line[:80]!r}; "
                    "`fastconv tune` writes such tables; delete the file to start anew"
                )
            name, kernel, tile, splits = found.groups()
            device[name] = Wish(kernel, int(tile or 0), int(splits or 0))
    return table


def extend(path: Path, device: str, wishes: Wishes) -> None:
    """Writes a table that has these wishes, too, in place of others of the problems."""
    table = read(path) if path.exists() else {}
    table[device] = {**table.get(device, {}), **wishes}
    lines = ["# The fastest kernels, as `fastconv tune` measured them."]
    for name, problems in sorted(table.items()):
        lines += ["", f"[{name}]"]
        lines += [f"{what}: {wish}" for what, wish in sorted(problems.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, ("\n".join(lines) + "\n").encode())
