"""The names of Keras that a script uses, found in its syntax tree, never by running it.

Followed are imports of ``keras``, ``tensorflow.keras``, ``tf_keras`` and ``fastconv``
under any alias, attributes of what they bring, and the arguments of calls.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fastconv.errors import FormatError

__all__ = ["Lacking", "lacking"]

_UNNAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)
ROOTS = ("tensorflow.keras", "tensorflow.python.keras", "keras", "tf_keras", "fastconv")


@dataclass(frozen=True)
class Lacking:
    """A name or an argument that fastconv lacks, and where it is used."""

    line: int
    name: str  # as Keras has it: keras.layers.LSTM
    argument: str | None = None  # of a call of ``name``
    near: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = self.name
        if self.argument is not None:
            what = f"argument {self.argument!r} of {self.name}"
        return what + (f"; near: {', '.join(self.near)}" if self.near else "")


def lacking(source: str, filename: str = "script") -> tuple[int, list[Lacking]]:
    """How many names of Keras a script uses, and what of them there is not.

    Raises
    ------
    FormatError if it is no Python.

    >>> from fastconv.cli.script_names import lacking
    >>> used, found = lacking("import keras; keras.layers.Dence(3)")
    >>> print(found[0])
    keras.layers.Dence; near: Dense
    """
    try:
        tree = ast.parse(source, filename)
    except (SyntaxError, ValueError) as error:
        raise FormatError(f"{filename}: expected a Python script: {error}") from error
    names = _Names()
    names.visit(tree)
    unique = {(item.line, str(item)): item for item in names.found}
    return len(names.used), [unique[key] for key in sorted(unique)]


class _Names(ast.NodeVisitor):
    """Walks a script in the order of its lines; aliases are kept by their name."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}  # name in the script -> "keras.layers"
        self.models: dict[str, str] = {}  # variable -> "keras.Sequential"
        self.used: set[str] = set()
        self.found: list[Lacking] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            path = _below_root(alias.name)
            if path is not None:
                self._use(path, node.lineno)
                if alias.asname:
                    self.aliases[alias.asname] = path
                elif alias.name.startswith("tensorflow"):
                    self.aliases["tensorflow"] = "tensorflow"
                else:
                    self.aliases[alias.name.partition(".")[0]] = "keras"
            elif alias.name == "tensorflow":
                self.aliases[alias.asname or "tensorflow"] = "tensorflow"

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        path = _below_root(module)
        if path is None and module != "tensorflow":
            return
        for alias in node.names:
            if path is None and alias.name != "keras":
                continue
            whole = "keras" if path is None else f"{path}.{alias.name}"
            if alias.name != "*":
                self._use(whole, node.lineno)
                self.aliases[alias.asname or alias.name] = whole
            else:
                self._use(path or "keras", node.lineno)
                self._star(path or "keras")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self._path(node)
        if path is None:
            self.generic_visit(node)
        else:
            self._use(path, node.lineno)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        value = node.value
        called = isinstance(value, ast.Call)
        path = self._path(value.func if isinstance(value, ast.Call) else value)
        for target in node.targets:
            if not isinstance(target, ast.Name):
                continue
            self.models.pop(target.id, None)
            if path is not None and called and _is_model(_found(path)):
                self.models[target.id] = path
            elif path is not None and not called:  # layers = keras.layers
                self.aliases[target.id] = path

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        path = self._path(node.func) or self._method(node.func)
        accepted = None if path is None else _accepted(_found(path))
        for keyword in node.keywords:
            if keyword.arg and accepted is not None and keyword.arg not in accepted:
                near = difflib.get_close_matches(keyword.arg, accepted, 2)
                line = keyword.value.lineno
                self.found.append(Lacking(line, str(path), keyword.arg, near))

    def _method(self, function: ast.expr) -> str | None:
        """``keras.Model.fit`` for a method of a variable that holds a new model."""
        if not isinstance(function, ast.Attribute):
            return None
        if not isinstance(function.value, ast.Name):
            return None
        path = self.models.get(function.value.id)
        if path is None:
            return None
        self._use(f"{path}.{function.attr}", function.lineno)
        return f"{path}.{function.attr}"

    def _star(self, path: str) -> None:
        module = _found(path)
        for name in getattr(module, "__all__", ()):
            self.aliases[name] = f"{path}.{name}"

    def _path(self, node: ast.AST) -> str | None:
        """``keras.layers.Dense`` for an expression that means that, else None."""
        if isinstance(node, ast.Name):
            path = self.aliases.get(node.id)
            return None if path == "tensorflow" else path
        if not isinstance(node, ast.Attribute):
            return None
        named = node.value.id if isinstance(node.value, ast.Name) else ""
        if node.attr == "keras" and self.aliases.get(named) == "tensorflow":
            return "keras"
        path = self._path(node.value)
        inside = path is not None and isinstance(_found(path), ModuleType)
        return f"{path}.{node.attr}" if inside else None

    def _use(self, path: str, line: int) -> None:
        self.used.add(path)
        if _found(path) is None:
            owner, _, name = path.rpartition(".")
            module = _found(owner)
            if module is None:  # what holds the name is lacking, too
                self._use(owner, line)
                return
            known = getattr(module, "__all__", None) or dir(module)
            near = difflib.get_close_matches(name, known, 3)
            self.found.append(Lacking(line, path, near=near))


def _below_root(module: str) -> str | None:
    """``keras.layers`` for ``tensorflow.keras.layers``; None for other modules."""
    for root in ROOTS:
        if module == root or module.startswith(f"{root}."):
            return "keras" + module.removeprefix(root)
    return None


def _found(path: str) -> Any:
    """What fastconv has under a name of Keras; None if there is nothing."""
    value: Any = importlib.import_module("fastconv")
    for name in path.split(".")[1:]:
        inside = _submodule(value, name)
        value = getattr(value, name, None) if inside is None else inside
        if value is None:
            return None
    return value


def _submodule(owner: Any, name: str) -> ModuleType | None:
    """A module in a package that does not name it, such as layers.channels_first."""
    if not hasattr(owner, "__path__") or hasattr(owner, name):
        return None
    target = f"{owner.__name__}.{name}"
    return importlib.import_module(target) if importlib.util.find_spec(target) else None


def _is_model(value: Any) -> bool:
    from fastconv.training import Model

    return isinstance(value, type) and issubclass(value, Model)


def _accepted(function: Any) -> set[str] | None:
    """The names of the arguments that a call takes, old ones too; None if any will.

    ``**kwargs`` leads to the constructor of the next class.
    """
    from fastconv.layers.base import Layer

    names: set[str] = set()
    for called in _called(function):
        names |= set(getattr(called, "old_names", ()))
        try:
            parameters = inspect.signature(called).parameters.values()
        except (TypeError, ValueError):
            return None
        kinds = (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        names |= {p.name for p in parameters if p.kind in kinds}
        if called is Layer.__init__:
            return names | {"input_shape", "input_dim"}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None


def _called(function: Any) -> list[Any]:
    """The function, or the constructors of a class and of its bases."""
    if not inspect.isclass(function):
        return [function]
    own = (vars(c).get("__init__") for c in function.__mro__ if c is not object)
    return [constructor for constructor in own if constructor is not None]
