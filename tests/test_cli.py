"""The command line: every command, its JSON, its errors, and the run directory."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.cli import main, train
from fastconv.cli.images import read_images
from fastconv.cli.inputs import Inputs
from fastconv.errors import (
    ArgumentError,
    DataError,
    FastconvError,
    FormatError,
    ShapeError,
)
from fastconv.training.run_directory import RunDirectory, to_toml

FILES = {
    "model.safetensors", "log.csv", "chart.svg", "config.toml", "environment.txt",
    "result.json", "checkpoints", "confusion.svg", "worst.svg",
}  # fmt: skip

HELD_OUT = {"confusion.svg", "worst.svg"}  # of a training that was not interrupted


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    """Runs a command that must succeed; its JSON object."""
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def process(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastconv", *argv]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, **options
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of two epochs."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "lenet", "--epochs", "2", "--out", str(out)]) == 0
    return out


def test_train_leaves_a_complete_run(trained):
    assert {path.name for path in trained.iterdir()} == FILES
    with (trained / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rows[0])
    for name in ("chart", "confusion", "worst"):
        ET.parse(trained / f"{name}.svg")
    confusion = ET.parse(trained / "confusion.svg").getroot().itertext()
    assert sum(int(words) for words in confusion if words.isdigit()) >= 359
    config = tomllib.loads((trained / "config.toml").read_text())
    assert config["train"]["model"] == "lenet"
    assert config["inputs"]["input_shape"] == [32, 32, 1]
    assert "threads" in (trained / "environment.txt").read_text()
    result = json.loads((trained / "result.json").read_text())
    assert result["test_accuracy"] > 0.8
    assert len(result["sha256"]) == 64


def test_train_is_reproducible_for_any_number_of_threads(tmp_path, capsys):
    digests = set()
    for i, threads in enumerate(("1", "2", "2")):
        out = str(tmp_path / str(i))
        argv = ["--epochs", "1", "--seed", "5", "--threads", threads, "--out", out]
        digests.add(call(capsys, "train", "lenet", *argv)["sha256"])
    assert len(digests) == 1


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lenet-digits-1").mkdir(parents=True)
    assert RunDirectory.create(None, "lenet-digits").path == Path("runs/lenet-digits-2")


def test_an_existing_run_is_kept_unless_forced(trained, capsys):
    argv = ["train", "lenet", "--epochs", "1", "--out", str(trained)]
    assert main(argv) == 2
    assert "not empty" in capsys.readouterr().err


def test_a_run_that_was_cut_off_goes_on(trained, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    argv = ["train", "lenet", "--epochs", "2", "--out", str(out), "--resume"]
    save = train._Record.on_epoch_end

    def fail(self, epoch, logs=None):
        save(self, epoch, logs)
        if epoch == 1:
            raise OSError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(train._Record, "on_epoch_end", fail)
        assert main(argv) == 2
    found = call(capsys, *argv)
    whole = json.loads((trained / "result.json").read_text())
    assert found["sha256"] == whole["sha256"]
    assert found["test_accuracy"] == whole["test_accuracy"]
    for name in ("log.csv", "chart.svg"):
        assert (out / name).read_bytes() == (trained / name).read_bytes()
    again = call(capsys, *argv, "--threads", "1")
    assert again["sha256"] == found["sha256"]
    assert main([*argv, "--lr", "0.5"]) == 2
    assert "train.lr: expected 0.02, received 0.5" in capsys.readouterr().err
    assert main(["train", "lenet", "--resume"]) == 2
    assert "--out" in capsys.readouterr().err


def test_evaluate_gives_what_training_found(trained, capsys):
    found = call(capsys, "evaluate", str(trained))
    result = json.loads((trained / "result.json").read_text())
    assert found["test_accuracy"] == pytest.approx(result["test_accuracy"])
    assert found["sha256"] == result["sha256"]
    assert found["samples"] == 359


def test_quantize_makes_a_run(trained, tmp_path, capsys):
    out = str(tmp_path / "small")
    argv = [str(trained), "--samples", "100", "--out", out]
    found = call(capsys, "quantize", *argv)
    assert abs(found["test_accuracy"] - found["test_accuracy_float32"]) <= 0.01
    assert found["bytes"] < 0.3 * (trained / "model.safetensors").stat().st_size
    again = call(capsys, "evaluate", out)
    assert again["test_accuracy"] == pytest.approx(found["test_accuracy"])
    assert again["sha256"] == found["sha256"]
    assert main(["quantize", *argv]) == 2  # the folder is not empty
    assert main(["quantize", str(trained), "--samples", "0"]) == 2


def test_predict_reads_several_kinds_of_files(trained, tmp_path, capsys):
    from fastconv.data import digits

    _, (x, y) = digits.load_data()
    np.save(tmp_path / "stack.npy", x[:20])
    (tmp_path / "one.pgm").write_bytes(b"P5 32 32 255 " + x[0].tobytes())
    (tmp_path / "dark.pgm").write_bytes(b"P5 32 32 255 " + (255 - x[0]).tobytes())
    stack = call(capsys, "predict", str(trained), str(tmp_path / "stack.npy"))
    classes = [p["classes"][0]["class"] for p in stack["predictions"]]
    assert (
        np.mean([c == str(label) for c, label in zip(classes, y[:20], strict=True)])
        > 0.7
    )
    one = call(capsys, "predict", str(trained), str(tmp_path / "one.pgm"), "--top", "3")
    best = one["predictions"][0]["classes"]
    assert len(best) == 3
    assert best[0]["class"] == classes[0]
    dark = call(capsys, "predict", str(trained), str(tmp_path / "dark.pgm"), "--invert")
    probability = dark["predictions"][0]["classes"][0]["probability"]
    assert probability == pytest.approx(best[0]["probability"], abs=1e-5)


def test_summary_of_a_name_and_of_a_run(trained, capsys):
    fresh, saved = (
        call(capsys, "summary", "lenet"),
        call(capsys, "summary", str(trained)),
    )
    assert fresh["parameters"] == saved["parameters"] > 0


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_bench(mode, capsys):
    argv = ["--mode", mode, "--batch-size", "4", "--seconds", "0.05", "--profile"]
    found = call(capsys, "bench", "lenet", *argv)
    assert found["median_ms"] > 0
    assert found["images_per_second"] > 0
    assert found["gflops"] > 0
    assert len(found["steps"]) >= 5
    assert {"C1", "F6"} <= {layer["name"] for layer in found["layers"]}
    for layer in found["layers"]:
        assert layer["bound"] in ("compute", "memory")
        assert layer["advice"]


def test_doctor(capsys):
    assert main(["doctor", "--no-peak"]) == 0
    text = capsys.readouterr().out
    for word in ("fastconv", "Python", "CPU", "instruction set", "threads", "GPU"):
        assert f"{word}:" in text


def test_version():
    done = process("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("fastconv ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "lennet"], "'lenet'"),
        (["train", "lenet", "--data", "digit"], "'digits'"),
        (["train", "lenet", "--data", "no/such/folder"], "no such file or folder"),
        (["train", "lenet", "--device", "tpu"], "'tpu'"),
        (["train", "lenet", "--epochs", "0"], "epochs"),
        (["train", "lenet", "--batch-size", "0"], "batch_size"),
        (["train", "lenet", "--lr", "-1"], "learning_rate"),
        (["train", "lenet", "--cutout", "-1"], "cutout: expected 0 or more pixels"),
        (["train", "lenet", "--label-smoothing", "2"], "label_smoothing in [0, 1]"),
        (["train", "lenet", "--validation-split", "2"], "expected a number in (0, 1)"),
        (["train", "lenet", "--seed", "-1"], "seed"),
        (["train", "lenet", "--threads", "-1"], "threads"),
        (["train", "lenet", "--out", "/dev/null"], "expected a folder"),
        (["train", "lenet", "--out", "/dev/null/run"], "/dev/null"),
        (["evaluate", "no/such/run"], "no such folder"),
        (["predict", ".", "x.png"], "model.safetensors"),
        (["summary", "nothing"], "unknown model"),
        (["bench", "lenet", "--batch-size", "0"], "batch_size"),
    ],
)
def test_errors_are_one_line_and_code_2(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("fastconv: error: ")
    assert words in error
    assert "Traceback" not in error


def test_a_missing_image_is_an_error(trained, capsys):
    assert main(["predict", str(trained), "absent.png"]) == 2
    assert "absent.png" in capsys.readouterr().err


def test_traceback_when_asked_for():
    done = process("summary", "nothing", env={**os.environ, "FASTCONV_TRACEBACK": "1"})
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m fastconv doctor --no-peak | head -n 1"
    done = subprocess.run(
        command, shell=True, check=False, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fastconv", "train", "lenet", "--epochs", "5000"]
    with subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE
    ) as child:
        deadline = time.monotonic() + 60
        while not (out / "chart.svg").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode == 130
    assert {path.name for path in out.iterdir()} == FILES - HELD_OUT
    assert json.loads((out / "result.json").read_text())["interrupted"]


def test_a_time_limit_is_no_interruption(tmp_path, capsys):
    argv = ["--time-limit", "1.5", "--no-sanity", "--out", str(tmp_path / "run")]
    found = call(capsys, "train", "lenet", *argv)
    assert not found["interrupted"]
    assert "test_accuracy" in found
    assert main(["train", "lenet", "--time-limit", "0"]) == 2
    capsys.readouterr()
    assert main(["train", "lenet", "--resume", *argv]) == 2
    assert "no --time-limit" in capsys.readouterr().err


# Inputs -----------------------------------------------------------------------------


def test_mnist_is_padded_and_other_sizes_are_scaled():
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[:, 0, 0] = 255
    inputs = Inputs.of(images, (32, 32, 1))
    x = inputs(images)
    assert x.shape == (2, 32, 32, 1)
    assert x[0, 2, 2, 0] == x.max()
    assert Inputs.of(np.zeros((1, 8, 8, 3), np.uint8), (32, 32, 1))(
        np.zeros((1, 100, 50, 3), np.float32)
    ).shape == (1, 32, 32, 1)


def test_inputs_are_normalised_and_read_back():
    images = np.random.default_rng(0).integers(0, 255, (50, 32, 32, 3)).astype(np.uint8)
    inputs = Inputs.of(images, (32, 32, 3))
    x = inputs(images)
    assert abs(x.mean()) < 1e-4
    assert abs(x.std() - 1) < 1e-4
    config = tomllib.loads(to_toml(inputs.config()))
    assert Inputs.from_config(config, "here") == inputs


def test_inputs_name_the_channels_they_take():
    inputs = Inputs.of(np.zeros((1, 8, 8, 4), np.uint8), (8, 8, 4))
    with pytest.raises(ShapeError, match=r"\(N, H, W, 1 or 4\)"):
        inputs(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize("config", [{}, {"image_size": [1]}, {"image_size": "no"}])
def test_damaged_inputs(config):
    with pytest.raises(FormatError, match="here"):
        Inputs.from_config(config, "here")


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (1, 1, 1, 1, 1)])
def test_arrays_that_are_no_images(shape, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    with pytest.raises(DataError, match=r"x\.npy"):
        read_images(str(tmp_path / "x.npy"), 255.0)


# Run directory ----------------------------------------------------------------------

scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
)
tables = st.dictionaries(st.text(), st.one_of(scalars, st.lists(scalars, max_size=3)))


@given(st.dictionaries(st.text(), st.one_of(scalars, tables), max_size=5))
def test_toml_reads_back(config):
    assert tomllib.loads(to_toml(config)) == config


def test_toml_refuses_what_it_cannot_say():
    with pytest.raises(ArgumentError, match="complex"):
        to_toml({"a": 1j})


def test_a_damaged_config(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    for content in (b"= 3", b"\xff\xfe"):
        run.config.write_bytes(content)
        with pytest.raises(FormatError, match=r"config\.toml"):
            run.read_config()
    with pytest.raises(FastconvError, match=r"model\.safetensors"):
        RunDirectory.open(run.path)
