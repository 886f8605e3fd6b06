"""Layers of one's own: weights from build(), a state, another behaviour in training."""

import keras
from fixed import curve, data, fill
from keras import layers, ops


class Gated(layers.Layer):
    """x W + b, each unit times a gate of its own."""

    def __init__(self, units, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.scale = scale

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="glorot_uniform",
            trainable=True, name="kernel",
        )  # fmt: skip
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="b")
        self.gate = self.add_weight(
            shape=(self.units,), initializer=keras.initializers.Constant(0.5), name="g"
        )

    def call(self, inputs):
        y = ops.matmul(inputs, self.kernel) + self.bias
        return self.scale * y * ops.sigmoid(self.gate)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "scale": self.scale}


class Doubled(layers.Layer):
    """Twice the input in training, the input itself otherwise."""

    def call(self, inputs, training=False):
        return inputs * 2.0 if training else inputs


x, y = data((48, 7), (48, 1))
model = keras.Sequential([
    keras.Input((7,)),
    Gated(6, scale=1.5, name="gated"),
    Doubled(name="doubled"),
    layers.Activation("softplus", name="bend"),
    layers.Dense(1, name="out"),
])  # fmt: skip
fill(model)
model.compile(optimizer=keras.optimizers.Adagrad(0.1), loss="mean_absolute_error")
history = model.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0)
copy = Gated.from_config(model.layers[0].get_config())
copy.build((None, 7))
copy.set_weights(model.layers[0].get_weights())
results = {
    "history": curve(history),
    "gate": model.get_layer("gated").gate.numpy(),
    "copy": ops.convert_to_numpy(copy(x[:3])),
}
