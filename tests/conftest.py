"""Fixtures of all tests: backends, thread counts, gradients, data sets.

Everything here is session-wide, so that Hypothesis tests may use it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastconv import config
from tolerances import assert_close

sys.path.append(str(Path(__file__).parents[1] / "bench"))  # for problems.py

settings.register_profile(
    "fastconv",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "few", settings.get_profile("fastconv"), max_examples=3
)  # where a tool makes them slow: --hypothesis-profile few
settings.load_profile("fastconv")

Arrays = list[np.ndarray]
GUARD = 4096  # bytes behind the arena that nobody may write


class Backend:
    """A device under test: "reference", "cpu:<isa>" with this process's ISA, or "cuda".

    The other ISAs and the emulated GPU run in processes of their own, see test_isa.py
    and test_cuda.py.
    """

    def __init__(self, device: str) -> None:
        import fastconv.ops
        import fastconv.reference  # noqa: F401  (it registers the device)
        from fastconv import _core

        self.device = device
        self.name = f"cpu:{_core.active_isa()}" if device == "cpu" else device

    def function(self, python: Callable[..., Any]) -> Any:
        """``python``, traced for this device."""
        from fastconv.execution.function import Function

        return Function(python, self.device)

    def run(self, python: Callable[..., Any], *arrays: Any) -> Arrays:
        """The results of a function of tensors, as a list; the arena was poisoned.

        Floating arrays are fed as float32, on every device.
        """
        arrays = tuple(_as_float(a, np.float32) for a in arrays)
        traced = self.function(python)
        if self.device == "reference":
            return _as_list(traced(*arrays))
        plan = traced.compile(*arrays)
        plan.arena.reserve(plan.arena_bytes + GUARD)
        plan.arena.fill(0xFF)
        results = _as_list(traced(*arrays))
        behind = plan.arena.read(plan.arena_bytes, plan.arena.bytes - plan.arena_bytes)
        assert (behind == 0xFF).all(), "written behind the arena"
        return results

    def isclose(
        self,
        actual: Any,
        expected: Any,
        reduction_length: int = 1,
        *,
        gradients: bool = False,
    ) -> None:
        """Fails unless two arrays, or lists of them, agree; see tolerances.py."""
        pairs = zip(_as_list(actual), _as_list(expected), strict=True)
        for a, e in pairs:
            assert_close(a, e, reduction_length, gradients=gradients)

    def check(
        self,
        python: Callable[..., Any],
        *arrays: Any,
        reduction_length: int | None = None,
        gradients: bool = False,
    ) -> Arrays:
        """Runs a function here and in float64 on the reference, and compares.

        Without a reduction length the results must be equal to the last bit (give the
        function small integers).
        """
        actual = self.run(python, *arrays)
        for a, e in zip(actual, reference(python, *arrays), strict=True):
            if reduction_length is None:
                np.testing.assert_array_equal(a, e)
            else:
                assert_close(a, e, reduction_length, gradients=gradients)
        return actual


def reference(python: Callable[..., Any], *arrays: Any) -> Arrays:
    """The results of a function of tensors in float64, as a list."""
    import fastconv.ops
    import fastconv.reference  # noqa: F401
    from fastconv.execution.function import Function

    wide = [
        a.astype(np.float64) if a.dtype.kind == "f" else a
        for a in map(np.asarray, arrays)
    ]
    return _as_list(Function(python, "reference")(*wide))


def _as_float(value: Any, dtype: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _as_list(value: Any) -> Arrays:
    return list(value) if isinstance(value, list | tuple) else [value]


def _gpus() -> list[str]:
    """["cuda"] if there is a GPU, or the emulator is named in its place."""
    from fastconv.execution.devices import has_gpu

    return ["cuda"] if config.setting("cuda_library") or has_gpu() else []


@pytest.fixture(scope="session", params=["reference", "cpu", *_gpus()])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each device in turn."""
    return Backend(request.param)


@pytest.fixture(scope="session", name="reference")
def reference_fixture() -> Callable[..., Arrays]:
    """`reference(fn, *arrays)`: the results in float64."""
    return reference


@pytest.fixture(scope="session", params=["cpu", *_gpus()])
def native(request: pytest.FixtureRequest) -> Backend:
    """Each device that runs plans, for what only plans have."""
    return Backend(request.param)


@pytest.fixture(scope="session")
def gpu(native: Backend) -> Backend:
    """A GPU, or the emulated one, for what CPUs have no kernels for."""
    if native.device == "cpu":
        pytest.skip("only GPUs have such kernels")
    return native


@pytest.fixture(scope="session")
def cpu() -> Backend:
    """The CPU alone, for what its kernels alone do."""
    return Backend("cpu")


@pytest.fixture(scope="session")
def threads() -> Callable[[Callable[[], Any]], Arrays]:
    """`threads(run)` calls run() with 1, 2 and 3 threads and demands the same bytes."""
    from fastconv import _core

    def same_bytes(run: Callable[[], Any]) -> Arrays:
        before = _core.thread_count()
        try:
            results = []
            for count in (1, 2, 3):
                _core.set_thread_count(count)
                results.append(_as_list(run()))
        finally:
            _core.set_thread_count(before)
        first = [a.tobytes() for a in results[0]]
        for other in results[1:]:
            assert [a.tobytes() for a in other] == first
        return results[0]

    return same_bytes


@pytest.fixture(scope="session")
def check_gradient() -> Callable[..., None]:
    """`check_gradient(fn, *arrays, wrt=None)`; see `_check_gradient`."""
    return _check_gradient


def _check_gradient(
    python: Callable[..., Any],
    *arrays: Any,
    wrt: Sequence[int] | None = None,
    tolerance: float = 1e-6,
    step: float = 1e-5,
) -> None:
    """Compares `fastconv.grad` with central differences along two random directions.

    Everything is in float64 on the reference; the results of the function are weighted
    with random numbers. ``wrt``: which arrays to vary; by default all floating ones.
    """
    from fastconv.execution.function import Function
    from fastconv.graph.autodiff import grad

    values = [_as_float(a, np.float64) for a in arrays]
    chosen = (
        [i for i, v in enumerate(values) if v.dtype == np.float64]
        if wrt is None
        else wrt
    )
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(y.shape) for y in reference(python, *values)]

    def gradients(*tensors: Any) -> Any:
        *xs, seeds = tensors
        ys = python(*xs)
        ys = ys if isinstance(ys, list | tuple) else [ys]
        return [
            grad(y, [xs[i] for i in chosen], seed)
            for y, seed in zip(ys, seeds, strict=True)
        ]

    def weighted(moved: list[np.ndarray]) -> float:
        ys = reference(python, *moved)
        return float(sum(np.sum(y * w) for y, w in zip(ys, weights, strict=True)))

    per_result = Function(gradients, "reference")(*values, weights)
    for _ in range(2):
        v = {i: rng.standard_normal(values[i].shape) for i in chosen}
        ahead, behind = (
            weighted([x + s * v[i] if i in v else x for i, x in enumerate(values)])
            for s in (step, -step)
        )
        expected = (ahead - behind) / (2 * step)
        terms = [g * v[i] for gs in per_result for i, g in zip(chosen, gs, strict=True)]
        actual = float(sum(t.sum() for t in terms))
        scale = float(sum(np.abs(t).sum() for t in terms)) + abs(expected)
        assert abs(actual - expected) <= tolerance * scale + 1e-9, (actual, expected)


@pytest.fixture(scope="session")
def data_set() -> Callable[[str], Path]:
    """`data_set(name)`: the folder of a data set below FASTCONV_DATA, or a skip."""

    def find(name: str) -> Path:
        root = config.data_dir()
        if root is None or not (root / name).exists():
            pytest.skip(f"needs FASTCONV_DATA with {name!r} (see CONTRIBUTING.md)")
        return root / name

    return find
