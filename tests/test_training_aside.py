"""What happens beside a training: evaluation in callbacks, averages, a trial, names."""

import logging
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks, layers, regularizers
from fastconv.errors import ArgumentError

rng = np.random.default_rng(8)
X = rng.standard_normal((32, 3)).astype("f4")
Y = rng.standard_normal((32, 1)).astype("f4")
NOISE = {"noise": layers.GaussianNoise, "dropout": layers.Dropout}


def linear(optimizer=None, regularizer=None):
    fc.random.set_seed(3)
    dense = layers.Dense(1, kernel_regularizer=regularizer)
    model = fc.Sequential([fc.Input((3,)), dense])
    model.compile(optimizer or fc.optimizers.SGD(0.05), "mse", metrics=["mae"])
    return model


def averaging():
    return linear(fc.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9))


def fit(model, *given, **options):
    options = {"batch_size": 8, "verbose": 0, "sanity": False, **options}
    return model.fit(X, Y, callbacks=list(given), **options).history


class Evaluates(callbacks.Callback):
    """In the middle of each epoch, and where it begins and ends."""

    def look(self):
        self.model.evaluate(X[:8] * 9, Y[:8], verbose=0)
        self.model.test_on_batch(X[:8] * 9, Y[:8])
        self.model.predict(X[:8], verbose=0)

    def on_epoch_begin(self, epoch, logs=None):
        self.look()

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            self.look()

    def on_epoch_end(self, epoch, logs=None):
        self.look()


# Evaluation in a callback -------------------------------------------------------------


class Held(fc.Model):
    """A metric that the steps of training and of evaluation share."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)
        self.error = fc.metrics.MeanAbsoluteError(name="error")

    def call(self, x):
        return self.dense(x)

    def count(self, data):
        x, y = data
        return {"error": self.error(y, self(x))}

    def train_step(self, data):
        return {**super().train_step(data), **self.count(data)}

    def test_step(self, data):
        return {**super().test_step(data), **self.count(data)}


def held():
    fc.random.set_seed(3)
    model = Held()
    model.build((None, 3))
    model.compile("sgd", "mse", metrics=["mae", fc.metrics.MeanSquaredError("own")])
    return model


def delayed():
    return linear(regularizer=regularizers.L2(1.0, start_epoch=1))


@pytest.mark.parametrize("make", [linear, delayed, held])
def test_an_evaluation_in_a_callback_changes_no_training(make):
    plain, watched = make(), make()
    options = {"epochs": 3, "validation_data": (X[8:] * 2, Y[8:])}
    expected = fit(plain, **options)
    assert fit(watched, Evaluates(), **options) == expected
    for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_metrics_are_those_of_the_evaluation_after_it():
    model = held()
    fit(model)
    found = model.evaluate(X[:8] * 9, Y[:8], verbose=0, return_dict=True)
    assert model.error.result() == pytest.approx(found["error"])


# Averages of weights ------------------------------------------------------------------


class Fails(callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        raise OSError("no more")

    on_predict_batch_end = on_test_batch_end


def test_an_error_in_validation_leaves_the_weights():
    plain, model = averaging(), averaging()
    for one in (plain, model):  # as after the last step, before `fit` takes averages
        for i in range(0, 32, 8):
            one.train_on_batch(X[i : i + 8], Y[i : i + 8])
    expected = plain.get_weights()
    given = [callbacks.SwapEMAWeights(), Fails()]
    with pytest.raises(OSError, match="no more"):
        model.evaluate(X, Y, verbose=0, callbacks=given)
    with pytest.raises(OSError, match="no more"):
        model.predict(X, verbose=0, callbacks=given)
    assert not model.optimizer.averaged
    for a, b in zip(expected, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_averages_need_an_optimizer_that_keeps_them():
    with pytest.raises(ArgumentError, match="use_ema=True"):
        linear().evaluate(X, Y, verbose=0, callbacks=[callbacks.SwapEMAWeights()])
    with pytest.raises(ArgumentError, match="use_ema=True"):
        linear().predict(X, verbose=0, callbacks=[callbacks.SwapEMAWeights()])
    model = averaging()  # before the first step there is no average
    loss = model.evaluate(X, Y, verbose=0)
    swap = [callbacks.SwapEMAWeights()]
    assert model.evaluate(X, Y, verbose=0, callbacks=swap) == loss


@pytest.mark.parametrize("again", [(), (callbacks.SwapEMAWeights(),)])
def test_a_saved_model_knows_that_its_weights_are_averages(tmp_path, again):
    """Training goes on from the weights, not from their averages."""
    file = tmp_path / "model.safetensors"
    swap = callbacks.SwapEMAWeights(swap_on_epoch=True)
    whole, first = averaging(), averaging()
    fit(whole, swap, epochs=2)
    fit(first, swap, callbacks.ModelCheckpoint(file))
    model = fc.load_model(file)
    assert model.optimizer.averaged
    model.lr_find(X, Y, steps=3)
    assert model.optimizer.averaged
    fit(model, *again, epochs=2, initial_epoch=1)
    for a, b in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# A trial, and a training that has ended -----------------------------------------------


def test_a_trial_is_no_epoch(tmp_path):
    model = linear()
    fit(model, epochs=5, fast_dev_run=True, resume=tmp_path / "run", time_limit=9.0)
    assert model.epochs_seen == 0
    assert not (tmp_path / "run").exists()
    fit(model, epochs=2)
    assert model.epochs_seen == 2


def test_a_training_that_was_stopped_says_so(tmp_path, caplog):
    def run(epochs):
        stop = callbacks.EarlyStopping("loss", min_delta=9.0, patience=1)
        return fit(linear(), stop, epochs=epochs, resume=tmp_path / "run")

    run(9)
    with caplog.at_level(logging.INFO, "fastconv"):
        assert len(run(20)["loss"]) == 2
    assert "training had ended in epoch 2: stop_training" in caplog.text
    assert "goes on from" not in caplog.text


# Chance -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NOISE)
def test_random_layers_go_on_in_another_thread(kind):
    layer, ones = NOISE[kind](0.5), np.ones((4, 16), np.float32)
    found = [layer(ones, training=True)]

    def more():
        found.extend(layer(ones, training=True) for _ in range(3))

    thread = threading.Thread(target=more)
    thread.start()
    thread.join()
    found.append(layer(ones, training=True))
    assert len({array.tobytes() for array in found}) == 5


def test_random_layers_go_on_in_a_function_of_the_user():
    layer = layers.Dropout(0.5)
    drop = fc.function(lambda x: (layer(x, training=True), layer(x, training=True)))
    ones = np.ones(64, np.float32)
    assert len({array.tobytes() for _ in range(3) for array in drop(ones)}) == 6


def test_a_layer_alone_does_not_depend_on_others():
    def drawn(busy):
        fc.random.set_seed(5)
        layer, other = layers.Dropout(0.5, name="one"), layers.Dropout(0.5)
        ones, found = np.ones(64, np.float32), []
        for _ in range(3):
            if busy:
                other(ones, training=True)
            found.append(layer(ones, training=True))
        return found

    np.testing.assert_array_equal(drawn(False), drawn(True))


def test_layers_and_ops_draw_from_streams_of_their_own():
    class Draws(fc.Model):
        def __init__(self):
            super().__init__()
            self.inner = [layers.GaussianNoise(1.0) for _ in range(3)]

        def train_step(self, data):
            zeros = data[0] * 0.0
            state = self._seed_and_step
            found = [fc.ops.random_normal(zeros.shape, state) for _ in range(4)]
            found += [layer(zeros, training=True) for layer in self.inner]
            return {str(i): fc.ops.sum(x) for i, x in enumerate(found)}

    model = Draws()
    model.compile("sgd")
    logs = model.train_on_batch(X, Y, return_dict=True)
    assert len(set(logs.values())) == 7


# Names that a subclass may use --------------------------------------------------------


class LowRank(layers.Layer):
    def __init__(self, units, rank):
        super().__init__()
        self.units, self.rank = units, rank

    def build(self, input_shape):
        self.down = self.add_weight((input_shape[-1], self.rank))
        self.up = self.add_weight((self.rank, self.units))

    def call(self, x):
        return fc.ops.matmul(fc.ops.matmul(x, self.down), self.up)


NAMES = (
    "prepare", "forward", "gather", "ready", "aligned", "pack", "set_epoch",
    "random_state",
)  # fmt: skip


class Attributes(fc.Model):
    def __init__(self):
        super().__init__()
        for number, name in enumerate(NAMES):
            setattr(self, name, number)
        self.low = LowRank(1, 4)

    def call(self, x):
        return self.low(x) * (1.0 + self.forward)


def _method(self, x, scale):
    return x * scale


class Methods(fc.Model):
    prepare = forward = gather = ready = aligned = pack = set_epoch = _method
    random_state = _method

    def __init__(self):
        super().__init__()
        self.low = LowRank(1, 4)

    def call(self, x):
        for name in NAMES:
            x = getattr(self, name)(x, 1.0)
        return self.low(x)


@pytest.mark.parametrize("cls", [Attributes, Methods])
def test_a_subclass_may_use_common_names(cls, tmp_path):
    model = cls()
    model.compile("sgd", "mse", metrics=["mae"])
    found = fit(model, validation_data=(X, Y), sanity=True, resume=tmp_path / "run")
    assert set(found) == {"loss", "mae", "val_loss", "val_mae"}
    assert model.predict(X, verbose=0).shape == (32, 1)
    model.lr_find(X, Y, steps=2)
    model.summary(print_fn=str)
    fc.explain.gradients(model, X, Y)
