"""Every exception and warning class that fastconv raises on purpose.

Each class also inherits the built-in class a Python user would expect, so that
``except ValueError`` keeps working. A message says who complains, what was expected,
what came, and the likely fix.
"""

__all__ = [
    "ArgumentError",
    "DataError",
    "DeviceError",
    "DtypeError",
    "FastconvError",
    "FastconvWarning",
    "FormatError",
    "MissingExtraError",
    "OutOfMemoryError",
    "ShapeError",
    "UnknownNameError",
]


class FastconvError(Exception):
    """Base class of all errors of fastconv."""


class ArgumentError(FastconvError, ValueError):
    """An argument has a value that makes no sense (a negative stride, say)."""


class ShapeError(FastconvError, ValueError):
    """Shapes that do not fit each other, or a layer."""


class DtypeError(FastconvError, TypeError):
    """A dtype that an operation, a device or a file does not take."""


class DataError(FastconvError, ValueError):
    """Data that cannot be trained on: no samples, NaN, a label out of range."""


class FormatError(FastconvError, ValueError):
    """A file that is damaged, truncated, of a newer version, or of another format."""


class UnknownNameError(FastconvError, ValueError):
    """A name (of a layer, loss, model, data set ...) that is not known."""


class DeviceError(FastconvError, RuntimeError):
    """A device that is absent, or failed while it computed."""


class OutOfMemoryError(FastconvError, MemoryError):
    """A plan needs more memory than there is; the message says how much.

    fits: the largest batch that would fit, 0 if none.
    """

    def __init__(self, message: str = "", fits: int = 0) -> None:
        super().__init__(message)
        self.fits = fits


class MissingExtraError(FastconvError, ImportError):
    """An optional package is needed; the message names the extra to install."""


class FastconvWarning(UserWarning):
    """Base class of the warnings of fastconv."""


def unknown_name(
    what: str, name: object, known: "list[str] | tuple[str, ...]"
) -> UnknownNameError:
    """The error for an unknown ``name`` of kind ``what``, with the nearest ones."""
    import difflib

    near = difflib.get_close_matches(str(name), known, n=3)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UnknownNameError(
        f"unknown {what} {name!r}.{hint} Known: {', '.join(sorted(known))}"
    )
