"""Prints a command of the README: `install` (its part that installs) or `test`."""

import re
import sys
from pathlib import Path


def command(kind: str, text: str) -> str:
    """The first shell line that installs, or the whole shell block that runs pytest."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.M | re.S)
    for block in blocks:
        lines = [re.sub(r"^\$ ", "", line) for line in block.splitlines()]
        if kind == "test" and any("pytest" in line for line in lines):
            return "\n".join(lines)
        for line in lines:
            if kind == "install" and "pip install" in line:
                return line.split("#")[0].split("&&")[0].strip()
    sys.exit(f"README.md has no command to {kind}")


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    print(command(sys.argv[1], (root / "README.md").read_text(encoding="utf-8")))
