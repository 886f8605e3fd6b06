"""Losses and metrics of one's own: functions, a class, and one from add to a call."""

import keras
from fixed import curve, data, fill
from keras import layers, ops


def weighted_square(y_true, y_pred):
    """Mistakes above the truth count three times."""
    over = ops.maximum(y_pred - y_true, 0.0)
    return ops.mean(ops.square(y_true - y_pred) + 2.0 * ops.square(over), axis=-1)


class Quantile(keras.losses.Loss):
    """The pinball loss."""

    def __init__(self, q=0.5, name="quantile", **kwargs):
        super().__init__(name=name, **kwargs)
        self.q = q

    def call(self, y_true, y_pred):
        error = y_true - y_pred
        return ops.mean(ops.maximum(self.q * error, (self.q - 1.0) * error), axis=-1)


def largest_error(y_true, y_pred):
    """A metric as a function."""
    return ops.max(ops.abs(y_true - y_pred), axis=-1)


x, y = data((40, 6), (40, 2))


def trained(loss):
    model = keras.Sequential([
        keras.Input((6,)),
        layers.Dense(5, activation="silu", name="a"),
        layers.Dense(2, name="b"),
    ])  # fmt: skip
    fill(model)
    model.compile(keras.optimizers.Adamax(0.02), loss, metrics=[largest_error])
    history = model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
    return {"history": curve(history), "predict": model.predict(x[:3], verbose=0)}


results = {
    "function": trained(weighted_square),
    "class": trained(Quantile(0.8)),
    "value": float(Quantile(0.25)(y, 2 * y)),
}
