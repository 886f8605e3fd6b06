"""A C++ program outside the project runs a plan saved from Python, bit for bit."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc

EXAMPLE = Path(__file__).parents[1] / "examples" / "cpp"


def cmake_dir() -> Path:
    command = [sys.executable, "-m", "fastconv", "--cmake-dir"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Path(printed.strip())


@pytest.fixture(scope="module")
def run_plan(tmp_path_factory):
    """The example program, built against the installed package."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs cmake on the PATH to build examples/cpp")
    package = cmake_dir()
    if not (package / "fastconvConfig.cmake").exists():
        pytest.skip("needs an installed fastconv: this one runs from its source folder")
    build = tmp_path_factory.mktemp("consumer")
    for command in (
        [cmake, "-S", EXAMPLE, "-B", build, f"-Dfastconv_DIR={package}"],
        [cmake, "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "run_plan"


def small_network():
    """Convolution, pooling and a dense layer with fixed weights, as a function."""
    rng = np.random.default_rng(0)
    kernel = fc.Variable(rng.standard_normal((3, 3, 2, 5), np.float32), name="kernel")
    bias = fc.Variable(rng.standard_normal(5, np.float32), name="bias")
    weights = fc.Variable(rng.standard_normal((45, 4), np.float32), name="weights")

    @fc.function
    def predict(x):
        y = fc.ops.relu(fc.ops.conv(x, kernel, padding="same") + bias)
        y = fc.ops.max_pool(y, 2)
        y = fc.ops.reshape(y, (x.shape[0], 45))
        return fc.ops.softmax(fc.ops.dense(y, weights))

    return predict


def words(values: np.ndarray) -> list[str]:
    return [
        f"{word:08x}" for word in np.ascontiguousarray(values).view(np.uint32).ravel()
    ]


def test_reproduces_python(run_plan, tmp_path):
    predict = small_network()
    x = np.random.default_rng(1).standard_normal((3, 6, 6, 2), np.float32)
    plan, source = tmp_path / "small.plan", tmp_path / "x.bin"
    predict.compile(x).save(str(plan))
    x.tofile(source)
    done = subprocess.run(
        [run_plan, plan, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == words(predict(x))


def test_refuses_what_is_not_a_plan(run_plan, tmp_path):
    (tmp_path / "no.plan").write_bytes(b"something else, and long enough for a header")
    done = subprocess.run(
        [run_plan, tmp_path / "no.plan"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not a plan of fastconv" in done.stderr


def test_cmake_dir_is_inside_the_package():
    assert cmake_dir() == Path(fc.__file__).resolve().parent / "cmake"
