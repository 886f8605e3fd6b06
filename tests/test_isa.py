"""Tests of kernels again, in a process for each of the other instruction sets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv import _core

HERE = Path(__file__).parent
OTHERS = [name for name, _, supported in _core.isas() if supported]
OTHERS.remove(_core.active_isa())
# What plans let kernels do: prepare weights, pool, store bfloat16.
CHOICES = ("test_freezing.py", "test_execution_pooling.py", "test_execution_narrow.py")


def run_python(*arguments: str, isa: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FASTCONV_ISA": isa}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("isa", OTHERS)
def test_ops_on_another_isa(isa):
    added = _core.active_isa().startswith(f"{isa}_")  # all but these are its kernels
    pattern = "test_op_quantized.py" if added else "test_op_*.py"
    files = [str(file) for file in sorted(HERE.glob(pattern))]
    if not added:
        files += [str(HERE / name) for name in CHOICES]
    options = ("-q", "-x", "-p", "no:cacheprovider", "-k", "not reference")
    result = run_python("-m", "pytest", *options, *files, isa=isa)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


@pytest.mark.parametrize("isa", OTHERS)
def test_the_isa_that_was_asked_for_is_active(isa):
    code = "from fastconv import _core; print(_core.active_isa())"
    assert run_python("-c", code, isa=isa).stdout.strip() == isa


def test_an_isa_that_is_unknown():
    code = "from fastconv import _core; _core.active_isa()"
    result = run_python("-c", code, isa="mmx")
    assert result.returncode == 1
    assert "FASTCONV_ISA: expected one of" in result.stderr
