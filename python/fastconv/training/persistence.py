"""The part of `Model` that saves and loads."""

from __future__ import annotations

import os
from typing import Any


class Persistence:
    """save, save_weights, load_weights, to_json, pickle and copy."""

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Writes the model to one safetensors file: see `fastconv.load_model`.

        It holds the weights, the architecture, what was given to `compile`, the state
        of the optimizer and of chance, and a digest. It is written beside and renamed:
        a file that was there stays whole until the new one is.

        Raises
        ------
        OSError with the path if it cannot be written; FileExistsError if it is there
        and ``overwrite`` is False; ArgumentError if a layer cannot be described as
        data.

        >>> import fastconv as fc
        >>> import os, tempfile
        >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3, name="d")])
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model.save(path)
        >>> fc.load_model(path).get_layer("d").units
        3
        """
        from fastconv.io import checkpoint

        checkpoint.save(self, filepath, overwrite=overwrite)

    def export(self, filepath: str | os.PathLike[str], batch_size: int = 1) -> None:
        """Writes the plan of `predict` for a C++ program: see ``fastconv/plan.h``.

        The file holds the steps for ``batch_size`` samples, the weights and a digest.
        ``fastconv::load_plan`` reads it without Python, and its outputs are those of
        `predict`, bit for bit on the same instruction set.

        Raises
        ------
        OSError with the path if it cannot be written; ArgumentError if the model has
        no input shape yet, or calls back into Python.

        >>> import fastconv as fc
        >>> import os, tempfile
        >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
        >>> path = os.path.join(tempfile.mkdtemp(), "model.plan")
        >>> model.export(path, batch_size=8)
        >>> os.path.getsize(path) > 100
        True
        """
        from fastconv.training.planning import plan

        plan(self, batch_size, training=False).save(os.fspath(filepath))

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True
    ) -> None:
        """Writes the weights only, to one safetensors file; as `save`."""
        from fastconv.io import checkpoint

        checkpoint.save(self, filepath, overwrite=overwrite, weights_only=True)

    def load_weights(
        self, filepath: str | os.PathLike[str], skip_mismatch: bool = False
    ) -> None:
        """Reads weights from a file of `save` or `save_weights`.

        They are found by name or, if all names differ, by their order.

        Parameters
        ----------
        skip_mismatch: leave weights alone that the file has not, or has in another
            shape, instead of an error; default False.

        Raises
        ------
        FormatError if the file is damaged, or does not fit the model.
        """
        from fastconv.io import checkpoint

        checkpoint.load_weights(self, filepath, skip_mismatch)

    def to_json(self, **options: Any) -> str:
        """The architecture as JSON, for `fastconv.io.model_from_json`."""
        import json

        from fastconv.io import checkpoint

        return json.dumps(checkpoint.architecture(self), **options)

    def __reduce__(self) -> Any:
        from fastconv.io import checkpoint

        return checkpoint.restore, checkpoint.freeze(self)
