"""The output codes of LeNet-5: the ten digits, drawn in 7 x 12 dots.

Drawn after figure 3 of LeCun et al. 1998: similar digits have similar codes, so that
what is confused stays near.
"""

from __future__ import annotations

import numpy as np

_DRAWN = """
.#####. ...##.. .#####. .#####. ##...## ####### .#####. ####### .#####. .#####.
##...## ..###.. ##...## ##...## ##...## ##..... ##...## .....## ##...## ##...##
##...## .####.. .....## .....## ##...## ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ##...## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. .....## ##...## ######. ##..... ....##. ##...## ##...##
##...## ...##.. ...##.. ..####. ##...## .....## ######. ...##.. .#####. ##...##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .######
##...## ...##.. .##.... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## .....## .....## ##...## .##.... ##...## .....##
##...## ...##.. ##..... ##...## .....## ##...## ##...## .##.... ##...## ##...##
.#####. .###### ####### .#####. .....## .#####. .#####. .##.... .#####. .#####.
"""


def digit_codes() -> np.ndarray:
    """The codes, shape (10, 84): 1 for a dot, -1 for none, row by row.

    >>> from fastconv.models.lenet_codes import digit_codes
    >>> digit_codes().shape
    (10, 84)
    """
    lines = [line.split() for line in _DRAWN.split("\n") if line]
    digits = ["".join(rows) for rows in zip(*lines, strict=True)]
    return np.array(
        [[1 if dot == "#" else -1 for dot in d] for d in digits], np.float32
    )
