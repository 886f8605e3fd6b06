"""A trained base, frozen under a new head; then its last layers trained a little."""

import keras
from fixed import curve, data, fill
from keras import layers

x, first_labels = data((64, 8, 8, 3), classes=4)
second_labels = first_labels % 2

base = keras.Sequential([
    keras.Input((8, 8, 3)),
    layers.Conv2D(6, 3, name="c1"),
    layers.BatchNormalization(momentum=0.8, name="n1"),
    layers.Activation("relu", name="r1"),
    layers.DepthwiseConv2D(3, padding="same", name="c2"),
    layers.GlobalAveragePooling2D(name="features"),
    layers.Dense(4, activation="softmax", name="old_head"),
], name="base")  # fmt: skip
fill(base)
loss = "sparse_categorical_crossentropy"
base.compile(keras.optimizers.SGD(0.1), loss)
first = base.fit(
    x, first_labels, batch_size=16, epochs=2, shuffle=False, verbose=0
)  # fmt: skip

features = keras.Model(base.inputs, base.get_layer("features").output)
features.trainable = False
kept = features.get_weights()
image = keras.Input((8, 8, 3))
hidden = layers.Dense(5, activation="relu", name="hidden")(features(image))
head = layers.Dense(2, activation="softmax", name="head")(hidden)
model = keras.Model(image, head)
for layer, seed in ((model.get_layer("hidden"), 2), (model.get_layer("head"), 3)):
    shapes = [w.shape for w in layer.get_weights()]
    layer.set_weights([data(tuple(s), seed=seed) for s in shapes])
model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
second = model.fit(
    x, second_labels, batch_size=16, epochs=2, shuffle=False, verbose=0
)  # fmt: skip
after = features.get_weights()
frozen = all((a == b).all() for a, b in zip(kept, after, strict=True))

base.get_layer("c2").trainable = True
counts = [len(model.trainable_weights), len(model.non_trainable_weights)]
model.compile(keras.optimizers.Adam(0.001), loss, metrics=["accuracy"])
third = model.fit(
    x, second_labels, batch_size=16, epochs=2, shuffle=False, verbose=0
)  # fmt: skip
copy = keras.models.clone_model(base)
copy.set_weights(base.get_weights())
results = {
    "base": curve(first),
    "head": curve(second),
    "fine": curve(third),
    "frozen": bool(frozen),
    "counts": counts,
    "features": features.predict(x[:2], verbose=0),
    "copy": copy.predict(x[:2], verbose=0),
}
