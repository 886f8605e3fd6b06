"""Objects cut out of the images of a data set in Pascal VOC's form, a folder a class.

So boxes become a data set for classification::

    python examples/voc_crops.py path/to/bccd cells --limit 300
    python examples/course_listing_2.py --data cells

The images that ``ImageSets/Main/test.txt`` names become ``cells/test/CLASS/``, all
others ``cells/train/CLASS/``.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import fastconv as fc


def boxes(path: Path) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Class, and left, top, right and bottom pixel, of each object of an image."""
    for item in ET.parse(path).iter("object"):
        sides = [
            int(float(item.findtext(f"bndbox/{side}", "0")))
            for side in ("xmin", "ymin", "xmax", "ymax")
        ]
        yield item.findtext("name", ""), tuple(sides)


def crop(
    image: np.ndarray, box: tuple[int, int, int, int], size: int
) -> np.ndarray | None:
    """The square around a box, scaled to size x size; None for one without area."""
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        return None
    side = min(max(right - left, bottom - top), *image.shape[:2])
    x = min(max((left + right - side) // 2, 0), image.shape[1] - side)
    y = min(max((top + bottom - side) // 2, 0), image.shape[0] - side)
    square = image[y : y + side, x : x + side]
    return fc.ops.resize(square, (size, size), antialias=True)


def main(argv: Sequence[str] | None = None) -> dict[str, int]:
    """Cuts them out; gives how many there are of each part and class."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="folder with Annotations, JPEGImages")
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=int, default=80, help="pixels of a side")
    parser.add_argument("--limit", type=int, default=300, help="a class and part")
    args = parser.parse_args(argv)
    test = args.source / "ImageSets" / "Main" / "test.txt"
    held_out = set(test.read_text().split()) if test.is_file() else set()
    counts: Counter[str] = Counter()
    for path in sorted((args.source / "Annotations").glob("*.xml")):
        part = "test" if path.stem in held_out else "train"
        image = fc.utils.load_img(args.source / "JPEGImages" / f"{path.stem}.jpg")
        pixels = fc.utils.img_to_array(image)
        for name, box in boxes(path):
            place = f"{part}/{Path(name).name}"
            found = crop(pixels, box, args.size)
            if found is None or counts[place] >= args.limit:
                continue
            folder = args.target / place
            folder.mkdir(parents=True, exist_ok=True)
            fc.utils.save_img(folder / f"{counts[place]:05d}.png", found, scale=False)
            counts[place] += 1
    for place, count in sorted(counts.items()):
        print(f"{place}: {count}")
    return dict(counts)


if __name__ == "__main__":
    main()
