"""Callbacks in the loop."""

import csv
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks
from fastconv.callbacks.base import HOOKS
from fastconv.errors import ArgumentError, MissingExtraError

X = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]


def fitted(*given, epochs=3, rate=0.1, **options):
    model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    model.compile(fc.optimizers.SGD(rate), loss="mse")
    options = {"validation_data": (X, 2 * X), **options}
    history = model.fit(
        X,
        2 * X,
        epochs=epochs,
        batch_size=10,
        verbose=0,
        callbacks=list(given),
        **options,
    )
    return model, history


def test_hooks_in_order():
    seen = []

    class Notes(callbacks.Callback):
        def __getattribute__(self, name):
            return super().__getattribute__(name)

    for hook in HOOKS:
        setattr(Notes, hook, lambda self, *args, hook=hook: seen.append(hook))
    model, _ = fitted(Notes(), epochs=1)
    model.predict(X, verbose=0, callbacks=[Notes()])
    assert seen[:4] == [
        "on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"
    ]  # fmt: skip
    assert seen.count("on_train_batch_end") == 4
    assert seen.count("on_test_batch_end") == 4
    assert seen.index("on_test_end") < seen.index("on_epoch_end")
    assert seen.index("on_epoch_end") < seen.index("on_train_end")
    assert seen[-1] == "on_predict_end"


def test_history_and_params():
    note = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    model, history = fitted(note)
    assert set(history.history) == {"loss", "val_loss"}
    assert len(history.history["loss"]) == 3
    assert history.epoch == [0, 1, 2]
    assert model.history is history
    assert note.params == {"epochs": 3, "steps": 4, "verbose": 0}


def test_unknown_hook_and_no_callback():
    with pytest.raises(ArgumentError, match="on_epoch_end"):
        callbacks.LambdaCallback(on_epoch_finish=print)
    with pytest.raises(ArgumentError, match="Callback"):
        fitted(3)


def test_early_stopping_restores_the_best():
    values = iter([3.0, 1.0, 2.0, 2.5, 9.0])
    weights = []

    class Fake(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = next(values)
            weights.append(self.model.get_weights())

    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model, history = fitted(Fake(), stop, epochs=5)
    assert history.history["val_loss"] == [3.0, 1.0, 2.0, 2.5]
    assert stop.stopped_epoch == 3
    assert stop.best_epoch == 1
    for w, best in zip(model.get_weights(), weights[1], strict=True):
        np.testing.assert_array_equal(w, best)


def test_missing_monitor_is_logged_once(caplog):
    fitted(callbacks.EarlyStopping("val_accuracy"), epochs=3)
    assert caplog.text.count("val_accuracy") == 1


def test_checkpoint(tmp_path):
    path = tmp_path / "e{epoch:02d}.safetensors"
    fitted(callbacks.ModelCheckpoint(path), epochs=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "e01.safetensors", "e02.safetensors"
    ]  # fmt: skip
    assert fc.load_model(tmp_path / "e02.safetensors").optimizer.iterations == 8


def test_checkpoint_of_the_best_and_of_steps(tmp_path):
    values = iter([3.0, 1.0, 2.0])

    class Fake(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = next(values)

    best = callbacks.ModelCheckpoint(
        tmp_path / "{epoch}", save_best_only=True, save_weights_only=True
    )
    fitted(Fake(), best)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    steps = callbacks.ModelCheckpoint(tmp_path / "s", save_freq=3)
    fitted(steps, epochs=1)
    assert fc.load_model(tmp_path / "s").optimizer.iterations == 3
    with pytest.raises(ArgumentError, match="accuracy"):
        fitted(callbacks.ModelCheckpoint(tmp_path / "{accuracy}"))


def test_csv(tmp_path):
    path = tmp_path / "log.csv"
    fitted(callbacks.CSVLogger(path), epochs=2)
    fitted(callbacks.CSVLogger(path, append=True), epochs=1)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", "loss", "val_loss"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "0"]


def test_learning_rate_scheduler():
    rates = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model, history = fitted(rates, rate=0.8)
    assert history.history["learning_rate"] == [0.4, 0.2, 0.1]
    assert model.optimizer.learning_rate == 0.1


def test_terminate_on_nan(caplog):
    model, history = fitted(callbacks.TerminateOnNaN(), rate=1e20, epochs=50)
    assert model.stop_training
    assert len(history.epoch) < 50
    assert "training stops" in caplog.text


# The callbacks of Keras, on given values ----------------------------------------------


class Given(callbacks.Callback):
    """Puts values into the logs."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


# Rates after each epoch and epochs done, computed with Keras 3.
PLATEAU = [
    ({"patience": 2}, [1, 0.05, 0.05, 0.05, 0.05, 0.05], [1, 1, 1, 0.1, 0.1, 0.01]),
    ({"patience": 1, "factor": 0.5, "cooldown": 2}, [1, 2, 2, 2, 2, 2, 0.5],
     [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
    ({"patience": 1, "factor": 0.5, "min_lr": 0.3}, [1, 1, 1, 1], [1, 0.5, 0.3, 0.3]),
    ({"patience": 2, "min_delta": 0.1}, [1, 0.95, 0.95, 0.7, 0.75],
     [1, 1, 0.1, 0.1, 0.1]),
    ({"patience": 0, "factor": 0.5}, [1, 0.5, 0.7, 0.2], [1, 1, 0.5, 0.5]),
    ({"mode": "max", "patience": 1, "factor": 0.5}, [1, 2, 2, 3, 1],
     [1, 1, 0.5, 0.5, 0.25]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "values", "rates"), PLATEAU)
def test_reduce_on_plateau(options, values, rates):
    seen = []
    reduce = callbacks.ReduceLROnPlateau(**options)
    note = callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(reduce.model.optimizer.learning_rate)
    )
    _, history = fitted(Given(values), reduce, note, rate=1.0, epochs=len(values))
    np.testing.assert_allclose(seen, rates, rtol=1e-12)
    assert history.history["learning_rate"] == [1.0, *seen[:-1]]


def test_reduce_on_plateau_replaces_a_schedule():
    schedule = fc.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    reduce = callbacks.ReduceLROnPlateau(patience=1, factor=0.5)
    model, history = fitted(Given([1, 1, 1]), reduce, rate=schedule)
    before = history.history["learning_rate"]
    assert before[1] < before[0]
    assert model.optimizer.learning_rate == before[1] / 4
    with pytest.raises(ArgumentError, match="factor"):
        callbacks.ReduceLROnPlateau(factor=1.0)


# Values, then (stopped epoch, best epoch), computed with Keras 3.
STOPS = [
    ({"patience": 0}, [3, 2, 2.5, 1], 2, 1),
    ({"patience": 2}, [3, 2, 2.5, 2.5, 1], 3, 1),
    ({"patience": 1, "min_delta": 0.5}, [3, 2.8, 2.0, 1.9], 1, 0),
    ({"patience": 1, "start_from_epoch": 2}, [1, 9, 9, 8, 9, 9], 4, 3),
    ({"patience": 1, "baseline": 1.5}, [3, 2, 1, 0.5], 0, 3),
    ({"patience": 2, "baseline": 0.5}, [3, 2, 2.1, 2.2, 2.3], 2, 1),
    ({"patience": 1, "mode": "max"}, [1, 2, 3, 2, 1], 3, 2),
]


@pytest.mark.parametrize(("options", "values", "stopped", "best"), STOPS)
def test_early_stopping(options, values, stopped, best):
    stop = callbacks.EarlyStopping(**options)
    _, history = fitted(Given(values), stop, epochs=len(values))
    assert (stop.stopped_epoch, stop.best_epoch) == (stopped, best)
    assert len(history.epoch) == (stopped + 1 if stopped else len(values))


def test_early_stopping_never_takes_nan_for_the_best():
    stop = callbacks.EarlyStopping(restore_best_weights=True)
    fitted(Given([float("nan"), 2.0, 3.0]), stop)
    assert (stop.stopped_epoch, stop.best_epoch, stop.best) == (2, 1, 2.0)


def test_the_tables_are_those_of_keras():
    keras = pytest.importorskip("keras")

    class Fake:
        stop_training = False
        weights = ()

        def get_weights(self):
            return []

        def set_weights(self, weights):
            pass

    class Optimizer:
        learning_rate = 1.0

    def run(callback, values):
        callback.set_model(Fake())
        callback._set_monitor_op = lambda: type(callback)._set_monitor_op(callback)
        callback.model.optimizer = Optimizer()
        callback.on_train_begin()
        rates = []
        for epoch, value in enumerate(values):
            callback.on_epoch_end(epoch, {"val_loss": value})
            rates.append(callback.model.optimizer.learning_rate)
            if callback.model.stop_training:
                break
        return rates

    for options, values, rates in PLATEAU:
        given = {"mode": "min", **options}
        found = run(keras.callbacks.ReduceLROnPlateau(**given), values)
        np.testing.assert_allclose(found, rates, rtol=1e-12)
    for options, values, stopped, best in STOPS:
        stop = keras.callbacks.EarlyStopping(**{"mode": "min", **options})
        run(stop, values)
        assert (stop.stopped_epoch, stop.best_epoch) == (stopped, best)


# Averages of weights ------------------------------------------------------------------


def averaged(*given, epochs=2, validation=True):
    fc.random.set_seed(1)
    model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    optimizer = fc.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, loss="mse")
    data = (X, 2 * X) if validation else None
    history = model.fit(
        X, 2 * X, epochs=epochs, batch_size=10, verbose=0, callbacks=list(given),
        validation_data=data,
    )  # fmt: skip
    averages = list(model.optimizer.variables()["ema"].values())
    return model, history.history, averages[0].value.copy()


def test_swap_ema_weights_evaluates_the_averages():
    plain, without, average = averaged()
    model, history, same = averaged(callbacks.SwapEMAWeights())
    assert history["loss"] == without["loss"]
    assert history["val_loss"] != without["val_loss"]
    np.testing.assert_array_equal(same, average)
    for a, b in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    loss = plain.evaluate(X, 2 * X, batch_size=10, verbose=0)
    assert loss == history["val_loss"][-1]


def test_swap_ema_weights_on_epochs():
    seen = []
    note = callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(note.model.get_weights()[0])
    )
    _, without, average = averaged()
    model, history, _ = averaged(callbacks.SwapEMAWeights(swap_on_epoch=True), note)
    assert history["loss"] == without["loss"]
    np.testing.assert_array_equal(seen[-1], average)
    np.testing.assert_array_equal(model.get_weights()[0], average)
    averages = model.optimizer.variables()["ema"]
    for weight, held in averages.items():
        np.testing.assert_array_equal(weight.value, held.value)
    with pytest.raises(ArgumentError, match="use_ema=True"):
        fitted(callbacks.SwapEMAWeights())


def test_swap_ema_weights_goes_on(tmp_path):
    def swap():
        return callbacks.SwapEMAWeights(swap_on_epoch=True)

    def backup(folder):
        return callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False)

    expected, history, _ = averaged(swap(), epochs=4)
    averaged(swap(), backup("a"), epochs=2)
    model, found, _ = averaged(swap(), backup("a"), epochs=4)
    assert found == history
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# TensorBoard --------------------------------------------------------------------------


def events(folder):
    """Tag -> list of (step, value), and other tags, of the event files in a folder."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    scalars, others = {}, []
    for path in sorted(folder.glob("events*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    point = (event.step, value.simple_value)
                    scalars.setdefault(value.tag, []).append(point)
                else:
                    others.append((event.step, value.tag))
    return scalars, others


@pytest.mark.filterwarnings("default")
def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    board = callbacks.TensorBoard(
        tmp_path, histogram_freq=2, write_steps_per_second=True, update_freq=3
    )
    _, history = fitted(board)
    train, others = events(tmp_path / "train")
    expected = list(enumerate(np.float32(history.history["loss"]).tolist()))
    assert train["epoch_loss"] == expected
    assert train["epoch_learning_rate"] == [(i, np.float32(0.1)) for i in range(3)]
    assert [step for step, _ in train["batch_loss"]] == [3, 6, 9, 12]
    assert all(value > 0 for _, value in train["epoch_steps_per_second"])
    histograms = [(step, tag) for step, tag in others if tag.endswith("histogram")]
    assert len(histograms) == 4  # kernel and bias, epochs 0 and 2
    assert any("model" in tag for _, tag in others)
    validation, _ = events(tmp_path / "validation")
    expected = list(enumerate(np.float32(history.history["val_loss"]).tolist()))
    assert validation["epoch_loss"] == expected
    assert [s for s, _ in validation["evaluation_loss_vs_iterations"]] == [4, 8, 12]
    with pytest.raises(ArgumentError, match="update_freq"):
        callbacks.TensorBoard(tmp_path, update_freq="step")


def test_tensorboard_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"fastconv\[tensorboard\]"):
        fitted(callbacks.TensorBoard(tmp_path))


def test_no_logs_are_made_where_nobody_listens(tmp_path):
    quiet = callbacks.ModelCheckpoint(tmp_path / "m"), callbacks.TensorBoard(tmp_path)
    hooks = callbacks.CallbackList([*quiet, callbacks.BackupAndRestore("b")], None)
    assert not hooks.listens("on_train_batch_end")
    loud = callbacks.ModelCheckpoint(tmp_path / "m", save_freq=3)
    assert callbacks.CallbackList([loud], None).listens("on_train_batch_end")
