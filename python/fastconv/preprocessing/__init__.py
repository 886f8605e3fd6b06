"""Keras's older names for the preparation of data."""

from fastconv.preprocessing import image

__all__ = ["image"]
