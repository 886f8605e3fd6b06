"""batch_size="auto", time_limit and fast_dev_run: what fits into memory and time."""

import logging
import math
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv.callbacks import (
    Callback,
    CSVLogger,
    LearningRateScheduler,
    ModelCheckpoint,
)
from fastconv.errors import ArgumentError
from fastconv.training import auto_batch, fitting
from fastconv.training.time_limit import TimedRates, TimeLimit

RNG = np.random.default_rng(5)
X = RNG.standard_normal((160, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 160)


def classifier(rate=0.1, **options):
    fc.utils.set_random_seed(4)
    layers = fc.layers
    model = fc.Sequential([
        fc.Input((6,)), layers.Dense(8, "relu"), layers.Dropout(0.2),
        layers.Dense(3, "softmax"),
    ])  # fmt: skip
    optimizer = fc.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    return model


# batch_size="auto"


@pytest.fixture
def memory(monkeypatch):
    """Sets what is available."""

    def available(size):
        monkeypatch.setattr(auto_batch, "available_bytes", lambda: size)

    return available


def needed(model, size):
    found = model.memory(size)
    return found["arena"] + found["inputs"]


def test_auto_keeps_steps_in_an_epoch(caplog):
    model = classifier()
    with caplog.at_level(logging.INFO, "fastconv"):
        assert auto_batch.choose(model, X, Y, None) == 4  # 160 / 4 = 40 >= 32
    assert "batch_size='auto': 4" in caplog.text
    many = np.zeros((100_000, 6), np.float32)
    assert auto_batch.choose(model, many, np.zeros(100_000, int), None) == 1024
    assert auto_batch.choose(model, X[:5], Y[:5], None) == 1


def test_auto_is_what_fits_by_the_exact_figure(memory):
    x, y = np.zeros((100_000, 6), np.float32), np.zeros(100_000, int)
    for size in (256, 64):
        model = classifier()
        memory(math.ceil(needed(model, size) / auto_batch._SHARE))
        assert auto_batch.choose(model, x, y, None) == size
        memory(int(needed(model, size) / auto_batch._SHARE) - 8)
        assert auto_batch.choose(model, x, y, None) == size // 2
    memory(0)
    assert auto_batch.choose(classifier(), x, y, None) == 1
    memory(None)
    assert auto_batch.choose(classifier(), x, y, None) == 1024


def test_auto_ends_where_the_work_is_enough(monkeypatch):
    model = classifier()
    x, y = np.zeros((100_000, 6), np.float32), np.zeros(100_000, int)
    plan = model._plans.executable("train", x[:32], [y[:32]], [None])
    work = sum(line.flops for line in plan.report()) / 32
    monkeypatch.setattr(auto_batch, "WORK", work * 100)
    assert auto_batch.choose(model, x, y, None) == 64


def test_auto_in_fit_is_the_number():
    chosen, given = classifier(), classifier()
    weights = np.linspace(0.5, 1.5, 160)
    split = {"validation_split": 0.1, "sample_weight": weights, "verbose": 0}
    chosen.fit(X, Y, batch_size="auto", **split)
    given.fit(X, Y, batch_size=4, **split)
    assert chosen.optimizer.iterations == given.optimizer.iterations == 36
    for a, b in zip(chosen.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    lists = classifier()
    lists.fit(X.tolist(), Y.tolist(), batch_size="auto", verbose=0)
    assert lists.optimizer.iterations == 40


def test_auto_needs_arrays_and_plans():
    with pytest.raises(ArgumentError, match=r"list_iterator.* ready batches"):
        classifier().fit(iter([(X, Y)]), batch_size="auto", verbose=0)
    with pytest.raises(ArgumentError, match="plans"):
        classifier(device="reference").fit(X, Y, batch_size="auto", verbose=0)


# time_limit


class Clock:
    """Time that passes with the steps: so many seconds each."""

    def __init__(self, monkeypatch, model, step=1.0, test=0.25):
        self.now = 100.0
        train, check = model.train_batch, model.test_batch

        def train_batch(*given, **options):
            train(*given, **options)
            self.now += step

        def test_batch(*given):
            check(*given)
            self.now += test

        monkeypatch.setattr(model, "train_batch", train_batch)
        monkeypatch.setattr(model, "test_batch", test_batch)
        monkeypatch.setattr(
            fitting, "TimeLimit", lambda *given: TimeLimit(*given, lambda: self.now)
        )


def rates_of(model):
    """A callback that notes the rate of each step."""
    seen: list[float] = []
    note = fc.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_: seen.append(model.optimizer.learning_rate)
    )
    return seen, note


def test_averages_weights_at_the_end_whatever_epochs_says(monkeypatch):
    model = classifier(0.1)
    ended = []
    monkeypatch.setattr(model.optimizer, "finalize_variable_values", ended.append)
    Clock(monkeypatch, model)
    model.fit(X, Y, time_limit=20, initial_epoch=5, verbose=0)
    assert len(ended) == 1


def test_ends_in_time_with_the_rate_at_zero(monkeypatch, caplog):
    model = classifier(0.1)
    clock = Clock(monkeypatch, model)
    seen, note = rates_of(model)
    with caplog.at_level(logging.INFO, "fastconv"):
        history = model.fit(X, Y, time_limit=50, verbose=0, callbacks=[note])
    assert clock.now == 150.0
    assert len(seen) == 50 == model.optimizer.iterations
    assert history.epoch == list(range(10)), "5 steps an epoch"
    expected = [0.05 * (1 + math.cos(math.pi * i / 50)) for i in range(50)]
    np.testing.assert_allclose(seen, expected, rtol=1e-12)
    assert history.time_limit.rates == tuple(seen)
    assert model.optimizer.learning_rate == 0.1, "it is handed back"
    assert "50 steps in 50 s" in caplog.text


def test_the_last_validation_is_in_the_time(monkeypatch):
    for limit in (50, 57, 3):
        model = classifier()
        clock = Clock(monkeypatch, model)
        history = model.fit(
            X, Y, time_limit=limit, verbose=0, validation_data=(X + 1, Y)
        )
        assert limit - 2.5 <= clock.now - 100 <= limit
        assert len(history.history["val_loss"]) == len(history.epoch)
        assert model.stop_training


def test_a_validation_longer_than_the_limit_is_the_last(monkeypatch):
    model = classifier()
    Clock(monkeypatch, model, test=30.0)
    model.fit(X, Y, time_limit=20, verbose=0, validation_data=(X + 1, Y))
    assert model.optimizer.iterations == 5
    model = classifier()
    Clock(monkeypatch, model, test=9.0)
    history = model.fit(
        X, Y, time_limit=60, verbose=0, validation_data=(X[:32] + 1, Y[:32])
    )
    assert len(history.epoch) > 1


def test_slow_steps_still_end_at_zero(monkeypatch):
    model = classifier()
    clock = Clock(monkeypatch, model)
    train = model.train_batch

    def slower(*given, **options):
        train(*given, **options)
        clock.now += model.optimizer.iterations * 0.2

    monkeypatch.setattr(model, "train_batch", slower)
    history = model.fit(X, Y, time_limit=100, verbose=0)
    assert clock.now <= 200
    assert history.time_limit.rates[-1] < 0.1 * 0.05
    assert list(history.time_limit.rates) == sorted(history.time_limit.rates)[::-1]


def test_it_is_repeated_to_the_byte(monkeypatch):
    schedule = fc.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    first = classifier(schedule)
    with monkeypatch.context() as patch:
        Clock(patch, first, step=0.7)
        record = first.fit(X, Y, time_limit=20, verbose=0).time_limit
    assert first.optimizer.rate_source is schedule
    second = classifier(schedule)
    history = second.fit(X, Y, time_limit=record, verbose=0)
    assert history.time_limit == record
    assert second.optimizer.iterations == len(record) == 28
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    third = classifier(schedule)
    third.fit(X, Y, time_limit=TimedRates(record.rates[:-1]), verbose=0)
    assert third.optimizer.iterations == 27


def test_the_rate_is_handed_back_after_an_error():
    model = classifier(0.1)
    broken = Y.copy()
    broken[100] = 7
    with pytest.raises(fc.errors.DataError):
        model.fit(X, broken, time_limit=5, verbose=0)
    assert model.optimizer.rate_source == 0.1


def test_a_model_saved_meanwhile_has_the_rate_of_its_owner(tmp_path, caplog):
    schedule = fc.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    for source in (schedule, 0.1):
        model = classifier(source)
        save = ModelCheckpoint(tmp_path / "model.safetensors")
        model.fit(X, Y, time_limit=TimedRates((0.1, 0.05, 0.01)), callbacks=[save])
        loaded = fc.load_model(tmp_path / "model.safetensors").optimizer
        assert loaded.iterations == 3
        assert loaded.get_config() == model.optimizer.get_config()
    assert "schedule" not in caplog.text


def test_two_that_set_the_rate(monkeypatch, caplog):
    model = classifier()
    Clock(monkeypatch, model)
    other = LearningRateScheduler(lambda epoch, rate: 0.01)
    history = model.fit(X, Y, time_limit=12, verbose=0, callbacks=[other])
    assert history.time_limit is None
    assert "another callback set the learning rate" in caplog.text


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan, "1h", True])
def test_limits_that_make_no_sense(limit):
    with pytest.raises(ArgumentError, match="time_limit"):
        classifier().fit(X, Y, time_limit=limit, verbose=0)


# fast_dev_run


def test_a_few_batches_and_no_files(tmp_path):
    calls = []

    class Note(Callback):
        def on_train_batch_end(self, batch, logs=None):
            calls.append(f"train {batch}")

        def on_test_batch_end(self, batch, logs=None):
            calls.append(f"test {batch}")

        def on_epoch_end(self, epoch, logs=None):
            calls.append(sorted(logs))

    for run, count in ((True, 1), (3, 3), (99, 5)):
        calls.clear()
        files = [CSVLogger(tmp_path / "log.csv"), ModelCheckpoint(tmp_path / "m")]
        model = classifier()
        history = model.fit(
            X, Y, epochs=50, fast_dev_run=run, verbose=0, time_limit=1e9,
            callbacks=[*files, Note()], validation_data=(X, Y),
        )  # fmt: skip
        parts = [f"{part} {i}" for part in ("train", "test") for i in range(count)]
        assert calls == [*parts, ["loss", "val_loss"]]
        assert history.epoch == [0]
        assert model.optimizer.iterations == count
    assert list(tmp_path.iterdir()) == []


def test_fast_dev_run_of_an_endless_source():
    def endless():
        while True:
            yield X[:10], Y[:10]

    model = classifier()
    model.fit(endless(), fast_dev_run=2, verbose=0, steps_per_epoch=sys.maxsize)
    assert model.optimizer.iterations == 2
    model.fit(endless(), fast_dev_run=2, verbose=0, initial_epoch=7)
    assert model.optimizer.iterations == 4
    with pytest.raises(ArgumentError, match="fast_dev_run"):
        model.fit(X, Y, fast_dev_run=-1, verbose=0)
    with pytest.raises(ArgumentError, match="fast_dev_run"):
        model.fit(X, Y, fast_dev_run=0.5, verbose=0)
