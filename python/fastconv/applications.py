"""Networks of the literature under Keras's module names.

``from keras.applications.inception_v3 import InceptionV3`` becomes ``from
fastconv.applications.inception_v3 import InceptionV3``; the networks themselves are in
`fastconv.models`.
"""

from __future__ import annotations

import importlib
import sys

from fastconv.models.inception_v3 import InceptionV3

__all__ = ["InceptionV3"]

__path__: list[str] = []  # what is imported from here is in the table below
for _name in ("inception_v3",):
    _module = importlib.import_module(f"fastconv.models.{_name}")
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _module
