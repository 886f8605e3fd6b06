"""Dtype policies: in which dtype layers compute, and in which they keep weights.

Under "mixed_bfloat16" weights, their gradients, statistics and losses are float32. What
layers hand on is stored in bfloat16, which halves the memory that moves, and products
of bfloat16 are summed up in float32: by `fastconv.execution.narrow`, wherever kernels
take it. GPUs do, on tensor cores. A CPU with AVX512-BF16 multiplies it at twice the
rate of float32; one with AVX-512 alone gains less, and any other would lose: it
computes in float32, and the policy says so once.

"mixed_float16" is the same with float16, on GPUs alone; a plan for a CPU is an error.
It rounds to 11 bits, not 8, but keeps only numbers from 6e-8 to 65,504: gradients are
those of a scaled loss (`fastconv.optimizers.LossScaleOptimizer`), which `compile` sees
to. P. Micikevicius et al., "Mixed precision training", ICLR 2018.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import Any

from fastconv import _core
from fastconv.errors import DtypeError, FastconvWarning

__all__ = ["DTypePolicy", "dtype_policy", "set_dtype_policy", "set_global_policy"]

MIXED = "mixed_bfloat16"
HALVES = {MIXED: "bfloat16", "mixed_float16": "float16"}  # of policies
# The instruction sets that gain by it: AVX-512 without BF16 by the memory that moves.
SUITED: tuple[str, ...] = ("amx", "avx512_bf16", "avx512")
_lock = threading.Lock()
_said = False


class DTypePolicy:
    """The dtypes of a layer.

    Parameters
    ----------
    name: "float32", "mixed_bfloat16" or "mixed_float16" (weights in float32, computed
        in the half where there are kernels for it, in float32 elsewhere). A CPU has
        none for float16, and refuses to plan such a layer.

    Attributes
    ----------
    variable_dtype, compute_dtype: the dtypes in force; of "mixed_bfloat16" on this CPU.
    half: what results may be stored in, "bfloat16" or "float16"; None if only float32.

    Raises
    ------
    DtypeError for another name.

    >>> import fastconv as fc
    >>> fc.mixed_precision.DTypePolicy("float32").compute_dtype
    'float32'
    """

    def __init__(self, name: str) -> None:
        if name != "float32" and name not in HALVES:
            hint = ""
            if name in HALVES.values():
                hint = f"; use 'mixed_{name}', which keeps float32 weights"
            expected = ", ".join(map(repr, ("float32", *HALVES)))
            raise DtypeError(
                f"dtype policy: expected one of {expected}, received {name!r}{hint}"
            )
        self.name = name
        self.half = HALVES.get(name)
        self.variable_dtype = "float32"
        self.compute_dtype = self.half or "float32"
        if name == MIXED and not suits_cpu():
            self.compute_dtype = "float32"
            _say_once()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """A policy from what `get_config` returned."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"


_policy = DTypePolicy("float32")


def set_global_policy(policy: str | DTypePolicy) -> None:
    """Sets the policy of the layers that are made from now on without a ``dtype``.

    >>> import fastconv as fc
    >>> fc.mixed_precision.set_global_policy("float32")
    """
    global _policy
    _policy = policy if isinstance(policy, DTypePolicy) else DTypePolicy(policy)


def dtype_policy() -> DTypePolicy:
    """The policy of new layers; at first that of "float32".

    >>> import fastconv as fc
    >>> fc.mixed_precision.dtype_policy()
    <DTypePolicy 'float32'>
    """
    return _policy


set_dtype_policy = set_global_policy


def resolve(dtype: Any) -> tuple[DTypePolicy | None, Any]:
    """The policy that a layer's ``dtype`` stands for, or none, and its dtype."""
    if isinstance(dtype, dict):
        dtype = DTypePolicy.from_config(dtype["config"])
    if dtype is None:
        dtype = _policy
    if isinstance(dtype, str) and (dtype.startswith("mixed") or dtype == "bfloat16"):
        dtype = DTypePolicy(dtype)
    if isinstance(dtype, DTypePolicy):
        return dtype, dtype.variable_dtype
    return None, dtype


def suits_cpu() -> bool:
    """Whether this CPU gains by bfloat16."""
    return _core.active_isa() in SUITED


def halves_on_cpu(mixed: Mapping[str, str]) -> Mapping[str, str]:
    """Of layers and the halves that they ask for, those that this CPU stores."""
    for layer, half in mixed.items():
        if half == "float16":
            raise DtypeError(
                f"layer {layer!r}: mixed_float16 needs a GPU, as CPUs have no kernels "
                f"for float16; use {MIXED!r}, which CPUs and GPUs compute, or "
                "device='cuda'"
            )
    return mixed if suits_cpu() else {}


def _say_once() -> None:
    global _said
    with _lock:
        said, _said = _said, True
    if not said:
        warnings.warn(
            f"{MIXED} is slower than float32 with the instruction set "
            f"{_core.active_isa()}, and needs AVX-512; computing in float32 on the CPU",
            FastconvWarning,
            stacklevel=4,
        )
