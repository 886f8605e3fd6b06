"""An image and a row of numbers together; data by the names of the inputs."""

import keras
import numpy as np
from fixed import curve, data, fill
from keras import layers

images, rows = data((64, 8, 8, 1), (64, 5))
target = (images.mean(axis=(1, 2)) * 3 + rows[:, :1] - rows[:, 1:2]).astype("float32")
weight = np.linspace(0.5, 2, 64).astype("float32")

image = keras.Input((8, 8, 1), name="image")
row = keras.Input((5,), name="row")
a = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="pool")(image))
a = layers.Dense(6, activation="tanh", name="of_image")(a)
b = layers.Dense(6, activation="elu", name="of_row")(row)
c = layers.concatenate([a, b], name="both")
model = keras.Model([image, row], layers.Dense(1, name="out")(c))
fill(model)
model.compile(
    optimizer=keras.optimizers.RMSprop(0.01, rho=0.8),
    loss=keras.losses.Huber(delta=0.7),
    metrics=["mae"],
    weighted_metrics=["mse"],
)
history = model.fit(
    {"image": images, "row": rows}, target, sample_weight=weight, batch_size=16,
    epochs=3, shuffle=False, verbose=0, validation_split=0.25,
)  # fmt: skip
results = {
    "history": curve(history),
    "by_name": model.predict({"row": rows[:3], "image": images[:3]}, verbose=0),
    "by_order": model.predict([images[:3], rows[:3]], verbose=0),
    "shapes": model.input_shape,
}
