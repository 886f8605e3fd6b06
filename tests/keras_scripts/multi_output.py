"""Two outputs with losses, weights and metrics of their own."""

import keras
from fixed import curve, data, fill
from keras import layers

x, kind = data((60, 10, 3), classes=3)
size = x.mean(axis=(1, 2), keepdims=False)[:, None] * 4

series = keras.Input((10, 3), name="series")
h = layers.Conv1D(8, 3, padding="causal", activation="relu", name="conv")(series)
h = layers.GlobalMaxPooling1D(name="top")(h)
kind_out = layers.Dense(3, activation="softmax", name="kind")(h)
size_out = layers.Dense(1, name="size")(h)
model = keras.Model(series, {"kind": kind_out, "size": size_out})
fill(model)
model.compile(
    optimizer=keras.optimizers.Nadam(0.01),
    loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
    loss_weights={"kind": 1.0, "size": 0.3},
    metrics={"kind": ["accuracy"], "size": ["mae"]},
)
y = {"kind": kind, "size": size}
history = model.fit(x, y, batch_size=20, epochs=3, shuffle=False, verbose=0)
predicted = model.predict(x[:4], verbose=0)
results = {
    "history": curve(history),
    "kind": predicted["kind"],
    "size": predicted["size"],
    "evaluate": model.evaluate(x, y, verbose=0, return_dict=True),
}
