"""Running plans on arrays."""

from fastconv.execution.function import Function, function

__all__ = ["Function", "function"]
