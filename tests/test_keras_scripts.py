"""Scripts written for Keras give what Keras gives, when only their imports change.

``keras_scripts/expected.jsonl`` is what Keras 3 printed; where Keras is installed it is
asked again.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc

FOLDER = Path(__file__).parent / "keras_scripts"
RUN = FOLDER / "run.py"
TOLERANCE = 1e-4  # of the largest number of an array: rounding, after some steps

EXPECTED = {}
for line in (FOLDER / "expected.jsonl").read_text(encoding="utf-8").splitlines():
    EXPECTED |= json.loads(line)


def results(library, name):
    """What a script gives under a library, in a process of its own."""
    environment = {"KERAS_BACKEND": "torch", **os.environ}
    done = subprocess.run(
        [sys.executable, RUN, library, name],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])[name]


def differences(found, expected, where=""):
    """Where two results differ, as text."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if sorted(found) != sorted(expected):
            return [f"{where}: {sorted(found)}, expected {sorted(expected)}"]
        parts = [(found[k], expected[k], f"{where}/{k}") for k in expected]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return [f"{where}: {len(found)} values, expected {len(expected)}"]
        pairs = zip(found, expected, strict=True)
        parts = [(f, e, f"{where}/{i}") for i, (f, e) in enumerate(pairs)]
    else:
        number = isinstance(expected, int | float) and not isinstance(expected, bool)
        near = number and found == pytest.approx(expected, TOLERANCE, TOLERANCE)
        return (
            [] if near or found == expected else [f"{where}: {found}, not {expected}"]
        )
    return [text for part in parts for text in differences(*part)]


def test_all_scripts_have_expected_results():
    scripts = {p.stem for p in FOLDER.glob("*.py")} - {"run", "fixed"}
    assert scripts == set(EXPECTED)
    assert len(scripts) == 10


def test_differences_are_seen():
    assert differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.001]})
    assert differences({"a": [1.0]}, {"a": [1.0, 2.0]})
    assert differences({"a": True}, {"a": False})
    assert not differences({"a": [1.0, "x"]}, {"a": [1.00001, "x"]})


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_script(name):
    if name == "custom_step" and not hasattr(fc.Model, "compute_loss"):
        pytest.skip("needs models with a train_step of their own")
    assert not differences(results("fastconv", name), EXPECTED[name])


@pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="needs Keras")
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_keras_still_gives_what_is_expected(name):
    assert not differences(results("keras", name), EXPECTED[name])
