"""The examples and the notebook run, on the embedded digits and with little work."""

import ast
import importlib.util
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastconv as fc

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "seeing.ipynb"


def example(name: str) -> ModuleType:
    path = ROOT / "examples" / f"{name}.py"
    if not path.exists():
        pytest.skip("needs the source tree")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, out: Path, *argv: str) -> dict:
    """The result of an example, whose figures must be XML."""
    found = example(name).main(["--data", "digits", "--out", str(out), *argv])
    for path in out.glob("*.svg"):
        ET.parse(path)
    return found


def test_adversarial_training(tmp_path):
    argv = ["--epochs", "6", "--images", "150", "--attack-steps", "5"]
    found = run("adversarial_mnist", tmp_path, *argv, "--verbose", "0")
    assert {p.name for p in tmp_path.iterdir()} == {"accuracy.svg", "examples.svg"}
    assert found["robust"][0] > 0.85
    assert found["robust"][4] > found["plain"][4] + 0.2  # epsilon 0.1


def test_overfitting(tmp_path):
    argv = ["--images", "300", "--width", "256", "--seeds", "1"]
    found = run("overfitting", tmp_path, *argv)
    assert {p.name for p in tmp_path.iterdir()} == {"overfitting.svg", "remedies.svg"}
    assert all(found[m] > found["none"] + 0.03 for m in ("early", "l2", "dropout"))


def test_autoencoders(tmp_path):
    found = run("autoencoders", tmp_path, "--epochs", "2")
    names = "dense", "convolutional", "denoising", "codes", "manifold"
    assert {p.stem for p in tmp_path.iterdir()} == set(names)
    for name in ("dense", "convolutional", "denoising", "variational"):
        assert found[name] < 0.1  # less than the variance of the pixels
    assert min(found["pixels"], found["codes"]) > 0.3


def test_the_notebook_runs_and_holds_its_figures():
    if not NOTEBOOK.exists():
        pytest.skip("needs the source tree")
    pytest.importorskip("sklearn")
    space: dict = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        *body, last = ast.parse("".join(cell["source"])).body
        exec(compile(ast.Module(body, []), "notebook", "exec"), space)
        if isinstance(last, ast.Expr):
            figure = eval(
                compile(ast.Expression(last.value), "notebook", "eval"), space
            )
            ET.fromstring(figure.svg)
            shown = cell["outputs"][0]["data"]["image/svg+xml"]
            root = ET.fromstring("".join(shown))
            assert (root.get("width"), root.get("height")) == (
                str(figure.width), str(figure.height),
            )  # fmt: skip
        else:
            exec(compile(ast.Module([last], []), "notebook", "exec"), space)


def test_transfer():
    argv = ["--data", "digits", "--width", "4", "--draws", "1", "--verbose", "0"]
    found = example("transfer_cifar10").main([*argv, "--tuning", "10", "--shots", "2"])
    assert set(found[2]) == {"means", "head", "fine-tuned", "scratch"}
    assert found[2]["means"] > found[2]["scratch"] + 0.1


def test_simulated_digits(tmp_path):
    module = example("simulated_digits")
    argv = ["--images", "1000", "--epochs", "4", "--seeds", "1", "--shots", "5"]
    found = module.main([*argv, "--out", str(tmp_path)])
    ET.parse(tmp_path / "drawn.svg")
    assert found["drawn"] > 0.5  # without a real image; by chance 0.1
    assert found["drawn, few real"] > found["few real"]
    first, again = (module.simulated(20, 16, seed=1) for _ in range(2))
    assert (first[0] == again[0]).all()
    assert first[0].min() == 0.0
    assert first[0].max() == 1.0


def test_objects_of_a_voc_data_set(tmp_path):
    pytest.importorskip("PIL")
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    item = (
        "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
        "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
    )
    objects = [("red", 0, 0, 10, 6), ("../red", 20, 10, 30, 20), ("empty", 5, 5, 5, 9)]
    for i in range(2):
        boxes = "".join(item.format(*values) for values in objects)
        path = tmp_path / "voc" / "Annotations" / f"{i}.xml"
        path.write_text(f"<annotation>{boxes}</annotation>")
        image = np.full((24, 32, 3), 100 * i)
        fc.utils.save_img(tmp_path / f"voc/JPEGImages/{i}.jpg", image, scale=False)
    (tmp_path / "voc/ImageSets/Main/test.txt").write_text("1\n")
    argv = [str(tmp_path / "voc"), str(tmp_path / "out"), "--size", "8"]
    counts = example("voc_crops").main(argv)
    assert counts == {"train/red": 2, "test/red": 2}
    data = fc.datasets.load(tmp_path / "out")
    assert data.x_train.shape == (2, 8, 8, 3)
    assert abs(int(data.x_test[0, 4, 4, 0]) - 100) < 4
