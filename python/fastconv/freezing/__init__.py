"""Models for inference alone, whose weights kernels pack once."""

from fastconv.freezing.freezing import freeze

__all__ = ["freeze"]
