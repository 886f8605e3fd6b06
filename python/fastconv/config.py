"""Settings: the one place that reads the environment, and those of `keras.config`."""

import os
from pathlib import Path

from fastconv.errors import ArgumentError, DtypeError, unknown_name

__all__ = [
    "backend",
    "cache_dir",
    "data_dir",
    "epsilon",
    "float32_precision",
    "floatx",
    "image_data_format",
    "mirror",
    "offline",
    "sanity",
    "set_epsilon",
    "set_float32_precision",
    "set_floatx",
    "set_image_data_format",
    "setting",
]

_DATA_FORMATS = {
    "channels_last": "channels_last",
    "channels_first": "channels_first",
    "tf": "channels_last",  # the names of Keras 1
    "th": "channels_first",
}
_data_format = "channels_last"
_epsilon = 1e-7
_PRECISIONS = ("float32", "tf32")
_precision = "float32"


def setting(name: str, default: str = "") -> str:
    """The environment variable ``FASTCONV_<NAME>``; unset or empty gives ``default``.

    >>> setting("no_such_setting", "fallback")
    'fallback'
    """
    return os.environ.get(f"FASTCONV_{name.upper()}") or default


def cache_dir() -> Path:
    """The folder of downloaded files; it is not created here.

    ``FASTCONV_CACHE``, else ``$XDG_CACHE_HOME/fastconv``, else ``~/.cache/fastconv``.

    >>> cache_dir().is_absolute()
    True
    """
    chosen = setting("cache")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fastconv"


def data_dir() -> Path | None:
    """The folder of data sets named by ``FASTCONV_DATA``, or None when it is unset.

    >>> folder = data_dir()
    """
    chosen = setting("data")
    return Path(chosen).expanduser() if chosen else None


def mirror() -> Path | None:
    """The folder of published weights named by ``FASTCONV_MIRROR``, or None.

    >>> folder = mirror()
    """
    chosen = setting("mirror")
    return Path(chosen).expanduser() if chosen else None


def offline() -> bool:
    """Whether ``FASTCONV_OFFLINE`` forbids every use of the network.

    >>> offline() in (True, False)
    True
    """
    return setting("offline").lower() not in ("", "0", "false", "no")


def sanity() -> bool:
    """Whether ``fit`` checks data and model first; ``FASTCONV_SANITY=0`` forbids it.

    >>> sanity() in (True, False)
    True
    """
    return setting("sanity", "1").lower() not in ("0", "false", "no")


def backend() -> str:
    """What computes: always "fastconv"; scripts for several backends ask for it.

    >>> import fastconv as fc
    >>> fc.config.backend()
    'fastconv'
    """
    return "fastconv"


def epsilon() -> float:
    """A small number against division by zero, for functions of your own.

    The losses and layers of fastconv have constants of their own, Keras's defaults.

    >>> import fastconv as fc
    >>> fc.config.epsilon()
    1e-07
    """
    return _epsilon


def set_epsilon(value: float) -> None:
    """Sets what `epsilon` gives.

    Raises
    ------
    ArgumentError for a value that is not above 0.

    >>> import fastconv as fc
    >>> fc.config.set_epsilon(1e-7)
    """
    global _epsilon
    if not isinstance(value, int | float) or not value > 0:
        raise ArgumentError(f"epsilon: expected a number > 0, received {value!r}")
    _epsilon = float(value)


def floatx() -> str:
    """The dtype that computation is in by default.

    >>> import fastconv as fc
    >>> fc.config.floatx()
    'float32'
    """
    return "float32"


def set_floatx(value: str) -> None:
    """Accepts "float32", the one default dtype that there is.

    Raises
    ------
    DtypeError for another one.

    >>> import fastconv as fc
    >>> fc.config.set_floatx("float32")
    """
    if value != "float32":
        raise DtypeError(
            f"set_floatx: expected 'float32', received {value!r}; fastconv trains in "
            "float32"
        )


def float32_precision() -> str:
    """How exactly GPUs multiply float32: "float32", unless it was changed.

    >>> import fastconv as fc
    >>> fc.config.float32_precision()
    'float32'
    """
    return _precision


def set_float32_precision(precision: str) -> None:
    """Sets how exactly convolutions and matrix products of float32 multiply on GPUs.

    Parameters
    ----------
    precision: "float32", exactly; or "tf32", on tensor cores, which is several times
        faster: both factors are rounded to TF32 (the range of float32, 10 bits behind
        the point), products are exact, and sums are float32. Results are wrong by about
        2^-11 of the largest. Arrays stay float32, and so does what a CPU computes.

    Models and functions compute so from their next call on; what `Function.compile`
    returned before stays what it was.

    Raises
    ------
    UnknownNameError for another name.

    >>> import fastconv as fc
    >>> fc.config.set_float32_precision("float32")
    """
    global _precision
    if precision not in _PRECISIONS:
        raise unknown_name("float32_precision", precision, _PRECISIONS)
    _precision = precision


def image_data_format() -> str:
    """What ``data_format=None`` stands for: "channels_last", unless it was changed.

    >>> import fastconv as fc
    >>> fc.config.image_data_format()
    'channels_last'
    """
    return _data_format


def set_image_data_format(data_format: str) -> None:
    """Sets what ``data_format=None`` stands for in layers made from now on.

    Scripts whose images are (depth, height, width) call it once, with "channels_first",
    or import their layers from `fastconv.layers.channels_first`.

    Raises
    ------
    UnknownNameError for another name.

    >>> import fastconv as fc
    >>> fc.config.set_image_data_format("channels_last")
    """
    global _data_format
    _data_format = data_format_name(data_format)


def data_format_name(data_format: str | None) -> str:
    """The full name of a data format; None is the one in force."""
    if data_format is None:
        return _data_format
    if data_format not in _DATA_FORMATS:
        raise unknown_name(
            "data_format", data_format, ["channels_last", "channels_first"]
        )
    return _DATA_FORMATS[data_format]
