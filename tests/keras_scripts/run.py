"""Runs the scripts of this folder: ``python run.py keras > expected.jsonl``.

One line of JSON a script; names of scripts may follow. Under fastconv only the imports
of a script are changed.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
NAMES = (
    "sequential", "functional", "two_inputs", "shared_layer", "custom_layer",
    "custom_loss", "custom_step", "callbacks", "multi_output", "transfer",
)  # fmt: skip


def run(name, library):
    """The results of a script under "keras" or "fastconv", as JSON-like data."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    if library != "keras":
        source = re.sub(r"(?m)^import keras$", f"import {library} as keras", source)
        source = re.sub(r"(?m)^from keras\b", f"from {library}", source)
    sys.path.insert(0, str(FOLDER))
    try:
        space = {"__name__": f"keras_script_{name}"}
        exec(compile(source, f"{name}.py", "exec"), space)
    finally:
        sys.path.remove(str(FOLDER))
    return plain(space["results"])


def plain(value):
    """Numbers, strings and lists; arrays and tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


if __name__ == "__main__":
    for name in sys.argv[2:] or NAMES:
        print(json.dumps({name: run(name, sys.argv[1])}))
