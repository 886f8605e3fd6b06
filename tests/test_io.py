"""Saved models: what comes back, what is refused, and what survives."""

import copy
import errno
import json
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, FormatError
from fastconv.io import container
from fastconv.training import model_from_json
from fastconv.training.weight_names import weight_names

X = np.random.default_rng(0).standard_normal((20, 6, 6, 1)).astype(np.float32)
Y = np.arange(20) % 3


def convolutional(**options):
    model = fc.Sequential(
        [
            fc.Input((6, 6, 1)),
            fc.layers.Conv2D(2, 3, activation="relu", name="c"),
            fc.layers.BatchNormalization(name="bn"),
            fc.layers.Dropout(0.3),
            fc.layers.Flatten(),
            fc.layers.Dense(3, activation="softmax", name="d"),
        ],
        name="net",
    )
    model.compile(
        fc.optimizers.SGD(0.05, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **options,
    )
    return model


def same_weights(a, b):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def functional():
    a, b = fc.Input((4,), name="a"), fc.Input((4,), name="b")
    shared = fc.layers.Dense(3, name="shared")
    inner = fc.Sequential([fc.Input((3,)), fc.layers.Dense(2, name="deep")], name="in")
    joined = fc.layers.Concatenate()([shared(a), shared(b)])
    both = inner(shared(a)) * 2.0
    return fc.Model({"a": a, "b": b}, {"joined": joined, "both": both})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_training_goes_on_as_if_never_saved(path):
    model = convolutional()
    model.fit(X, Y, epochs=2, verbose=0, batch_size=8)
    model.save(path)
    again = fc.load_model(path)
    assert again.name == "net"
    assert again.optimizer.iterations == 6
    same_weights(model, again)
    np.testing.assert_array_equal(
        model.predict(X, verbose=0), again.predict(X, verbose=0)
    )
    for m in (model, again):
        m.fit(X, Y, initial_epoch=2, epochs=4, verbose=0, batch_size=8)
    same_weights(model, again)
    assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_the_file_is_plain_safetensors(path):
    from safetensors import safe_open

    model = convolutional()
    model.save(path)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["fastconv"])
        np.testing.assert_array_equal(
            file.get_tensor("c/kernel"), model.get_layer("c").get_weights()[0]
        )
    assert header["version"] == 1
    assert header["digest"].startswith("sha256:")
    first = path.read_bytes()
    model.save(path)
    assert path.read_bytes() == first


def test_functional_shared_nested(path):
    model = functional()
    assert set(weight_names(model)) == {
        "shared/kernel", "shared/bias", "in/deep/kernel", "in/deep/bias"
    }  # fmt: skip
    model.save(path)
    again = fc.load_model(path)
    x = {"a": X[:, 0, :4, 0], "b": X[:, 1, :4, 0]}
    expected, found = (m.predict(x, verbose=0) for m in (model, again))
    assert set(found) == {"joined", "both"}
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
    assert again.optimizer is None
    assert len(again.layers) == len(model.layers)


class Scale(fc.layers.Layer):
    def __init__(self, start=1.0, **options):
        super().__init__(**options)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")

    def call(self, x):
        return x * self.factor * self.start


class Net(fc.Model):
    def __init__(self, units=3, **options):
        super().__init__(**options)
        self.units = units
        self.first = Scale(2.0, name="scale")
        self.last = fc.layers.Dense(units, name="last")

    def call(self, x):
        return self.last(self.first(x))


def own_loss(y, p):
    return fc.ops.mean(fc.ops.abs(y - p), axis=-1)


def test_own_classes_and_functions(path):
    model = Net(2, name="own")
    model.compile("sgd", own_loss)
    x, y = X[:, 0, :4, 0], X[:, 0, :2, 0]
    model.fit(x, y, verbose=0)
    model.save(path)
    objects = {"own_loss": own_loss, "Net": Net, "Scale": Scale}
    again = fc.load_model(path, objects)
    same_weights(model, again)
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    with pytest.raises(FormatError, match="own_loss"):
        fc.load_model(path)
    assert fc.load_model(path, compile=False).optimizer is None


@pytest.mark.parametrize("make", [convolutional, functional])
def test_copy_and_pickle(make):
    model = make()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same_weights(model, again)
        assert again.get_config() == model.get_config()
        again.set_weights([w + 1 for w in again.get_weights()])
        assert not np.array_equal(again.get_weights()[0], model.get_weights()[0])


def test_pickle_of_own_classes():
    model = Net()
    model.build((None, 4))
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again, Net)
    same_weights(model, again)


def test_json():
    for model in (convolutional(), functional()):
        again = model_from_json(model.to_json(indent=1))
        assert again.get_config() == model.get_config()
    with pytest.raises(FormatError, match="JSON"):
        model_from_json("{")
    with pytest.raises(FormatError, match="architecture"):
        model_from_json("[]")


def test_weights_alone(path):
    model = convolutional()
    model.save_weights(path)
    other = convolutional()
    assert not np.array_equal(other.get_weights()[0], model.get_weights()[0])
    other.load_weights(path)
    same_weights(model, other)
    with pytest.raises(FormatError, match="load_weights"):
        fc.load_model(path)


def test_weights_by_order_where_names_differ(path):
    first = fc.Sequential([fc.Input((4,)), fc.layers.Dense(3), fc.layers.Dense(2)])
    second = fc.Sequential([fc.Input((4,)), fc.layers.Dense(3), fc.layers.Dense(2)])
    first.save_weights(path)
    second.load_weights(path)
    same_weights(first, second)


def test_weights_that_do_not_fit(path, caplog):
    dense = fc.layers.Dense
    model = fc.Sequential([fc.Input((4,)), dense(3, name="a"), dense(2, name="b")])
    model.save_weights(path)
    other = fc.Sequential([fc.Input((4,)), dense(3, name="a"), dense(5, name="b")])
    before = other.get_weights()
    with pytest.raises(FormatError, match=r"'b/kernel' expected shape \(3, 5\)"):
        other.load_weights(path)
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    other.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(other.get_weights()[2], before[2])
    assert "skipped" in caplog.text
    with pytest.raises(ArgumentError, match="not built"):
        fc.Sequential([dense(2)]).load_weights(path)
    with pytest.raises(ArgumentError, match="not built"):
        fc.Sequential([dense(2)]).save(path)


# Damage -------------------------------------------------------------------------------


def test_truncated_anywhere(path):
    convolutional().save(path)
    whole = path.read_bytes()
    lengths = {0, 1, 7, 8, 9, 100, len(whole) - 1, *range(0, len(whole), 977)}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"model\.safetensors.*expected"):
            fc.load_model(path)


def test_changed_anywhere(path):
    convolutional().save(path)
    whole = bytearray(path.read_bytes())
    for position in [0, 8, 20, *range(1, len(whole), 1499), len(whole) - 1]:
        whole[position] ^= 1
        path.write_bytes(whole)
        with pytest.raises(FormatError):
            fc.load_model(path)
        whole[position] ^= 1
    path.write_bytes(whole)
    fc.load_model(path)


def rewritten(path, **changes):
    header, arrays = container.parse(path.read_bytes(), "file")
    for key, value in changes.items():
        header[key] = value(header.get(key)) if callable(value) else value
    path.write_bytes(container.dump(header, arrays))


def test_newer_version(path):
    convolutional().save(path)
    rewritten(path, version=2, fastconv="9.0")
    with pytest.raises(FormatError, match=r"version 1 or older, received 2.*9\.0"):
        fc.load_model(path)


def test_other_files(path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(FormatError, match="expected a model of fastconv"):
        fc.load_model(path)
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(FormatError, match="expected a safetensors file"):
        fc.load_model(path)
    with pytest.raises(FileNotFoundError):
        fc.load_model(path.with_name("absent"))


def edited(function):
    def change(architecture):
        function(architecture["model"]["config"]["layers"])
        return architecture

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda ls: ls[0].update(class_name="Evil"), "unknown layer class 'Evil'"),
        (lambda ls: ls[0].update(class_name="os.system"), "custom_objects"),
        (lambda ls: ls[0]["config"].update(filters="many"), "filters"),
        (lambda ls: ls[0]["config"].update(surprise=1), "surprise"),
        (lambda ls: ls[0].pop("config"), "class_name and config"),
        (lambda ls: ls[-1]["config"].update(units=10**12), "'d'"),
        (lambda ls: ls[-1]["config"].update(units=2), r"'d/kernel' expected shape"),
        (lambda ls: ls[-1]["config"].update(activation="os.system"), "os.system"),
    ],
)
def test_hostile_architecture(path, change, match):
    convolutional().save(path)
    rewritten(path, architecture=edited(change))
    with pytest.raises(FormatError, match=match):
        fc.load_model(path)


def test_lambda_comes_from_the_caller_only(path):
    def double(x):
        return x * 2.0

    model = fc.Sequential(
        [fc.Input((4,)), fc.layers.Lambda(double), fc.layers.Dense(1)]
    )
    model.save(path)
    with pytest.raises(FormatError, match="custom_objects"):
        fc.load_model(path)
    again = fc.load_model(path, {"double": double})
    same_weights(model, again)


# Disasters ----------------------------------------------------------------------------


def test_full_disk_leaves_the_old_file(path):
    model = convolutional()
    model.save(path)
    old = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="model") as info:
            model.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert info.value.errno == errno.EFBIG
    assert info.value.filename == str(path)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_no_folder_no_permission_no_overwrite(path, tmp_path):
    model = convolutional()
    with pytest.raises(FileNotFoundError, match="absent"):
        model.save(tmp_path / "absent" / "model")
    model.save(path)
    with pytest.raises(FileExistsError):
        model.save(path, overwrite=False)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        model.save(path / "below")


KILLED = """
import sys, numpy as np, fastconv as fc
path = sys.argv[1]
model = fc.Sequential([fc.Input((512,)), fc.layers.Dense(1024)])
weights = model.get_weights()
print("ready", flush=True)
for i in range(10**6):
    model.set_weights([np.full_like(w, i) for w in weights])
    model.save(path)
"""


def test_kill_while_saving_leaves_a_whole_file(path):
    for delay in (0.0, 0.004, 0.013, 0.031):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        kernel, bias = fc.load_model(path).get_weights()
        assert (kernel == kernel[0, 0]).all()
        assert (bias == kernel[0, 0]).all()
        path.unlink()
        for rest in path.parent.iterdir():
            rest.unlink()
