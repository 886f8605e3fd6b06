"""The parts all figures are made of: the document, text, lines, pictures in it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np

from fastconv.data.png import encode_png
from fastconv.errors import ArgumentError

__all__ = ["Figure", "box", "document", "picture", "rule", "series_class", "text"]

SERIES = 10  # colours there are; further series take them again
# Hues that can be read on white and on black, and told apart without red and green.
_HUES = (
    "#2f81f7", "#e8710a", "#1f9e89", "#b04fc4", "#c9a20b", "#d6456b", "#5b6ee1",
    "#7a9a2e", "#8f6a4f", "#39a7c9",
)  # fmt: skip
_STYLE = """
    text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, sans-serif;
           fill: #768390 }
    .title { font-size: 15px; font-weight: 600 }
    .name { font-size: 13px; font-weight: 600 }
    path { fill: none; stroke-linejoin: round; stroke-linecap: round }
    image { image-rendering: pixelated }
    .grid { stroke: #8b949e; stroke-opacity: 0.25 }
    .mark { stroke: #c93c37; stroke-width: 1.5; stroke-dasharray: 4 4 }
    .on { fill: #ffffff }
    .axis { stroke: #8b949e; stroke-opacity: 0.8 }
    .box { fill: #8b949e; fill-opacity: 0.12; stroke: #8b949e }
"""


class Figure:
    """A picture as SVG text; notebooks show it, and `save` writes it to a file.

    ``figure.svg`` is the text. It has no script and loads nothing; the ground is
    transparent, and greys and hues can be read on white and on black.

    >>> import fastconv as fc
    >>> figure = fc.plot.lines({"y": ([0, 1], [2, 3])})
    >>> figure
    <Figure 460x340>
    >>> figure.svg.startswith("<svg")
    True
    """

    def __init__(self, svg: str, width: int, height: int) -> None:
        self.svg = svg
        self.width = width
        self.height = height

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the SVG file.

        Raises
        ------
        ArgumentError: the name does not end in ``.svg``.
        """
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise ArgumentError(
                f"{target}: figures are SVG files; expected a name that ends in .svg, "
                f"such as {target.with_suffix('.svg').name}"
            )
        target.write_text(self.svg, encoding="utf-8")

    def _repr_svg_(self) -> str:
        """What notebooks show."""
        return self.svg

    def __repr__(self) -> str:
        return f"<Figure {self.width}x{self.height}>"


def document(
    width: float, height: float, parts: Iterable[str], title: str = "figure"
) -> Figure:
    """A figure of such parts; ``title``, plain text, is what screen readers say."""
    hues = "".join(
        f".s{i} {{ stroke: {hue}; stroke-width: 2 }} .f{i} {{ fill: {hue} }}\n"
        for i, hue in enumerate(_HUES)
    )
    body = "\n".join(part for part in parts if part)
    w, h = round(width), round(height)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" '
        f'height="{h}" role="img">\n<title>{_safe(title)}</title>\n'
        f"<style>{_STYLE}{hues}</style>\n{body}\n</svg>\n"
    )
    return Figure(svg, w, h)


def series_class(number: int) -> str:
    """The class of the colour of a series."""
    return str(number % SERIES)


def text(
    x: float, y: float, words: object, kind: str = "", anchor: str = "start"
) -> str:
    """Words with their base line at (x, y); they are escaped here."""
    attributes = f' class="{kind}"' if kind else ""
    if anchor != "start":
        attributes += f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{_safe(words)}</text>'


def _safe(words: object) -> str:
    """Escaped, and without the control characters that XML cannot hold."""
    kept = (c for c in str(words) if c >= " " and not 0xD800 <= ord(c) < 0xE000)
    return escape("".join(kept))


def rule(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def box(kind: str, x: float, y: float, width: float, height: float) -> str:
    """A rectangle."""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"/>'
    )


def picture(pixels: np.ndarray, x: float, y: float, width: float, height: float) -> str:
    """An image (H, W, 1 or 3), uint8, as a PNG inside the figure."""
    data = base64.b64encode(encode_png(pixels)).decode()
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    )
