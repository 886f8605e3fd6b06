"""Figures: well-formed SVG, the right pixels and positions, honest errors."""

import base64
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv as fc
from fastconv import plot
from fastconv.data.png import decode_png, encode_png
from fastconv.errors import ArgumentError, DataError, FastconvError, ShapeError
from fastconv.plot.colours import RAMPS, paint

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'a <b> & "c" \x00\x1b ü'
SAFE = 'a <b> & "c"  ü'


def root(figure: plot.Figure) -> ET.Element:
    """The parsed figure, whose size is that of the object."""
    found = ET.fromstring(figure.svg)
    assert found.get("viewBox") == f"0 0 {figure.width} {figure.height}"
    return found


def texts(figure: plot.Figure) -> list[str]:
    return [element.text or "" for element in root(figure).iter(f"{SVG}text")]


def pixels(figure: plot.Figure) -> list[np.ndarray]:
    """The images inside a figure."""
    links = [element.get("href") for element in root(figure).iter(f"{SVG}image")]
    return [decode_png(base64.b64decode(link.partition(",")[2])) for link in links]


FIGURES = {
    "curves": lambda t: plot.curves({"loss": [1.0, 0.5]}, t),
    "images": lambda t: plot.images(np.zeros((3, 5, 7)), [t, t, t], t),
    "feature_maps": lambda t: plot.feature_maps(np.zeros((3, 1, 5)), t),
    "filters": lambda t: plot.filters(np.ones((3, 3, 5, 20)), t),
    "overlays": lambda t: plot.overlays(
        np.zeros((1, 5, 7, 3)), np.ones((1, 2, 3)), [t], t
    ),
    "worst": lambda t: plot.worst_examples(
        np.zeros((1, 5, 7, 1)), [1], [[0.5, 0.5]], [t, t], t
    ),
    "confusion": lambda t: plot.confusion_matrix(np.eye(2), [t, t], t),
    "table": lambda t: plot.table([(t, "n"), (t, 1)], t),
    "lines": lambda t: plot.lines({t: ([0], [1]), "b": ([0], [2])}, t, t, t),
    "scatter": lambda t: plot.scatter(np.eye(2), [0, 1], [t, t], t, t, t),
    "histograms": lambda t: plot.histograms({t: [1.0]}, t),
    "network": lambda t: plot.network([[t], [t]], [(0, 1)], t),
    "bubbles": lambda t: plot.bubbles({t: (1, 2, 3)}, [t], t, t, t, t),
}


@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_escaped_and_files_are_the_same_bytes(name, tmp_path):
    figure = FIGURES[name](NASTY)
    assert any(SAFE in words for words in texts(figure))
    assert figure.svg == FIGURES[name](NASTY).svg == figure._repr_svg_()
    figure.save(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8") == figure.svg
    assert "<script" not in figure.svg
    assert "http" not in figure.svg.replace("http://www.w3.org/2000/svg", "")


def test_only_svg_files_are_written(tmp_path):
    with pytest.raises(ArgumentError, match=r"x\.svg"):
        plot.table([("a",)]).save(tmp_path / "x.png")


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
def test_png_round_trip(height, width, channels):
    image = np.random.default_rng(height * 10 + width).integers(
        0, 256, (height, width, channels), np.uint8
    )
    assert (decode_png(encode_png(image)) == image).all()


def test_png_is_what_pillow_reads(tmp_path):
    image = pytest.importorskip("PIL.Image")
    array = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    (tmp_path / "x.png").write_bytes(encode_png(array))
    assert (np.asarray(image.open(tmp_path / "x.png")) == array).all()


@pytest.mark.parametrize("shape", [(0, 4, 1), (4, 4), (4, 4, 2)])
def test_png_of_other_shapes_is_refused(shape):
    with pytest.raises(ShapeError, match="expected an image"):
        encode_png(np.zeros(shape, np.uint8))


def test_images_show_the_values():
    x = np.array([[[0.0, 0.5], [1.0, 0.25]]])
    assert pixels(plot.images(x))[0][..., 0].tolist() == [[0, 128], [255, 64]]
    x = np.array([[[-1.0, 3.0]]])  # outside 0 .. 1: from the least to the largest
    assert pixels(plot.images(x))[0][..., 0].tolist() == [[0, 255]]
    x = np.array([[[0, 100]]], np.uint8)
    assert pixels(plot.images(x))[0][..., 0].tolist() == [[0, 100]]
    x = np.array([[[0.0, 9.0, np.nan]]])
    assert pixels(plot.images(x, limits=(0, 3)))[0][..., 0].tolist() == [[0, 255, 0]]


def test_images_of_several_sizes_and_colours():
    figure = plot.images([np.zeros((3, 5)), np.ones((2, 2, 3)), np.zeros((1, 1, 1))])
    assert [p.shape for p in pixels(figure)] == [(3, 5, 1), (2, 2, 3), (1, 1, 1)]


def test_the_grid_is_filled_by_rows():
    places = [
        (float(e.get("x")), float(e.get("y")))
        for e in root(plot.images(np.zeros((5, 4, 4)), columns=2)).iter(f"{SVG}image")
    ]
    assert [places.index(p) for p in sorted(places, key=lambda p: p[::-1])] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert len({x for x, _ in places}) == 2


def test_paint_gives_the_ends_and_the_middle():
    for colours, anchors in RAMPS.items():
        assert tuple(paint(np.array(0.0), colours)) == anchors[0]
        assert tuple(paint(np.array(1.0), colours)) == anchors[-1]
    assert (paint(np.array(0.5), "diverging") == 247).all()


def test_a_filter_is_white_at_zero_and_orange_above():
    kernel = np.zeros((1, 3, 1, 1))
    kernel[0, :, 0, 0] = [-2, 0, 1]
    below, zero, above = pixels(plot.filters(kernel))[0][0].astype(int)
    assert below[2] > below[0]
    assert (zero == 247).all()
    assert above[0] > above[2]


def test_filters_of_colour_are_colour_and_the_rest_is_a_matrix():
    assert [p.shape for p in pixels(plot.filters(np.ones((3, 5, 3, 2))))] == [
        (3, 5, 3)
    ] * 2
    kernel = np.zeros((1, 1, 2, 3))
    kernel[0, 0, 1, 2] = 1.0
    tiles = pixels(plot.filters(kernel))
    assert [i for i, tile in enumerate(tiles) if (tile != 247).any()] == [5]
    figure = plot.filters(np.ones((1, 1, 40, 20)), "C2")
    assert "C2 (16 of 20 filters, 16 of 40 channels)" in texts(figure)
    assert len(pixels(figure)) == 256


def test_an_overlay_leaves_the_image_where_the_map_is_not_positive():
    x = np.random.default_rng(0).random((1, 4, 4, 1))
    plain = pixels(plot.overlays(x, np.full((1, 4, 4), -1.0)))[0]
    assert (plain == np.rint(x[0] * 255)).all()
    heat = np.zeros((1, 4, 4))
    heat[0, 1, 2] = 5.0
    found = pixels(plot.overlays(x, heat))[0]
    changed = (found != np.rint(x[0] * 255)).any(-1)
    assert np.argwhere(changed).tolist() == [[1, 2]]


def test_the_worst_come_first():
    x = np.arange(3)[:, None, None, None] / 2 * np.ones((1, 2, 2, 1))
    p = np.array([[0.6, 0.4], [0.1, 0.9], [0.7, 0.3]])
    figure = plot.worst_examples(x, [0, 0, 1], p, ["cat", "dog"], count=2)
    assert texts(figure) == ["cat→dog 0.90", "dog→cat 0.70"]
    assert [int(tile.max()) for tile in pixels(figure)] == [128, 255]


def test_confusion_matrix_writes_rows_by_truth():
    figure = plot.confusion_matrix([[5, 1], [0, 1234567]], ["x", "y"])
    assert texts(figure) == ["predicted", "x", "x", "5", "1", "y", "y", "1.23457e+06"]
    cells = list(root(figure).iter(f"{SVG}rect"))
    assert [c.get("class") for c in cells] == ["f0", "f1", "f1", "f0"]
    shares = [float(c.get("fill-opacity")) for c in cells]
    assert shares == [0.73, 0.19, 0.06, 0.86]


def test_many_classes_are_one_picture():
    figure = plot.confusion_matrix(np.eye(100))
    assert [p.shape for p in pixels(figure)] == [(100, 100, 3)]


def test_scatter_places_points_by_value_and_class():
    figure = plot.scatter([[0, 0], [4, 2], [np.nan, 1]], [3, 0, 3])
    groups = root(figure).iter(f"{SVG}g")
    dots = {
        g.get("class"): [(c.get("cx"), c.get("cy")) for c in g.iter(f"{SVG}circle")]
        for g in groups
        if g.get("class")
    }
    assert dots == {"f0": [("360.0", "0.0")], "f3": [("0.0", "240.0")]}


def test_a_line_has_a_gap_where_a_value_is_missing():
    figure = plot.lines({"a": ([0, 1, 2, 3], [0, 1, np.inf, 1])})
    line = next(e for e in root(figure).iter(f"{SVG}path") if e.get("class") == "s0")
    assert line.get("d") == "M0.0 240.0L120.0 0.0M360.0 0.0"


def test_histogram_counts_and_tells_of_values_that_are_not_finite():
    figure = plot.histograms({"w": [0.0, 0.1, 0.1, 2.0, np.nan]}, bins=4)
    bars = [float(e.get("height")) for e in root(figure).iter(f"{SVG}rect")]
    assert bars == [78.0, 26.0]
    assert any("1 not finite" in words for words in texts(figure))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plot.images([]), "received none"),
        (lambda: plot.images(np.zeros((2, 4, 4, 2))), "(4, 4, 2)"),
        (lambda: plot.images(np.zeros((2, 4, 4)), ["one"]), "2 captions"),
        (lambda: plot.images(np.zeros((1, 2, 2)), colours="pink"), "'pink'"),
        (lambda: plot.images(np.full((1, 2, 2), np.nan)), "finite"),
        (lambda: plot.feature_maps(np.zeros((2, 4, 4, 2))), "one image"),
        (lambda: plot.filters(np.zeros((3, 3))), "(R, S, C, K)"),
        (lambda: plot.overlays(np.zeros((2, 4, 4)), np.zeros((1, 4, 4))), "2 maps"),
        (lambda: plot.worst_examples(np.zeros((1, 2, 2)), [0], [[3.0, 1]]), "softmax"),
        (lambda: plot.worst_examples(np.zeros((1, 2, 2)), [0, 1], [[1.0]]), "1, 2"),
        (lambda: plot.confusion_matrix(np.zeros((2, 3))), "(2, 3)"),
        (lambda: plot.confusion_matrix(np.eye(2), ["a"]), "1 names"),
        (lambda: plot.table([]), "one length"),
        (lambda: plot.table([("a", "b"), ("c",)]), "one length"),
        (lambda: plot.lines({}), "none"),
        (lambda: plot.lines({"a": ([1, 2], [1])}), "'a' has 2"),
        (lambda: plot.scatter(np.zeros((3, 3))), "(3, 3)"),
        (lambda: plot.scatter(np.zeros((3, 2)), [1]), "3 labels"),
        (lambda: plot.histograms({}), "none"),
        (lambda: plot.histograms({"w": []}), "'w'"),
        (lambda: plot.network([], []), "one box"),
        (lambda: plot.network([["a"]], [(0, 1)]), "(0, 1)"),
        (lambda: plot.network([["a"], ["b"]], [(0, 1), (1, 0)]), "cycle"),
        (lambda: plot.network([["a"]], [(0, 0)]), "cycle"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(FastconvError, match=re.escape(words)):
        draw()


# The graph of a model


def boxes(figure: plot.Figure) -> list[tuple[float, ...]]:
    """Left, top, right and bottom of each box."""
    found = []
    for e in root(figure).iter(f"{SVG}rect"):
        x, y, w, h = (float(e.get(name)) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


def ends(figure: plot.Figure) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Where each arrow starts, and where its tip is."""
    found = []
    for e in root(figure).iter(f"{SVG}path"):
        numbers = re.findall(r"-?[\d.]+", e.get("d"))
        first, tip = numbers[:2], numbers[-4:-2]
        found.append((tuple(map(float, first)), tuple(map(float, tip))))
    return found


@given(st.data())
def test_boxes_do_not_overlap_and_arrows_lead_from_box_to_box(data):
    count = data.draw(st.integers(1, 9))
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    drawn = data.draw(st.lists(pair, max_size=14, unique=True))
    edges = [(a, b) for a, b in drawn if a < b]
    figure = plot.network([["box" * (i % 4)] for i in range(count)], edges)
    found = boxes(figure)
    for i, (left, top, right, below) in enumerate(found):
        assert 0 <= left < right <= figure.width
        assert 0 <= top < below <= figure.height
        for x0, y0, x1, y1 in found[:i]:
            assert right <= x0 or x1 <= left or below <= y0 or y1 <= top
    for (a, b), (start, tip) in zip(edges, ends(figure), strict=True):
        assert start[1] == pytest.approx(found[a][3], abs=0.2)
        assert tip[1] == pytest.approx(found[b][1], abs=0.2)
        assert found[a][0] < start[0] < found[a][2]
        assert found[b][0] < tip[0] < found[b][2]


def test_branches_stand_beside_each_other():
    layers = fc.layers
    x = fc.Input((8, 8, 3))
    branches = [layers.Conv2D(4, 1)(x), layers.Conv2D(4, 3, padding="same")(x)]
    pooled = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    branches.append(layers.Conv2D(4, 1)(pooled))
    model = fc.Model(x, layers.Concatenate()(branches))
    figure = fc.utils.plot_model(model, None, show_shapes=True)
    words = texts(figure)
    assert words.count("N x 8 x 8 x 4") == 3
    assert {"Input", "Conv2D", "Concatenate", "N x 8 x 8 x 12", "MaxPooling2D"} <= set(
        words
    )
    tops = [t for _, t, _, _ in boxes(figure)]
    assert len(tops) == 6
    assert len(set(tops)) == 4  # the pool, and the convolution below it
    assert len(ends(figure)) == 7


def test_a_shared_layer_is_a_box_for_each_call():
    a, b = fc.Input((4,), name="a"), fc.Input((4,), name="b")
    dense = fc.layers.Dense(2, activation="relu", name="twice")
    model = fc.Model([a, b], fc.layers.Add()([dense(a), dense(b)]))
    dense.trainable = False
    figure = fc.utils.plot_model(
        model, None, show_dtype=True, show_layer_names=True, show_trainable=True,
        show_layer_activations=True,
    )  # fmt: skip
    words = texts(figure)
    assert words.count("twice") == words.count("relu") == words.count("frozen") == 2
    assert words.count("float32") == 5


def test_plot_model_writes_a_file_and_says_what_it_cannot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fc.utils.plot_model(fc.models.LeNet5())
    ET.parse(tmp_path / "model.svg")
    with pytest.raises(ArgumentError, match=r"model\.svg"):
        fc.utils.plot_model(fc.models.LeNet5(), "model.png")
    with pytest.raises(ArgumentError, match="not known"):
        fc.utils.plot_model(fc.Sequential([fc.layers.Dense(2)]), None)


def test_data_errors_are_fastconvs():
    with pytest.raises(DataError, match="finite points"):
        plot.lines({"a": ([np.nan], [1.0])})


def test_bubbles():
    """Areas are in proportion to sizes, and names do not lie on each other."""
    points = {f"network {i}": (1 + 0.01 * i, 70.0, 1 + 3 * (i == 0)) for i in range(6)}
    figure = plot.bubbles(points, ["a"] * 3 + ["b"] * 3, size_label="size")
    circles = [c for c in root(figure).iter(f"{SVG}circle") if c.get("class")[0] == "f"]
    discs = circles[:6]
    assert float(discs[0].get("r")) == 2 * float(discs[1].get("r"))
    names = [t for t in root(figure).iter(f"{SVG}text") if "network" in (t.text or "")]
    places = {(float(t.get("x")), float(t.get("y"))) for t in names}
    for x, y in places:
        others = [p for p in places - {(x, y)} if abs(p[0] - x) < 50]
        assert all(abs(p[1] - y) >= 12 for p in others)
    for bad in ({}, {"a": (0, 1, 1)}, {"a": (1, float("nan"), 1)}, {"a": (1, 1, -1)}):
        with pytest.raises(DataError):
            plot.bubbles(bad)
    with pytest.raises(ShapeError, match="1 groups"):
        plot.bubbles({"a": (1, 1, 1)}, [])
