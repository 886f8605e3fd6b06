"""Models and their training: the loop, what it reports, and what it plans."""

from fastconv.training.model import Model, Sequential

__all__ = ["Model", "Sequential"]
