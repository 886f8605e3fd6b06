"""Writes python/fastconv/_core.pyi from the built module: `python .ci/stubs.py`.

Needs pybind11-stubgen and ruff. Members of enums are written with their values, as type
checkers want them.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fastconv import _core

STUB = Path(__file__).parents[1] / "python" / "fastconv" / "_core.pyi"


def with_enum_values(text: str) -> str:
    """`name: typing.ClassVar[Kind]` becomes `name = value`."""

    def member(match: re.Match[str]) -> str:
        name, kind = match.groups()
        return f"    {name} = {int(getattr(getattr(_core, kind), name))}"

    return re.sub(r"^    (\w+): typing\.ClassVar\[(\w+)\].*$", member, text, flags=re.M)


def main() -> None:
    """Generates, completes and formats the stub."""
    with tempfile.TemporaryDirectory() as folder:
        generator = ["pybind11_stubgen", "fastconv._core", "-o", folder]
        subprocess.run([sys.executable, "-m", *generator], check=True)
        text = (Path(folder) / "fastconv" / "_core.pyi").read_text()
    STUB.write_text(with_enum_values(text))
    form = ["ruff", "format", "--config", "extend-exclude=[]", str(STUB)]
    subprocess.run([sys.executable, "-m", *form], check=True)


if __name__ == "__main__":
    main()
