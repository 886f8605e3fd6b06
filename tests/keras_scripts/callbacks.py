"""What is called while a model is trained, and what it does to the training."""

import tempfile
from pathlib import Path

import keras
import numpy as np
from fixed import curve, data, fill
from keras import layers
from keras.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
)

x, y = data((64, 5), classes=3)


class Log(Callback):
    """Notes every call, and the norm of the first weight."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.norms = []

    def on_train_begin(self, logs=None):
        self.seen.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(sorted(logs))
        self.norms.append(float(np.linalg.norm(self.model.get_weights()[0])))

    def on_train_end(self, logs=None):
        self.seen.append("end")


model = keras.Sequential([
    keras.Input((5,)),
    layers.Dense(12, activation="relu", name="a"),
    layers.Dense(3, activation="softmax", name="b"),
])  # fmt: skip
fill(model)
model.compile(
    keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["acc"]
)
log, ends = Log(), []
folder = Path(tempfile.mkdtemp())
best = str(folder / "best.weights.h5")
history = model.fit(
    x, y, epochs=12, batch_size=16, shuffle=False, verbose=0, validation_split=0.25,
    callbacks=[
        log,
        LearningRateScheduler(lambda epoch, rate: rate * (1.3 if epoch < 6 else 2.0)),
        EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        ModelCheckpoint(best, save_best_only=True, save_weights_only=True),
        CSVLogger(str(folder / "log.csv")),
        LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(epoch)),
    ],
)  # fmt: skip
rate = float(model.optimizer.learning_rate)
restored = model.get_weights()[0]
model.load_weights(best)
lines = (folder / "log.csv").read_text().splitlines()
results = {
    "history": curve(history),
    "epochs": history.epoch,
    "seen": log.seen,
    "norms": log.norms,
    "ends": ends,
    "same": bool((restored == model.get_weights()[0]).all()),
    "columns": sorted(lines[0].split(",")),
    "rows": len(lines),
    "rate": rate,
}
