"""Callbacks in the loop."""

import csv

import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks
from fastconv.errors import ArgumentError

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

    for hook in callbacks.HOOKS:
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
