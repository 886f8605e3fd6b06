"""A graph of layers with a skip connection; the name of each layer is used."""

import keras
from fixed import curve, data, fill
from keras.layers import (
    Activation,
    Add,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    Input,
    ZeroPadding2D,
)
from keras.losses import CategoricalCrossentropy
from keras.models import Model
from keras.utils import to_categorical

x, labels = data((64, 9, 9, 3), classes=5)
y = to_categorical(labels, 5)

image = Input(shape=(9, 9, 3), name="image")
stem = Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
inner = ZeroPadding2D(1, name="pad")(stem)
inner = Conv2D(8, 3, use_bias=False, name="inner")(inner)
joined = Activation("relu", name="after")(Add(name="join")([stem, inner]))
pooled = GlobalAveragePooling2D(name="pooled")(joined)
model = Model(inputs=image, outputs=Dense(5, name="scores")(pooled), name="skip")
fill(model)
model.compile(
    keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    metrics=["accuracy", keras.metrics.TopKCategoricalAccuracy(k=2, name="top2")],
)
history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
part = Model(model.input, model.get_layer("join").output)
results = {
    "history": curve(history),
    "join": part.predict(x[:1], verbose=0)[:, ::3, ::3],
    "names": [layer.name for layer in model.layers if layer.weights],
    "evaluate": model.evaluate(x, y, verbose=0, return_dict=True),
}
