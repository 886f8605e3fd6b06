"""`python -m fastconv`: the command line, and where C++ finds the library."""

import sys
from pathlib import Path


def main() -> int:
    """Prints the folder of the CMake package (``--cmake-dir``), or runs a command.

    >>> from fastconv.__main__ import main
    >>> main.__module__
    'fastconv.__main__'
    """
    if sys.argv[1:] == ["--cmake-dir"]:
        print(Path(__file__).resolve().parent / "cmake")
        return 0
    from fastconv.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
