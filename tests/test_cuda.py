"""The CUDA backend without a GPU: kernels in the emulator, and what asks for them."""

import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import conformance
import cuda_emulator
from fastconv import _core
from fastconv.errors import DeviceError, FastconvWarning
from fastconv.execution import devices

HERE = Path(__file__).parent
ONLY_ON_CPUS = {
    "quantize", "dequantize", "requantize", "quantized_conv", "quantized_average_pool"
}  # fmt: skip


@pytest.fixture(scope="session")
def emulated() -> Path:
    """The library of the emulated GPU."""
    return cuda_emulator.library()


@pytest.fixture(params=["emulated", "on_this_gpu"])
def gpu(request: pytest.FixtureRequest) -> Path | None:
    """The emulated GPU, and that of the machine (None) if there is one."""
    if request.param == "emulated":
        return request.getfixturevalue("emulated")
    if not devices.has_gpu():
        pytest.skip("needs a GPU")
    return None


def run(code: str, library: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs code in a process whose GPU, if a library is given, is the emulated one."""
    environment = cuda_emulator.environment(library) if library else None
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )


# The kernels


def test_ops_on_the_emulated_gpu(emulated):
    files = [str(file) for file in sorted(HERE.glob("test_op_*.py"))]
    options = ("-q", "-x", "-p", "no:cacheprovider", "-k", "cuda")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env=cuda_emulator.environment(emulated), cwd=HERE.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_kind_has_cuda_kernels(emulated):
    cuda, cpu = _core.load_backend(str(emulated), 0), _core.backend("cpu")
    for name, kind in _core.OpKind.__members__.items():
        if name in ONLY_ON_CPUS:
            assert not cuda.kernels(kind), kind
        else:
            assert bool(cuda.kernels(kind)) == bool(cpu.kernels(kind)), kind


TRAIN = """
import numpy as np
import fastconv as fc

def train(device):
    fc.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.random((48, 10, 10, 2), np.float32)
    y = (x.mean((1, 2, 3)) > 0.5).astype(int) + (x[:, 0, 0, 0] > 0.5)
    layers = fc.layers
    model = fc.Sequential([
        layers.Input((10, 10, 2)),
        layers.Conv2D(6, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.Dropout(0.2),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ])
    model.compile(fc.optimizers.Adam(0.01), "sparse_categorical_crossentropy",
                  metrics=["accuracy"], device=device)
    history = model.fit(x, y, batch_size=16, epochs=4, verbose=0, shuffle=True)
    return history.history["loss"], model.predict(x, verbose=0)

losses, predictions = train("cuda")
again = train("cuda")
assert losses == again[0] and predictions.tobytes() == again[1].tobytes()
expected = train("cpu")
np.testing.assert_allclose(losses, expected[0], rtol=1e-4)
np.testing.assert_allclose(predictions, expected[1], rtol=1e-3, atol=1e-4)
assert losses[-1] < losses[0]
"""


def test_training_is_that_of_the_cpu(gpu):
    """And the same bytes again."""
    done = run(TRAIN, gpu)
    assert done.returncode == 0, done.stderr


MIXED = """
import io
import re
from contextlib import redirect_stdout

import numpy as np
import fastconv as fc
from fastconv import mixed_precision

def train(policy):
    fc.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.random((48, 10, 10, 3), np.float32)
    y = (x.mean((1, 2, 3)) > 0.5).astype(int) + (x[:, 0, 0, 0] > 0.5)
    fc.mixed_precision.set_global_policy(policy)
    layers = fc.layers
    model = fc.Sequential([
        layers.Input((10, 10, 3)),
        layers.Conv2D(12, 5, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.Flatten(),
        layers.Dense(20, activation="swish"),
        layers.Dense(3, activation="softmax"),
    ])
    model.compile(fc.optimizers.Adam(0.01), "sparse_categorical_crossentropy",
                  device="cuda")
    history = model.fit(x, y, batch_size=16, epochs=4, verbose=0, shuffle=True)
    said = io.StringIO()
    with redirect_stdout(said):
        model.explain(16)
    return history.history["loss"], said.getvalue(), model.predict(x, verbose=0)

mixed_precision.SUITED += (fc._core.active_isa(),)
losses, said, predictions = train(POLICY)
again = train(POLICY)
assert losses == again[0] and predictions.tobytes() == again[2].tobytes()
# Forward, and the gradients of data and weights, of two convolutions and two products,
# but for that of the images.
on_tensor_cores = re.compile(" (statistics_)?(tensor_cores|hopper) ").findall
assert len(on_tensor_cores(said)) == 4 * 3 - 1, said
expected, said, _ = train("float32")
assert not on_tensor_cores(said), said
np.testing.assert_allclose(losses, expected, rtol=0.05)
assert losses[-1] < losses[0]
"""


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_training_in_halves_is_near_that_in_float32(gpu, policy):
    """And the same bytes again."""
    done = run(f"POLICY = {policy!r}\n{MIXED}", gpu)
    assert done.returncode == 0, done.stderr


OVERFLOW = """
import numpy as np
import fastconv as fc

fc.utils.set_random_seed(1)
fc.mixed_precision.set_global_policy("mixed_float16")
layers = fc.layers
model = fc.Sequential([
    layers.Input((8, 8, 8)),
    layers.Conv2D(16, 3, padding="same", activation="relu"),
    layers.Flatten(),
    layers.Dense(16, activation="relu"),
    layers.Dense(1),
])
inner = fc.optimizers.Adam(0.002)
optimizer = fc.optimizers.LossScaleOptimizer(inner, 2.0**26, 4)
model.compile(optimizer, "mse", device="cuda")
x = np.random.default_rng(0).random((32, 8, 8, 8), np.float32)
y = 4 * x.mean((1, 2, 3))[:, None]
before = model.get_weights()
losses, skipped = [], 0
for step in range(40):
    scale, updates = optimizer.dynamic_scale, optimizer.iterations
    weights = model.get_weights()
    losses.append(model.train_on_batch(x, y))
    counts = optimizer.iterations - updates
    same = all(map(np.array_equal, weights, model.get_weights()))
    assert same == (not counts)
    if not counts:
        skipped += 1
        assert optimizer.dynamic_scale == scale / 2, "it overflows in float16"
moments = [v.value for known in inner.variables().values() for v in known.values()]
assert moments and all(np.isfinite(m).all() for m in moments)
assert losses[0] == losses[skipped > 0], "a step that is skipped changes nothing"
assert 2 <= skipped < 20 and optimizer.iterations == 40 - skipped
assert losses[-1] < 0.2 * losses[0], losses
"""


def test_steps_that_overflow_in_float16_are_skipped(gpu):
    done = run(OVERFLOW, gpu)
    assert done.returncode == 0, done.stderr


RUNS = """
import numpy as np
import fastconv as fc
from fastconv.execution.function import Function

x = np.arange(6, dtype=np.float32).reshape(2, 3)
total = fc.Variable(np.zeros(3, np.float32))  # copied in and out by each run
large = fc.Variable(np.ones((200, 3), np.float32))  # shared with the device

def step(x):
    total.assign(total + fc.ops.sum(x, axis=0))
    large.assign(large * 2)
    return fc.ops.relu(x - 2)

run = Function(step, "cuda")
for i in range(4):  # started, recorded, replayed, replayed
    np.testing.assert_array_equal(run(x + i), np.maximum(x + i - 2, 0))
np.testing.assert_array_equal(total.value, 4 * x.sum(0) + 12)
np.testing.assert_array_equal(large.value, 16)
total.value[...] = 1  # the host changes what the device has
large.value[1] = 3
run(x)
np.testing.assert_array_equal(total.value, x.sum(0) + 1)
np.testing.assert_array_equal(large.value[:2], [[32] * 3, [6] * 3])
assert len(run.profile(x)) == len(run.explain(x))

def doubled(x):
    return fc.ops.callback(lambda a: a * 2, x + 1, ((2, 3), "float32"))
double = Function(doubled, "cuda")
np.testing.assert_array_equal(double(x), 2 * x + 2)

kept = fc.Variable(0.0)
def loss(logits, labels):
    kept.assign(kept + 1)
    return fc.ops.softmax_cross_entropy(logits, labels)
loss = Function(loss, "cuda")
for _ in range(3):
    loss(x, np.array([0, 2]))
try:
    loss(x, np.array([0, 3]))
except fc.errors.DataError as error:
    assert "label 3 at position 1 is out of range" in str(error)
else:
    raise AssertionError
assert kept.value == 3, "nothing is updated after an error"
loss(x, np.array([0, 1]))
assert kept.value == 4
"""


def test_runs_host_functions_and_errors(gpu):
    done = run(RUNS, gpu)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("tile", range(4))
@pytest.mark.parametrize("operands", ["bfloat16", "float16", "tf32"])
def test_every_tile_of_the_tensor_cores(operands, tile, splits, stride):
    library = ctypes.CDLL(str(cuda_emulator.library(HERE / "tensor_tiles.cu")))
    library.fastconv_backend.restype = ctypes.c_void_p
    backend = ctypes.c_void_p(library.fastconv_backend(5, 0, None))
    assert library.wrong(backend, operands.encode(), tile, splits, stride) == 0


def test_the_models_of_instructions_do_what_is_known_of_gpus():
    found = conformance.run(conformance.emulated())
    golden = json.loads(conformance.GOLDEN.read_text("utf-8"))
    assert list(found) == list(golden["cases"]) == list(conformance.CASES)
    assert conformance.differences(found, golden) == []
    assert device_version() == conformance.VERSION


def device_version():
    header = HERE.parent / "include" / "fastconv" / "device.h"
    return int(re.search(r"kDeviceVersion = (\d+)", header.read_text("utf-8"))[1])


# The emulator


@pytest.fixture(scope="session")
def planted():
    """planted(name): the fault found, and the 64 numbers written."""
    return planting("emulator_faults.cu")


def planting(source):
    path = cuda_emulator.library(HERE / source)
    library = ctypes.CDLL(str(path))
    library.planted.restype = ctypes.c_char_p
    library.fastconv_backend.restype = ctypes.c_void_p
    backend = ctypes.c_void_p(library.fastconv_backend(5, 0, None))

    def find(name):
        out = np.zeros(64, np.float32)
        address = out.ctypes.data_as(ctypes.c_void_p)
        found = library.planted(backend, name.encode(), address)
        return (found or b"").decode(), out

    return find


def test_a_sound_kernel(planted):
    for _ in range(2):  # in both orders of the threads
        found, out = planted("sound")
        assert not found
        np.testing.assert_array_equal(out, np.roll(np.arange(64), -1))


@pytest.mark.parametrize("where", ["ahead", "behind"])
def test_a_missing_barrier_is_seen(planted, where):
    runs = [planted(f"missing barrier, read {where}")[1] for _ in range(2)]
    assert any(np.isnan(out).any() for out in runs)


def test_shared_memory_that_was_not_written_is_seen(planted):
    found, out = planted("unwritten shared memory")
    assert not found
    assert np.isnan(out[7])


def test_a_copy_that_nobody_waits_for_is_seen(planted):
    found, out = planted("copy")
    assert not found
    assert (out == 0).all()
    assert np.isnan(planted("copy that nobody waits for")[1]).all()


def test_rows_of_a_matrix_in_the_same_banks_are_seen(planted):
    assert planted("rows in different banks")[0] == ""
    assert "rows of a matrix in the same banks" in planted("rows in the same banks")[0]


def test_operands_that_are_not_rounded_to_tf32_are_seen(planted):
    found, out = planted("operands rounded to TF32")
    assert not found
    assert (out[:32] == 8).all()
    found, _ = planted("operands that are not rounded to TF32")
    assert "an operand that was not rounded to TF32" in found


def test_a_half_that_is_taken_for_the_other_is_seen(planted):
    """Of the smallest denormal, which products must not take for 0."""
    expected = 16 * 2.0**-24 * 1024
    found, out = planted("float16 as float16")
    assert not found
    assert (out[:32] == expected).all()
    for name in ("bfloat16 as float16", "float16 as bfloat16"):
        assert (planted(name)[1][:32] != expected).all()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("barrier in a branch", "threads wait for others that never come"),
        ("part of a warp", "a warp that is not whole"),
        ("no shared memory", "threads meet in a kernel without Shared"),
    ],
)
def test_threads_that_do_not_meet_are_seen(planted, name, fault):
    assert fault in planted(name)[0]
    assert planted("sound")[0] == "", "and the next launch works"


@pytest.mark.parametrize("name", ["host reads the device", "written behind the memory"])
def test_memory_that_is_out_of_reach(name):
    path = cuda_emulator.library(HERE / "emulator_faults.cu")
    code = f"""
import ctypes
library = ctypes.CDLL({str(path)!r})
library.fastconv_backend.restype = ctypes.c_void_p
backend = ctypes.c_void_p(library.fastconv_backend(5, 0, None))
library.planted(backend, {name!r}.encode(), (ctypes.c_float * 64)())
"""
    assert run(code).returncode == -11, "a segmentation fault"


@pytest.fixture(scope="session")
def planted_hopper():
    """As `planted`, of a product by the instructions of sm_90a; 0 where it is right."""
    return planting("emulator_faults_hopper.cu")


def test_a_sound_product(planted_hopper):
    for _ in range(4):  # orders of the threads, products at once and late
        found, out = planted_hopper("none")
        assert not found
        np.testing.assert_array_equal(out, 0)


@pytest.mark.parametrize(
    "name", ["early release", "no wait", "wrong parity", "too few bytes", "no bytes"]
)
def test_what_is_too_early_is_seen(planted_hopper, name):
    runs = [planted_hopper(name) for _ in range(4)]
    assert any(found or (out != 0).any() for found, out in runs)


def test_products_of_the_other_half_are_seen(planted_hopper):
    found, out = planted_hopper("other half")
    assert not found
    assert (out != 0).any()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("not made", "a barrier that was not made"),
        ("misplaced box", "a box that does not begin at a multiple of 1024"),
        ("too many arrive", "more threads arrive at a barrier than it was made for"),
    ],
)
def test_wrong_use_of_a_barrier_is_seen(planted_hopper, name, fault):
    assert any(fault in planted_hopper(name)[0] for _ in range(2))
    assert planted_hopper("none")[0] == "", "and the next launch works"


# What asks for the backend


def test_nothing_of_cuda_is_opened_before_it_is_asked_for():
    code = """
import fastconv as fc
fc.function(lambda x: x + 1)([1.0])
maps = open("/proc/self/maps").read()
opened = {line.split("/")[-1] for line in maps.splitlines() if "/" in line}
assert "libfastconv.so" in opened
assert not [name for name in opened if "cuda" in name], opened
"""
    if devices.has_gpu():
        pytest.skip("there is a GPU")
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_a_library_without_a_driver_says_so():
    if devices.gpu_library() is None or devices.has_gpu():
        pytest.skip("needs the CUDA backend and no GPU")
    with pytest.raises(DeviceError, match=r"no NVIDIA driver was found; CUDA 13"):
        devices.resolve_device("cuda")


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A machine that seems to have a driver."""
    monkeypatch.setattr(devices, "DRIVER_FILES", (str(tmp_path),))
    devices.has_gpu.cache_clear()
    yield
    devices.has_gpu.cache_clear()


def test_auto_warns_once_and_takes_the_cpu(driver, monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv("FASTCONV_CUDA_LIBRARY", str(broken))
    with pytest.warns(FastconvWarning, match="cannot open.*the CPU is used"):
        assert devices.resolve_device("auto") == "cpu"
    assert devices.resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match="device 'cuda:1': cannot open the backend"):
        devices.resolve_device("cuda:1")


def test_auto_takes_a_gpu(driver, monkeypatch, emulated):
    monkeypatch.setenv("FASTCONV_CUDA_LIBRARY", str(emulated))
    assert devices.resolve_device("auto") == "cuda"
    assert devices.resolve_device("cuda:0") == "cuda"
    assert devices.backend_of("cuda:1").detail == "emulated"
    with pytest.raises(DeviceError, match="'cuda:2': the emulator has 2 devices"):
        devices.resolve_device("cuda:2")


def test_an_installation_without_the_backend(driver, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTCONV_CUDA_LIBRARY", str(tmp_path / "absent.so"))
    assert devices.resolve_device("auto") == "cpu"
    with pytest.raises(DeviceError, match="no CUDA backend; it is built where nvcc"):
        devices.resolve_device("cuda")
