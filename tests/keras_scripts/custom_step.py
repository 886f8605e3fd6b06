"""A training step of one's own: two losses, and what is reported."""

import keras
from fixed import curve, data, fill
from keras import layers, ops


class TwoLosses(keras.Model):
    """A classifier that is also asked for small scores."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(8, activation="relu", name="hidden")
        self.scores = layers.Dense(3, name="scores")
        self.mean = keras.metrics.Mean(name="total")

    def call(self, x):
        return self.scores(self.hidden(x))

    def total(self, x, y):
        scores = self(x, training=True)
        one_hot = ops.cast(ops.equal(ops.reshape(y, (-1, 1)), [[0, 1, 2]]), "float32")
        right = ops.sum(one_hot * ops.log_softmax(scores), axis=-1)
        return 0.01 * ops.mean(ops.square(scores)) - ops.mean(right)

    def train_step(self, data):
        x, y = data
        weights = self.trainable_weights
        if keras.config.backend() == "torch":
            self.zero_grad()
            loss = self.total(x, y)
            loss.backward()
            gradients = [w.value.grad for w in weights]
            import torch

            with torch.no_grad():
                self.optimizer.apply(gradients, weights)
        elif keras.config.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = self.total(x, y)
            self.optimizer.apply(tape.gradient(loss, weights), weights)
        else:
            loss = self.total(x, y)
            self.optimizer.apply(keras.grad(loss, weights), weights)
        self.mean.update_state(loss)
        return {"total": self.mean.result()}


x, y = data((48, 6), classes=3)
model = TwoLosses()
model(x[:1])
fill(model)
model.compile(keras.optimizers.Adam(0.01))
history = model.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0)
results = {"history": curve(history), "predict": model.predict(x[:3], verbose=0)}
