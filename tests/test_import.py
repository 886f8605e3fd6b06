"""What starting costs: no heavy import where none is needed.

Times are those of the processor, of which other processes take less than of the clock,
and the best of several tries.
"""

import os
import subprocess
import sys

IMPORT_BUDGET_S = 0.040  # `import fastconv` over `import numpy`
HELP_BUDGET_S = 0.120  # `fastconv --help`, Python's own start included
TRIES = 10

HELP = """
import contextlib, sys
from fastconv.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout


def processor_seconds(code: str) -> float:
    before = os.times()
    run(code)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


def best(code: str, budget: float) -> float:
    """The least of several tries; stops when one is within the budget."""
    least = float("inf")
    for _ in range(TRIES):
        least = min(least, processor_seconds(code))
        if least <= budget:
            break
    return least


def test_import_costs_little_over_numpy():
    numpy = min(processor_seconds("import numpy") for _ in range(3))
    both = best("import numpy, fastconv", numpy + IMPORT_BUDGET_S)
    assert both - numpy <= IMPORT_BUDGET_S


def test_help_is_quick():
    assert best(HELP, HELP_BUDGET_S) <= HELP_BUDGET_S


def test_help_imports_nothing_heavy():
    heavy = "numpy", "tqdm", "safetensors", "fastconv._core", "fastconv.layers"
    code = f"{HELP}\nprint('loaded:', sorted(set({heavy!r}) & set(sys.modules)))"
    assert run(code).endswith("loaded: []\n")


def test_import_prints_nothing_and_needs_no_extra():
    code = (
        "import fastconv, sys; print({'PIL', 'matplotlib', 'tqdm'} & set(sys.modules))"
    )
    assert run(code) == "set()\n"


def test_every_public_name_can_be_loaded():
    code = "import fastconv as fc; [getattr(fc, name) for name in fc.__all__]; print(1)"
    assert run(code) == "1\n"
