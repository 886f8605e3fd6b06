"""Saved models of the user's own classes, and the names of weights in files."""

import copy
import logging
import pickle
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import FormatError
from fastconv.io import atomic
from fastconv.training.weight_names import weight_names

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Y = X[:, :2]


class Plain(fc.Model):
    def __init__(self):
        super().__init__()
        self.d = fc.layers.Dense(2)

    def call(self, x):
        return self.d(x)


class Two(fc.Model):
    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.units = units
        self.a = fc.layers.Dense(units)
        self.b = fc.layers.Dense(units)

    def call(self, x):
        return self.b(self.a(x))


class Twice(fc.layers.Layer):
    def __init__(s, factor=2.0):
        super().__init__()
        s.factor = factor

    def call(self, x):
        return x * self.factor


class Listed(fc.Sequential):
    def __init__(self, units=3):
        super().__init__([fc.Input((4,)), fc.layers.Dense(units)])
        self.units = units


class Connected(fc.Model):
    def __init__(self, units=3):
        x = fc.Input((4,))
        super().__init__(x, fc.layers.Dense(units)(x))
        self.units = units


def with_twice():
    return fc.Sequential([fc.Input((4,)), Twice(3.0), fc.layers.Dense(2)])


def grown():
    model = Listed(5)
    model.add(fc.layers.Dense(2, name="last"))
    return model


MAKERS = [Plain, Two, with_twice, lambda: Listed(2), grown, lambda: Connected(2)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def elsewhere():
    """Layer names begin at other numbers, as in another process."""
    fc.utils.clear_session()
    fc.layers.Dense(1)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("how", ["file", "pickle", "deepcopy"])
def test_classes_that_take_no_name(make, how, path):
    model = make()
    expected = model.predict(X, verbose=0)
    if how == "file":
        model.save(path)
        elsewhere()
        again = fc.load_model(path)
    else:
        again = (
            copy.deepcopy(model)
            if how == "deepcopy"
            else pickle.loads(pickle.dumps(model))
        )
    assert (type(again), again.name) == (type(model), model.name)
    np.testing.assert_array_equal(again.predict(X, verbose=0), expected)


def test_called_at_once_then_saved(path):
    model = Two()
    expected = model(X)
    model.save(path)
    np.testing.assert_array_equal(fc.load_model(path)(X), expected)


def test_names_in_files_do_not_depend_on_the_process(path):
    def listed():
        return fc.Sequential([fc.Input((4,)), *(fc.layers.Dense(4) for _ in "ab")])

    fc.utils.clear_session()
    for make, names in ((Two, ("a", "b")), (listed, ("dense", "dense_1"))):
        model = make()
        model.predict(X, verbose=0)
        expected = [f"{n}/{w}" for n in names for w in ("kernel", "bias")]
        assert list(weight_names(model)) == expected
        model.save_weights(path)
        elsewhere()
        again = make()
        again.build((None, 4))
        again.load_weights(path, skip_mismatch=True)
        for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


class Scaled(fc.layers.Layer):
    """Its weight is called by the place of the layer in the program."""

    made = 0

    def build(self, input_shape):
        Scaled.made += 1
        self.w = self.add_weight((input_shape[-1],), "ones", name=f"w{Scaled.made}")

    def call(self, x):
        return x * self.w


def test_state_of_the_optimizer_for_weights_found_by_order(path):
    model = fc.Sequential([fc.Input((4,)), Scaled()])
    model.compile(fc.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(X, X * 2, verbose=0)
    model.save(path)
    again = fc.load_model(path)
    assert set(weight_names(model)).isdisjoint(weight_names(again))
    found = [
        next(iter(m.optimizer.variables()["velocity"].values())).numpy()
        for m in (model, again)
    ]
    assert np.abs(found[0]).max() > 0
    np.testing.assert_array_equal(*found)


def test_saving_a_schedule_warns_once(path, caplog):
    model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(2)])
    model.compile(fc.optimizers.SGD(lambda step: 0.1 / (step + 1)), "mse")
    with caplog.at_level(logging.WARNING, "fastconv"):
        model.save(path)
        model.save(path)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "its schedule is a function" in caplog.text


def test_epochs_seen_come_back(path):
    model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=3, verbose=0)
    model.save(path)
    assert fc.load_model(path).epochs_seen == 3


def test_threads_write_one_file(tmp_path, monkeypatch):
    """Each call writes beside the file under a name of its own."""
    path, failed = tmp_path / "file", []
    barrier, sync = threading.Barrier(4), atomic._sync

    def together(file):
        barrier.wait(10)
        sync(file)
        barrier.wait(10)

    def one(i):
        try:
            atomic.write(path, bytes([i]) * 1000)
        except Exception as error:
            failed.append(error)
            barrier.abort()

    monkeypatch.setattr(atomic, "_sync", together)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_bad_number_of_epochs():
    from fastconv.io import container
    from fastconv.training import model_file

    model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(2)])
    header, arrays = container.parse(model_file.dump(model), "x")
    for value in (-1, "3", None):
        data = container.dump({**header, "epochs": value}, arrays)
        with pytest.raises(FormatError, match="epochs"):
            model_file.load(data, "x")
