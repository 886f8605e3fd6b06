"""Bad input of many kinds: an error of the right class that names who, expected, got.

After each of them the process still trains.
"""

import gzip
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors
from fastconv.data.idx import read_idx

X = np.random.default_rng(0).random((8, 8, 8, 1), np.float32)
Y = np.arange(8) % 3


def small(**options: Any) -> Any:
    """A model of three layers for 8x8 grey images and three classes."""
    return fc.Sequential(
        [
            fc.layers.Input((8, 8, 1)),
            fc.layers.Conv2D(
                **{"filters": 2, "kernel_size": 3, "name": "first", **options}
            ),
            fc.layers.Flatten(),
            fc.layers.Dense(3, activation="softmax", name="last"),
        ]
    )


def compiled(**options: Any) -> Any:
    model = small(**options)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(x: Any = X, y: Any = Y, **options: Any) -> Any:
    return compiled().fit(x, y, **{"verbose": 0, **options})


def nan_at(position: tuple[int, ...]) -> np.ndarray:
    x = X.copy()
    x[position] = np.nan
    return x


Case = tuple[type[Exception], str, Callable[[], Any]]

# Kind of bad input -> class, what the message must say (a pattern), what is done.
LAYERS: dict[str, Case] = {
    "wrong rank": (
        errors.ShapeError,
        r"first.*4.*\(None, 8\)|first.*rank",
        lambda: fc.Sequential(
            [fc.layers.Input((8,)), fc.layers.Conv2D(2, 3, name="first")]
        ),
    ),
    "wrong channels": (
        errors.ShapeError,
        r"\(None, 8, 8, 1\).*\(2, 8, 8, 3\)",
        lambda: compiled().predict(np.zeros((2, 8, 8, 3), np.float32), verbose=0),
    ),
    "kernel larger than input": (
        errors.ShapeError,
        r"first.*9.*8|first.*8.*9",
        lambda: small(kernel_size=9),
    ),
    "negative kernel": (
        errors.ArgumentError,
        r"kernel.*-3",
        lambda: small(kernel_size=-3),
    ),
    "zero filters": (errors.ArgumentError, r"filters.*0", lambda: small(filters=0)),
    "negative units": (errors.ArgumentError, r"units.*-1", lambda: fc.layers.Dense(-1)),
    "zero stride": (errors.ArgumentError, r"strides.*0", lambda: small(strides=0)),
    "float strides": (
        errors.ArgumentError,
        r"strides.*1\.5",
        lambda: small(strides=1.5),
    ),
    "negative dilation": (
        errors.ArgumentError,
        r"dilation.*-2",
        lambda: small(dilation_rate=-2),
    ),
    "groups that do not divide": (
        errors.ArgumentError,
        r"groups.*2",
        lambda: small(filters=3, groups=2),
    ),
    "bad padding": (
        errors.UnknownNameError,
        r"padding.*first.*'sane'.*same, valid",
        lambda: small(padding="sane"),
    ),
    "zero pool": (
        errors.ArgumentError,
        r"pool_size.*0",
        lambda: fc.layers.MaxPooling2D(0),
    ),
    "dropout above one": (
        errors.ArgumentError,
        r"rate.*1\.5",
        lambda: fc.layers.Dropout(1.5),
    ),
    "negative input size": (
        errors.FastconvError,
        r"-8",
        lambda: fc.layers.Input((-8, 8, 1)),
    ),
    "unknown argument": (
        errors.ArgumentError,
        r"filterz",
        lambda: small(filterz=3),
    ),
    "add of different shapes": (
        errors.ShapeError,
        r"[Aa]dd.*\(.*2.*\).*\(.*3.*\)",
        lambda: fc.layers.Add()([fc.Input((2,)), fc.Input((3,))]),
    ),
    "reshape to another size": (
        errors.ShapeError,
        r"reshape.*\(3, 3\).*\(8,\)",
        lambda: fc.Sequential([fc.layers.Input((8,)), fc.layers.Reshape((3, 3))]),
    ),
    "weights of another shape": (
        errors.ShapeError,
        r"kernel.*\(3, 3, 1, 2\).*\(5, 5, 1, 2\)",
        lambda: (
            small()
            .get_layer("first")
            .set_weights([np.zeros((5, 5, 1, 2)), np.zeros(2)])
        ),
    ),
    "too few weights": (
        errors.ArgumentError,
        r"expected 4.*1",
        lambda: small().set_weights([np.zeros(3)]),
    ),
}
NAMES: dict[str, Case] = {
    "unknown layer": (
        errors.UnknownNameError,
        r"activation.*'relo'.*relu",
        lambda: fc.layers.Activation("relo"),
    ),
    "unknown loss": (
        errors.UnknownNameError,
        r"loss.*'sparse_crossentropy'",
        lambda: small().compile("sgd", "sparse_crossentropy"),
    ),
    "unknown optimizer": (
        errors.UnknownNameError,
        r"optimizer.*'sdg'.*sgd",
        lambda: small().compile("sdg", "mse"),
    ),
    "unknown metric": (
        errors.UnknownNameError,
        r"metric.*'acuracy'",
        lambda: fit_with_metric("acuracy"),
    ),
    "unknown initializer": (
        errors.UnknownNameError,
        r"initializer.*'glorot'",
        lambda: small(kernel_initializer="glorot"),
    ),
    "unknown model": (
        errors.UnknownNameError,
        r"model.*'lennet'.*lenet",
        lambda: fc.models.get("lennet"),
    ),
    "unknown data set": (
        errors.UnknownNameError,
        r"data set 'digit'.*'digits'",
        lambda: fc.datasets.load("digit"),
    ),
    "unknown device": (
        errors.DeviceError,
        r"cpu.*'tpu'",
        lambda: fc.function(lambda x: x, device="tpu"),
    ),
    "unknown layer name": (
        errors.UnknownNameError,
        r"layer.*'fisrt'.*first",
        lambda: small().get_layer("fisrt"),
    ),
}
DATA: dict[str, Case] = {
    "object dtype": (
        errors.FastconvError,
        r"object",
        lambda: fit(np.array([["a"] * 3] * 8, object)),
    ),
    "text": (
        errors.FastconvError,
        r"number.*<U1|str",
        lambda: fit(np.array(["a"] * 8)),
    ),
    "NaN in data": (
        errors.DataError,
        r"NaN at position \(3, 1, 2, 0\)",
        lambda: fit(nan_at((3, 1, 2, 0))),
    ),
    "label too large": (
        errors.DataError,
        r"7.*3",
        lambda: fit(y=np.array([0, 1, 2, 7] * 2)),
    ),
    "negative label": (
        errors.DataError,
        r"-1",
        lambda: fit(y=np.array([0, 1, 2, -1] * 2)),
    ),
    "no samples": (errors.DataError, r"no samples", lambda: fit(X[:0], Y[:0])),
    "other number of labels": (errors.ShapeError, r"8.*7", lambda: fit(y=Y[:7])),
    "zero batch size": (
        errors.ArgumentError,
        r"batch_size.*0",
        lambda: fit(batch_size=0),
    ),
    "zero epochs": (errors.ArgumentError, r"epochs.*-1", lambda: fit(epochs=-1)),
    "validation split above one": (
        errors.ArgumentError,
        r"validation_split.*1\.5",
        lambda: fit(validation_split=1.5),
    ),
    "two inputs for one": (
        errors.FastconvError,
        r"1.*2|one",
        lambda: fit([X, X]),
    ),
    "not compiled": (
        errors.FastconvError,
        r"compile",
        lambda: small().fit(X, Y, verbose=0),
    ),
    "negative seed": (
        errors.ArgumentError,
        r"seed.*-1",
        lambda: fc.random.set_seed(-1),
    ),
    "negative threads": (
        errors.ArgumentError,
        r"threads.*-2",
        lambda: fc.set_num_threads(-2),
    ),
}


def fit_with_metric(name: str) -> None:
    model = small()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[name])
    model.fit(X, Y, verbose=0)


@pytest.fixture(scope="module")
def survivor() -> Any:
    return compiled()


@pytest.fixture(autouse=True)
def _still_trains(survivor):
    yield
    loss = survivor.train_on_batch(X, Y)
    assert np.isfinite(loss[0] if isinstance(loss, list) else loss)


def cases(table: dict[str, Case]) -> Any:
    values = [pytest.param(*case, id=kind) for kind, case in table.items()]
    return pytest.mark.parametrize(("kind", "pattern", "action"), values)


@cases(LAYERS | NAMES | DATA)
def test_bad_input(kind, pattern, action):
    with pytest.raises(kind) as caught:
        action()
    assert re.search(pattern, str(caught.value), re.DOTALL), str(caught.value)


def test_there_are_at_least_25_kinds():
    assert len(LAYERS | NAMES | DATA) >= 25


# Files ------------------------------------------------------------------------------


def test_truncated_idx(tmp_path):
    whole = struct.pack(">4BI", 0, 0, 8, 1, 10) + bytes(10)
    for content in (whole[:-3], gzip.compress(whole)[:-4], whole[:6]):
        path = tmp_path / "t10k-labels-idx1-ubyte"
        path.write_bytes(content)
        with pytest.raises(errors.FormatError, match=path.name):
            read_idx(path)


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    compiled().save(path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_model(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(errors.FormatError, match=saved.name):
        fc.load_model(saved)


def test_damaged_weights(saved):
    content = bytearray(saved.read_bytes())
    content[-5] ^= 0xFF
    saved.write_bytes(content)
    with pytest.raises(errors.FormatError, match=saved.name):
        fc.load_model(saved)


def test_a_header_of_a_gigabyte(saved):
    content = saved.read_bytes()
    saved.write_bytes(struct.pack("<Q", 1 << 30) + content[8:])
    with pytest.raises(errors.FormatError, match=saved.name):
        fc.load_model(saved)


def with_metadata(path: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Rewrites the metadata in the header of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_a_model_file_of_a_newer_version(saved):
    def age(metadata: dict[str, str]) -> None:
        metadata["fastconv"] = json.dumps(
            {**json.loads(metadata["fastconv"]), "version": 9}
        )

    with_metadata(saved, age)
    with pytest.raises(errors.FormatError, match=r"version 1 or older, received 9"):
        fc.load_model(saved)


def test_an_architecture_that_was_changed(saved):
    def change(metadata: dict[str, str]) -> None:
        metadata["fastconv"] = metadata["fastconv"].replace("Conv2D", "Conv3D")

    with_metadata(saved, change)
    with pytest.raises(errors.FormatError, match="digest"):
        fc.load_model(saved)


def test_no_such_model_file(tmp_path):
    with pytest.raises((errors.FastconvError, OSError), match=r"absent\.safetensors"):
        fc.load_model(tmp_path / "absent.safetensors")


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(errors.FormatError, match=r"picture\.png"):
        fc.load_model(path)


def test_saving_where_a_file_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        small().save(tmp_path / "file" / "model.safetensors")


FULL_DISK = """
import resource, signal, sys
import fastconv as fc
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = fc.Sequential([fc.layers.Input((64,)), fc.layers.Dense(64)])
model.save(sys.argv[1])
before = open(sys.argv[1], "rb").read()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    model.save(sys.argv[1])
except OSError as error:
    print("OSError", error)
assert open(sys.argv[1], "rb").read() == before
print(model.predict(__import__("numpy").zeros((1, 64), "float32"), verbose=0).shape)
"""


def test_full_disk_while_saving_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("OSError"), done
    assert done.stdout.endswith("(1, 64)\n"), done
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # and nothing beside it
