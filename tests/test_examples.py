"""The examples and the notebook run, on the embedded digits and with little work."""

import ast
import importlib.util
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

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
    methods = ["none", "early", "dropout"]
    if hasattr(fc, "regularizers"):
        methods.append("l2")
    argv = [
        "--images",
        "300",
        "--epochs",
        "20",
        "--width",
        "128",
        "--seeds",
        "1",
        "--methods",
        *methods,
    ]
    found = run("overfitting", tmp_path, *argv)
    assert {p.name for p in tmp_path.iterdir()} == {"overfitting.svg", "remedies.svg"}
    assert found["dropout"] > found["none"]
    assert min(found.values()) > found["none"] - 0.05  # one seed, 300 images


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
