"""Two images through the same layers (siamese), compared by their distance."""

import keras
from fixed import curve, data, fill
from keras import layers, ops

a, b = data((48, 6, 6, 1), (48, 6, 6, 1))
same = (a.mean(axis=(1, 2, 3)) * b.mean(axis=(1, 2, 3)) > 0).astype("float32")

branch = keras.Sequential([
    keras.Input((6, 6, 1)),
    layers.Conv2D(4, 3, activation="relu", name="conv"),
    layers.Flatten(name="flat"),
    layers.Dense(5, name="code"),
], name="branch")  # fmt: skip
fill(branch)
left, right = keras.Input((6, 6, 1), name="left"), keras.Input((6, 6, 1), name="right")
distance = ops.abs(ops.subtract(branch(left), branch(right)))
score = layers.Dense(1, name="score")(distance)
model = keras.Model(inputs=[left, right], outputs=score)
model.get_layer("score").set_weights([data((5, 1), seed=5), data((1,), seed=6)])
model.compile(
    keras.optimizers.Adam(0.01),
    keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
)
history = model.fit(
    [a, b], same, batch_size=12, epochs=3, shuffle=False, verbose=0
)  # fmt: skip
results = {
    "history": curve(history),
    "weights": branch.get_layer("code").get_weights(),
    "parameters": model.count_params(),
    "trained": len(model.trainable_weights),
}
