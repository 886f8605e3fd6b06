"""Sphinx configuration: `sphinx-build -W docs docs/_build`."""

import fastconv

project = "fastconv"
author = "The fastconv developers"
copyright = "2026, " + author  # noqa: A001
release = fastconv.__version__
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Convolutional networks in one small fast package"}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Several classes have a `size`; the words in our docstrings are no references.
suppress_warnings = ["ref.python"]
