"""ONNX files: export of models, and import of files as models that can be trained."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["export", "load"]

_MODULES = {"export": "exporting", "load": "importing"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fastconv.onnx' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastconv.onnx.{_MODULES[name]}"), name)
