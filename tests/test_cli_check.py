"""`fastconv check`: what a script uses that is not there, without running it."""

import json
from pathlib import Path

import pytest

from fastconv.cli import main
from fastconv.cli.script_names import lacking
from fastconv.errors import FormatError

ROOT = Path(__file__).parents[1]


def found(source):
    return [f"{item.line}: {item}" for item in lacking(source)[1]]


@pytest.mark.parametrize(
    "start",
    [
        "import keras\nlayers = keras.layers",
        "import keras.layers\nlayers = keras.layers",
        "import keras.layers as layers\n",
        "from keras import layers\n",
        "from tensorflow import keras\nlayers = keras.layers",
        "import tensorflow as tf\nlayers = tf.keras.layers",
        "import fastconv as keras\nlayers = keras.layers",
    ],
)
def test_ways_of_importing(start):
    assert found(f"{start}\nlayers.Zzz(3)") == ["3: keras.layers.Zzz"]
    assert found(f"{start}\nlayers.Dense(3)") == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from keras.layers import Dence", ["1: keras.layers.Dence; near: Dense"]),
        ("from tensorflow.keras.nothing import X", ["1: keras.nothing"]),
        ("import keras.nothing.at_all", ["1: keras.nothing"]),
        ("from keras.layers import *\nDense(3, unit=4)",
         ["2: argument 'unit' of keras.layers.Dense; near: units, init"]),
        ("from keras.layers import Dense as D\nD(\n  3,\n  biass=4)",
         ["4: argument 'biass' of keras.layers.Dense; near: bias, use_bias"]),
        ("import keras\nclass L(keras.layers.Layers): pass",
         ["2: keras.layers.Layers; near: Layer, OpLayer, InputLayer"]),
        ("import keras\nm = keras.Sequential()\nm.fitt(1)\nm.fit(1, nb_epoch=3)",
         ["3: keras.Sequential.fitt; near: fit"]),
        ("import keras\nm = keras.Sequential()\nm = object()\nm.fitt(1)", []),
        ("import keras\nkeras.losses.Huber(delta=1, **{'a': 1})", []),
        ("import keras.backend as K\nK.mean(1)\nK.no_op(1)",
         ["3: keras.backend.no_op"]),
        ("import os\nos.nothing\nlayers.Nothing()", []),
        ("from tensorflow import nn\nnn.nothing()", []),
    ],
)  # fmt: skip
def test_what_is_found(source, expected):
    assert found(source) == expected


def test_old_names_are_accepted():
    source = """
from keras.layers import Convolution2D, Dense, MaxPooling2D
from keras.models import Model
from keras.optimizers import SGD
Convolution2D(3, nb_row=3, nb_col=3, border_mode="same", subsample=(1, 1))
Dense(output_dim=3, init="zero", input_dim=4, name="d")
MaxPooling2D(border_mode="same")
Model(input=a, output=b)
SGD(lr=0.1, decay=1e-3)
"""
    assert found(source) == []


def test_each_place_is_said_once():
    source = "import keras\nkeras.layers.Nothing(keras.layers.Nothing(1))"
    assert found(source) == ["2: keras.layers.Nothing"]


def test_a_script_is_never_run(tmp_path):
    script = tmp_path / "script.py"
    trace = tmp_path / "trace"
    script.write_text(f"import keras\nopen({str(trace)!r}, 'w')\n")
    assert main(["check", str(script)]) == 0
    assert not trace.exists()


def test_command(tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text("import keras\nkeras.layers.Dence(3)\n")
    assert main(["check", str(script), "--json"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{script}:2: keras.layers.Dence; near: Dense"
    result = json.loads(lines[-1])
    assert result["lacking"] == [
        {"line": 2, "name": "keras.layers.Dence", "argument": None, "near": ["Dense"]}
    ]
    script.write_text("import keras\nkeras.layers.Dense(3)\n")
    assert main(["check", str(script)]) == 0
    assert "nothing lacks" in capsys.readouterr().out


def test_bad_scripts(tmp_path, capsys):
    with pytest.raises(FormatError, match="Python script"):
        lacking("import keras as")
    with pytest.raises(FormatError, match="Python script"):
        lacking("a\0b")
    assert main(["check", str(tmp_path / "absent.py")]) == 2
    (tmp_path / "latin.py").write_bytes(b"\xff\xfe\xff")
    assert main(["check", str(tmp_path / "latin.py")]) == 2
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("tests/keras_scripts/*.py"), *ROOT.glob("examples/*.py")]),
)
def test_scripts_that_run_lack_nothing(path):
    assert found(path.read_text(encoding="utf-8")) == []
