"""The one place that reads the environment."""

import os
from pathlib import Path

__all__ = ["cache_dir", "data_dir", "offline", "sanity", "setting"]


def setting(name: str, default: str = "") -> str:
    """The environment variable ``FASTCONV_<NAME>``; unset or empty gives ``default``.

    >>> setting("no_such_setting", "fallback")
    'fallback'
    """
    return os.environ.get(f"FASTCONV_{name.upper()}") or default


def cache_dir() -> Path:
    """The folder of downloaded files; it is not created here.

    ``FASTCONV_CACHE``, else ``$XDG_CACHE_HOME/fastconv``, else ``~/.cache/fastconv``.
    """
    chosen = setting("cache")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fastconv"


def data_dir() -> Path | None:
    """The folder of data sets named by ``FASTCONV_DATA``, or None when it is unset."""
    chosen = setting("data")
    return Path(chosen).expanduser() if chosen else None


def offline() -> bool:
    """Whether ``FASTCONV_OFFLINE`` forbids every use of the network."""
    return setting("offline").lower() not in ("", "0", "false", "no")


def sanity() -> bool:
    """Whether ``fit`` checks data and model first; ``FASTCONV_SANITY=0`` forbids it."""
    return setting("sanity", "1").lower() not in ("0", "false", "no")
