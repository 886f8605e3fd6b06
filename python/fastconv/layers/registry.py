"""The names of layer classes in files, and the classes of such names.

fastconv's own classes go by their plain name, those of users by module and name: so
that a class of a user never stands in for one of fastconv, or the other way round.
"""

from __future__ import annotations

from typing import Any

from fastconv import custom_objects
from fastconv.errors import FormatError

__all__ = ["class_name", "layer_class", "register"]

_built_in: dict[str, type] = {}
_own: dict[str, type] = {}  # by module and name; the last of a name


def register(cls: type) -> None:
    """Makes a class one that saved models may name."""
    if is_built_in(cls):
        _built_in[cls.__name__] = cls
    else:
        _own[class_name(cls)] = cls


def is_built_in(cls: type) -> bool:
    """Whether the class is fastconv's."""
    return cls.__module__.startswith("fastconv.")


def class_name(cls: type) -> str:
    """What a file calls the class.

    >>> import fastconv as fc
    >>> class_name(fc.layers.Flatten)
    'Flatten'
    """
    if is_built_in(cls):
        return cls.__name__
    registered = custom_objects.get_registered_name(cls)
    own = f"{cls.__module__}.{cls.__name__}"
    return registered if ">" in registered else own


def layer_class(name: str) -> Any:
    """The class that a file calls ``name``.

    A plain name is fastconv's. A class of the user is looked for among those that were
    registered (``package>name``), then among the custom objects in force, by full and
    by plain name, then among all classes defined; one of
    the same plain name in another module will do only if one module is ``__main__``
    (a script that was imported later).

    Raises
    ------
    FormatError if there is none, or if several would do.
    """
    if name in _built_in:
        return _built_in[name]
    module, _, plain = name.rpartition(".")
    known = custom_objects.known()
    registered = custom_objects.get_registered_object(name)
    for found in (registered, known.get(name), known.get(plain), _own.get(name)):
        if isinstance(found, type):
            return found
    alike = [
        cls
        for cls in _own.values()
        if cls.__name__ == plain
        and (not module or "__main__" in (module, cls.__module__))
    ]
    if len(alike) == 1:
        return alike[0]
    several = f"; {', '.join(map(class_name, alike))} would do" if alike else ""
    raise FormatError(
        f"unknown layer class {name!r}; expected one of fastconv.layers, or pass "
        f"custom_objects={{{plain!r}: the class}}{several}"
    )
