"""Docstrings: every public name has one with an example, and all examples run."""

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import fastconv

ROOT = Path(__file__).parents[1]
OPTIONS = (
    doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
)
MODULES = ["fastconv"] + [
    info.name
    for info in pkgutil.walk_packages(fastconv.__path__, "fastconv.")
    if not info.name.startswith(("fastconv._core", "fastconv.lib"))  # native
]


def public(module: ModuleType, seen: set[int]) -> Iterator[tuple[str, object]]:
    """What `__all__` of a module and of the modules in it offers, each object once."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name, None)
        if value is None or id(value) in seen or name == "__version__":
            continue
        seen.add(id(value))
        yield f"{module.__name__}.{name}", value
        if isinstance(value, ModuleType):
            yield from public(value, seen)


PUBLIC = dict(public(fastconv, set()))


def test_modules_offer_what_they_list():
    modules = [fastconv, *(v for v in PUBLIC.values() if isinstance(v, ModuleType))]
    for module in modules:
        assert getattr(module, "__all__", None), f"{module.__name__} has no __all__"
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.{name} does not exist"


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert failed == 0


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_is_documented(name):
    value = PUBLIC[name]
    assert inspect.getdoc(value), "no docstring"
    if not inspect.isclass(value):
        return
    lacking = [
        member
        for member, item in vars(value).items()
        if not member.startswith("_")
        and (
            inspect.isfunction(item)
            or isinstance(item, property | classmethod | staticmethod)
        )
        and not inspect.getdoc(getattr(value, member))
    ]
    assert not lacking, f"methods without a docstring: {lacking}"


def needs_example(value: object) -> bool:
    """Functions and classes, but not errors, which users only catch."""
    if inspect.isclass(value):
        return not issubclass(value, BaseException)
    return callable(value)


@pytest.mark.parametrize(
    "name", sorted(n for n, v in PUBLIC.items() if needs_example(v))
)
def test_public_name_has_an_example(name):
    value = PUBLIC[name]
    doc = value.__doc__ or ""
    assert ">>>" in doc, "no example in the docstring"


@pytest.mark.parametrize("page", sorted(p.name for p in ROOT.glob("docs/*.md")))
def test_python_of_the_pages_is_python(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        compile(block, page, "exec")
