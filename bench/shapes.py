"""Prints the convolutions of a network as lines for bench/shapes, each problem once.

    python bench/shapes.py resnet50 --batch 8 > bench/shapes/conv_resnet50.txt
    python bench/shapes.py unet --batch 2 --image 128x128x3 --maps 64,128,256,512

A transposed convolution stands there as the convolution whose gradient it is.
"""

import argparse

import fastconv as fc
from fastconv._core import OpKind, WindowGeometry
from fastconv.models.network import Network
from fastconv.training import plan_report

KINDS = (OpKind.conv, OpKind.conv_backward_data)
LETTERS = {"w": ("kernel", 1), "s": ("stride", 1), "d": ("dilation", 1)}


def words(g: WindowGeometry) -> str:
    """The geometry in the words of `problems.py`."""
    axes = slice(next((i for i in range(2) if g.kernel[i] * g.input[i] > 1), 2), None)
    found = [f"n{g.batch}", f"i{_joined(g.input[axes])}"]
    found += [f"c{g.in_channels}", f"k{g.out_channels}"]
    for letter, (name, plain) in LETTERS.items():
        sizes = getattr(g, name)[axes]
        if letter == "w" or any(size != plain for size in sizes):
            found.append(f"{letter}{_joined(sizes)}")
    pads = [*zip(g.pad_before[axes], g.pad_after[axes], strict=True)]
    if any(before or after for before, after in pads):
        found.append("p" + _joined(b if b == a else f"{b}:{a}" for b, a in pads))
    if g.groups > 1:
        found.append(f"g{g.groups}")
    return " ".join(found)


def _joined(values) -> str:
    return "x".join(map(str, values))


def problems(model: fc.Model, batch: int, name: str) -> dict[str, str]:
    """The name of the first layer with each problem."""
    found: dict[str, str] = {}
    for node in plan_report.plan(model, batch, training=False).graph.nodes():
        if node.kind in KINDS:
            layer = node.label.split("/")[0]
            found.setdefault(words(node.attrs.geometry), f"{name}:{layer}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="name in the zoo")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--image", help="height x width x channels, 224x224x3")
    parser.add_argument("--maps", help="of U-Net")
    parser.add_argument("--name", help="in the lines; default MODEL")
    chosen = parser.parse_args()
    make = fc.models.get(chosen.model)
    options: dict[str, object] = {"weights": None} if isinstance(make, Network) else {}
    if chosen.image:
        options["input_shape"] = tuple(map(int, chosen.image.split("x")))
    if chosen.maps:
        options["maps"] = tuple(map(int, chosen.maps.split(",")))
    found = problems(make(**options), chosen.batch, chosen.name or chosen.model)
    for text, name in found.items():
        print(name, text)


if __name__ == "__main__":
    main()
