"""The examples run, and learn."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def last_number(name: str, *args: str) -> float:
    """The number in the last line that an example prints."""
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [*command, EXAMPLES / f"{name}.py", *args],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(re.findall(r"[\d.]+", done.stdout.splitlines()[-1])[-1])


def test_first_listing_of_the_course():
    assert last_number("course_listing_1") < 0.1  # four classes, by chance: 1.39


def test_second_listing_of_the_course():
    assert last_number("course_listing_2") < 1.386


@pytest.mark.parametrize("name", ["course_listing_1", "course_listing_2"])
def test_old_names_are_announced(name):
    command = [sys.executable, "-W", "error::DeprecationWarning"]
    done = subprocess.run(
        [*command, EXAMPLES / f"{name}.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "DeprecationWarning" in done.stderr
