"""Models as files, and back: the part of `Model` that saves, and what loads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastconv.custom_objects import custom_object_scope
from fastconv.errors import FormatError, unknown_name
from fastconv.training import model_file, plan_report
from fastconv.training.serialize import architecture
from fastconv.weights import loading

Path_ = str | os.PathLike[str]


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
        model_file.save(self, filepath, overwrite=overwrite)

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str | None = None,
        batch_size: int = 1,
        **options: Any,
    ) -> None:
        """Writes what `predict` computes, for other programs.

        Parameters
        ----------
        format: "onnx": an ONNX file, with an open batch, for ONNX Runtime and others;
            see `fastconv.onnx.export`. "plan": the steps for ``batch_size`` samples,
            the weights and a digest, for a C++ program: ``fastconv::load_plan`` (see
            ``fastconv/plan.h``) reads it without Python, and its outputs are those of
            `predict`, bit for bit on the same instruction set. Default "onnx" for a
            name that ends in ``.onnx``, else "plan".
        options: for "onnx": ``opset``, ``data_format``.

        Raises
        ------
        OSError with the path if it cannot be written; ArgumentError if the model has
        no input shape yet, calls back into Python, or has an op without a form in ONNX;
        UnknownNameError for another format.

        >>> import fastconv as fc
        >>> import os, tempfile
        >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
        >>> path = os.path.join(tempfile.mkdtemp(), "model.plan")
        >>> model.export(path, batch_size=8)
        >>> os.path.getsize(path) > 100
        True
        """
        named = os.fspath(filepath).lower().endswith(".onnx")
        if format == "onnx" or (format is None and named):
            from fastconv.onnx.exporting import export

            export(self, filepath, **options)
        elif format in ("plan", None):
            plan = plan_report.plan(self, batch_size, training=False)
            plan.save(os.fspath(filepath), **options)
        else:
            raise unknown_name("format", format, ["onnx", "plan"])

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        naming: str | None = None,
    ) -> None:
        """Writes the weights only, to one safetensors file; as `save`.

        Parameters
        ----------
        overwrite: whether a file that is there is replaced; default True.
        naming: None for fastconv's names and a digest (the default); "torchvision" for
            those of a PyTorch state dict, ``features.0.weight``, in PyTorch's layout;
            "keras" for Keras's, ``features.0/kernel``. Mean, deviation and class names
            of ``metadata`` are in each.

        Raises
        ------
        As `save`; UnknownNameError for another naming.
        """
        if naming is None:
            model_file.save(self, filepath, overwrite=overwrite, weights_only=True)
        else:
            loading.save_weights(self, filepath, overwrite, naming)

    def load_weights(
        self, filepath: str | os.PathLike[str], skip_mismatch: bool = False
    ) -> None:
        """Reads weights from a file of fastconv, PyTorch, Keras, ONNX or NumPy.

        Safetensors, ``.pth`` and ``.pt`` state dicts (PyTorch is not needed),
        ``.weights.h5``, ``.h5`` and ``.keras`` (h5py is needed: the extra ``keras``),
        ``.npz``, the initializers of ``.onnx``. Nothing in a file runs. Weights are
        found by the names of fastconv, torchvision, timm or Keras or, if all names
        differ, by their order; shapes are compared in the layout of the file.

        Parameters
        ----------
        skip_mismatch: leave weights alone that the file has not, or has in another
            shape, instead of an error; default False.

        Raises
        ------
        FormatError if the file is damaged, wants to run something, or does not fit the
        model, which then is as before; OSError if it cannot be read.
        """
        loading.load_weights(self, filepath, skip_mismatch)

    def to_json(self, **options: Any) -> str:
        """The architecture as JSON, for `fastconv.training.model_from_json`."""
        return json.dumps(architecture(self), **options)

    def __reduce__(self) -> Any:
        return _restore, (model_file.dump(self), model_file.own_objects(self))


def save_model(model: Any, filepath: Path_, overwrite: bool = True) -> None:
    """`Model.save` as a function.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
    >>> from fastconv.training import save_model
    >>> save_model(model, os.path.join(tempfile.mkdtemp(), "model.safetensors"))
    """
    model.save(filepath, overwrite=overwrite)


def load_model(
    filepath: Path_,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
) -> Any:
    """The model in a file of `Model.save`, ready to go on with its training.

    A file is data: it can name classes and functions, never bring them.

    Parameters
    ----------
    filepath: the file.
    custom_objects: name -> class or function, for layers, losses and metrics of your
        own.
    compile: whether the model gets its optimizer, loss and metrics back; default True.

    Raises
    ------
    FormatError if the file is truncated, damaged, of a newer version, or names a class
    that is not known; OSError if it cannot be read.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)], name="small").save(path)
    >>> fc.load_model(path).name
    'small'
    """
    with custom_object_scope(custom_objects):
        return model_file.load(
            Path(filepath).read_bytes(), os.fspath(filepath), compile
        )


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A new model, with new weights, of the architecture that `Model.to_json` gave.

    >>> import fastconv as fc
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
    >>> from fastconv.training import model_from_json
    >>> model_from_json(model.to_json()).output_shape
    (None, 3)
    """
    with custom_object_scope(custom_objects):
        try:
            data = json.loads(text)
        except ValueError as error:
            raise FormatError(f"model_from_json: expected JSON: {error}") from error
        return model_file.built(data, "model_from_json")


def _restore(data: bytes, own: Mapping[str, Any]) -> Any:
    """The model that pickle or copy took apart, with the user's own classes."""
    with custom_object_scope(own):
        return model_file.load(data, "pickled model")
