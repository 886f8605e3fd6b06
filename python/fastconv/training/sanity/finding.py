"""What a check found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong.

    check: which check it is from, such as "labels" or "duplicates".
    message: what was seen, with figures, what was expected, and what to do.
    """

    check: str
    message: str
