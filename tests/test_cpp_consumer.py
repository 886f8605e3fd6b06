"""A C++ program outside the project runs a plan saved from Python, bit for bit."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cuda_emulator
import fastconv as fc
from fastconv._core import OpKind
from fastconv.execution import tuned
from fastconv.execution.function import Function

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


def test_reproduces_a_quantised_model(run_plan, tmp_path):
    model = fc.Sequential([
        fc.Input((9, 9, 3)), fc.layers.Conv2D(8, 3, activation="relu"),
        fc.layers.Flatten(), fc.layers.Dense(4),
    ])  # fmt: skip
    x = np.random.default_rng(1).standard_normal((3, 9, 9, 3), np.float32)
    small = fc.quantize(model, x)
    plan, source = tmp_path / "small.plan", tmp_path / "x.bin"
    small.export(plan, batch_size=3)
    x.tofile(source)
    done = run(run_plan, plan, source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == words(small.predict(x, verbose=0))


def run(program, *arguments):
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False
    )


def test_reproduces_predict_of_a_model(run_plan, tmp_path):
    model = fc.models.LeNet5()
    x = np.random.default_rng(2).standard_normal((5, 32, 32, 1), np.float32)
    plan, source = tmp_path / "lenet.plan", tmp_path / "x.bin"
    model.export(plan, batch_size=5)
    x.tofile(source)
    done = run(run_plan, plan, source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == words(model.predict(x, verbose=0))


def test_runs_on_a_gpu_what_was_made_for_one(run_plan, tmp_path, monkeypatch):
    """With the tiling that a table asked for, which is in the plan."""
    library = str(cuda_emulator.library())
    monkeypatch.setenv("FASTCONV_CUDA_LIBRARY", library)
    on_gpu = Function(small_network().python, "cuda")
    x = np.random.default_rng(1).standard_normal((3, 6, 6, 2), np.float32)
    made = on_gpu.compile(x)
    products = [n for n in made.nodes if n.kind == OpKind.gemm]
    wishes = {tuned.problem(n): tuned.Wish("tiles", 2, 2) for n in products}
    with tuned.trying(wishes):
        on_gpu.clear()
        made = on_gpu.compile(x)
    assert "tiles 2/2" in [step.choice for step in made.report()]
    plan, source = tmp_path / "gpu.plan", tmp_path / "x.bin"
    made.save(str(plan))
    x.tofile(source)
    monkeypatch.setenv("CUDA_BACKEND", library)
    done = run(run_plan, plan, source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == words(on_gpu(x))
    monkeypatch.delenv("CUDA_BACKEND")
    refused = run(run_plan, plan, source)
    assert "made for a device of the kind 'cuda'" in refused.stderr
    assert "cannot run on 'cpu'" in refused.stderr


def digest(data: bytes) -> int:
    """The digest at the end of a plan, computed independently."""
    value, mask = 0xCBF29CE484222325, 2**64 - 1
    words = len(data) // 8
    for at in range(words):
        word = int.from_bytes(data[8 * at : 8 * at + 8], "little")
        value = (value ^ word) * 0x100000001B3 & mask
        value ^= value >> 29
    for byte in data[8 * words :]:
        value = (value ^ byte) * 0x100000001B3 & mask
    return value


@pytest.fixture
def saved(tmp_path):
    predict = small_network()
    x = np.zeros((1, 6, 6, 2), np.float32)
    predict.compile(x).save(str(tmp_path / "good.plan"))
    x.tofile(tmp_path / "x.bin")
    return (tmp_path / "good.plan").read_bytes()


def test_refuses_a_damaged_plan(run_plan, saved, tmp_path):
    bad = tmp_path / "bad.plan"
    for size in (0, 7, 20, len(saved) // 2, len(saved) - 1):
        bad.write_bytes(saved[:size])
        done = run(run_plan, bad, tmp_path / "x.bin")
        assert done.returncode == 1, size
        assert "bad.plan" in done.stderr
    changed = bytearray(saved)
    changed[len(saved) // 3] ^= 1
    bad.write_bytes(changed)
    assert "digest" in run(run_plan, bad, tmp_path / "x.bin").stderr
    newer = saved[:8] + (99).to_bytes(4, "little") + saved[12:]
    bad.write_bytes(newer)
    assert "newer version" in run(run_plan, bad, tmp_path / "x.bin").stderr


def test_a_hostile_plan_cannot_crash(run_plan, saved, tmp_path):
    """Sizes and numbers are changed and the digest made right again."""
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.plan"
    refused = 0
    for _ in range(150):
        changed = bytearray(saved[:-8])
        at = int(rng.integers(12, min(len(changed), 6000) - 8)) // 4 * 4
        value = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**20, 7]))
        changed[at : at + 4] = value.to_bytes(4, "little")
        bad.write_bytes(changed + digest(bytes(changed)).to_bytes(8, "little"))
        done = run(run_plan, bad, tmp_path / "x.bin")
        assert done.returncode in (0, 1), (at, value, done.returncode, done.stderr)
        refused += done.returncode
    assert refused > 20


def test_refuses_what_is_not_a_plan(run_plan, tmp_path):
    (tmp_path / "no.plan").write_bytes(b"something else, and long enough for a header")
    done = subprocess.run(
        [run_plan, tmp_path / "no.plan"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not a plan of fastconv" in done.stderr


def test_cmake_dir_is_inside_the_package():
    assert cmake_dir() == Path(fc.__file__).resolve().parent / "cmake"
