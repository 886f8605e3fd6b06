"""Arrays on a GPU, from and for other libraries, and batches that are there early."""

import numpy as np
import pytest

import cuda_emulator
import fastconv as fc
from fastconv import _core
from fastconv.errors import DataError, DeviceError, OutOfMemoryError
from fastconv.execution.device_array import ALIGNMENT, DeviceArray, Resident
from fastconv.execution.devices import backend_of
from fastconv.execution.function import Function
from fastconv.training.feeding import Epochs

X = np.arange(24, dtype="f4").reshape(4, 6)


@pytest.fixture(autouse=True)
def _emulated(monkeypatch):
    """The device "cuda" is the emulator."""
    monkeypatch.setenv("FASTCONV_CUDA_LIBRARY", str(cuda_emulator.library()))


def on_device(values, device="cuda"):
    """A device array with such values."""
    return Function(lambda x: x * 1, device)(empty(values.shape, values, device))


def empty(shape, values=None, device="cuda", dtype="f4"):
    array = _core.device_empty(backend_of(device), np.dtype(dtype), list(shape))
    if values is not None:
        source = Function(lambda x: x * 1, device).compile(values)
        source.plan.run(source.arena, [values], [])
        source.plan.read(source._lowered.outputs[0], source.arena, array)
    return DeviceArray(array, device)


class Foreign:
    """An array of another library: what DLPack asks for, and no more."""

    def __init__(self, array, device=(2, 0)):
        self.array, self.device, self.streams = array, device, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        return self.array.__dlpack__()


def test_a_function_reads_and_returns_arrays_on_the_device():
    double = Function(lambda x: (x + x, fc.ops.sum(x)), "cuda")
    x = empty(X.shape, X)
    for _ in range(4):  # started, recorded, replayed
        y, total = double(x)
    assert isinstance(y, DeviceArray)
    assert (y.shape, y.dtype, y.device, len(y)) == ((4, 6), np.float32, "cuda", 4)
    np.testing.assert_array_equal(y.numpy(), 2 * X)
    np.testing.assert_array_equal(np.asarray(y, "f8"), 2 * X)
    assert float(total.numpy()) == X.sum()
    np.testing.assert_array_equal(double(y)[0].numpy(), 4 * X)
    assert isinstance(double(X)[0], np.ndarray), "and NumPy's as before"


def test_another_librarys_array_is_read_where_it_is():
    foreign = Foreign(empty(X.shape, X))
    taken = fc.from_dlpack(foreign)
    assert taken.array.ctypes.data == foreign.array.array.ctypes.data
    assert foreign.streams == [_core.device_stream(backend_of("cuda"))]
    add = Function(lambda x, y: x + y, "cuda")
    np.testing.assert_array_equal(add(foreign, X).numpy(), 2 * X)
    np.testing.assert_array_equal(add(X, taken).numpy(), 2 * X)
    assert fc.from_dlpack(taken) is taken
    again = fc.from_dlpack(Foreign(taken))
    del foreign, taken  # whose memory lives as long as it is needed
    np.testing.assert_array_equal(again.numpy(), X)


def test_the_capsule_is_for_one_taker():
    y = empty(X.shape, X)
    capsule = y.__dlpack__()
    _core.take_dlpack(capsule)
    with pytest.raises(DataError, match="nobody has taken"):
        _core.take_dlpack(capsule)
    assert y.__dlpack_device__() == (2, 0)
    with pytest.raises(BufferError, match="stays there"):
        y.__dlpack__(dl_device=(1, 0))
    copy, _ = _core.take_dlpack(y.__dlpack__(copy=True))
    assert copy.ctypes.data != y.array.ctypes.data
    with pytest.raises(ValueError, match="needs a copy"):
        np.asarray(y, copy=False)


def test_what_begins_between_is_copied():
    y = empty((25,), np.arange(25, dtype="f4"))
    behind = DeviceArray(y.array[1:], "cuda")
    assert behind.array.ctypes.data % ALIGNMENT
    taken = fc.from_dlpack(Foreign(behind))
    assert taken.array.ctypes.data % ALIGNMENT == 0
    np.testing.assert_array_equal(taken.numpy(), np.arange(1, 25))


def test_what_cannot_be_taken():
    y = empty(X.shape, X)
    with pytest.raises(DataError, match=r"strides; call contiguous"):
        _core.take_dlpack(strided(y))
    with pytest.raises(DataError, match="not in memory of a GPU"):
        _core.take_dlpack(X.__dlpack__())
    here = Function(lambda x: x + 1, "cpu")
    with pytest.raises(DeviceError, match=r"expected arrays on 'cpu'.*on 'cuda'"):
        here(y)
    with pytest.raises(DeviceError, match="on 'cuda:1'"):
        Function(lambda x: x + 1, "cuda")(Foreign(y, (2, 1)))
    with pytest.raises(DeviceError, match="'cuda:7'"):
        fc.from_dlpack(Foreign(y, (2, 7)))


def strided(y):
    return _core.give_dlpack(y.array[:, ::2], 0)


def test_arrays_of_the_host():
    taken = fc.from_dlpack(X)
    assert np.shares_memory(taken, X)


def test_arrays_of_pytorch_on_the_host():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(fc.from_dlpack(torch.arange(3)), np.arange(3))


def test_a_gpu_by_its_number():
    y = on_device(X, "cuda:1")
    assert (y.device, y.__dlpack_device__()) == ("cuda:1", (2, 1))
    assert type(y.array) is Resident


# Batches that are there early


def network(device="cuda"):
    fc.utils.set_random_seed(3)
    model = fc.Sequential([
        fc.Input((9, 9, 2)), fc.layers.Conv2D(4, 3, activation="relu"),
        fc.layers.Flatten(), fc.layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    model.compile(
        fc.optimizers.SGD(0.05), "sparse_categorical_crossentropy", device=device
    )
    return model


DATA = np.random.default_rng(0).random((40, 9, 9, 2), "f4")
LABELS = np.arange(40) % 3


def fitted(**options):
    model = network()
    model.fit(DATA, LABELS, batch_size=8, epochs=3, verbose=0, sanity=False, **options)
    return [w.tobytes() for w in model.get_weights()]


@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_brings_the_next_batch_and_stays_the_same(monkeypatch, shuffle):
    early = fitted(shuffle=shuffle)
    monkeypatch.setattr(Epochs, "look_ahead", lambda self: [])
    assert fitted(shuffle=shuffle) == early


def test_the_batch_that_was_brought_is_the_one_that_is_used():
    """What changes in between, which nothing should, is not seen."""
    data = DATA.copy()

    class Change(fc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                data[16:24] = 9  # the next batch, a view of these images

    model, other = network(), network()
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, "sanity": False}
    model.fit(data, LABELS, callbacks=[Change()], **options)
    other.fit(DATA, LABELS, **options)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_brought_is_forgotten_when_training_stops():
    """Images are changed between trainings, the second of which begins with them."""
    data = DATA[:16].copy()

    class Stop(fc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    options = {"batch_size": 8, "shuffle": False, "verbose": 0, "sanity": False}
    model, other = network(), network()
    model.fit(data, LABELS[:16], callbacks=[Stop()], **options)
    other.fit(DATA[:8], LABELS[:8], **options)
    data[8:] = 0.5
    model.fit(data[8:], LABELS[8:16], **options)
    other.fit(data[8:].copy(), LABELS[8:16], **options)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_of_ones_own_are_not_asked_for_early():
    model, given = network(), []

    def batches():
        for i in range(5):
            given.append(i)
            yield DATA[8 * i : 8 * i + 8], LABELS[8 * i : 8 * i + 8]

    class Count(fc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert len(given) == batch + 1

    model.fit(batches(), verbose=0, sanity=False, callbacks=[Count()])
    assert len(given) == 5


# Memory


def test_a_batch_that_does_not_fit_is_refused_with_the_figures(monkeypatch):
    model = network()
    free = 1 << 22
    monkeypatch.setattr(_core.Backend, "available_bytes", property(lambda self: free))
    with pytest.raises(
        OutOfMemoryError, match=rf"needs [\d,]+ bytes.*and {free:,} are"
    ):
        model.predict(np.zeros((20_000, 9, 9, 2), "f4"), batch_size=20_000, verbose=0)
    assert model.predict(DATA, verbose=0).shape == (40, 3)
