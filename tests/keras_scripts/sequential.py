"""A small convolutional network as a list of layers."""

import keras
from fixed import curve, data, fill
from keras import layers

x, y = data((96, 12, 12, 2), classes=4)
model = keras.Sequential([
    keras.Input((12, 12, 2)),
    layers.Conv2D(6, 3, padding="same", name="a"),
    layers.BatchNormalization(name="b"),
    layers.ReLU(name="c"),
    layers.MaxPooling2D(2, name="d"),
    layers.Conv2D(8, (3, 2), strides=2, activation="relu", name="e"),
    layers.Flatten(name="f"),
    layers.Dense(4, activation="softmax", name="g"),
])  # fmt: skip
fill(model)
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.003),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
history = model.fit(
    x[:80], y[:80], batch_size=16, epochs=3, shuffle=False, verbose=0,
    validation_data=(x[80:], y[80:]),
)  # fmt: skip
results = {
    "history": curve(history),
    "evaluate": model.evaluate(x, y, batch_size=32, verbose=0),
    "predict": model.predict(x[:5], verbose=0),
    "parameters": model.count_params(),
    "shape": model.output_shape,
}
