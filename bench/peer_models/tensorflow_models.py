"""The models in TensorFlow: Keras layers inside one tf.function."""

import tensorflow as tf

from peer_models.task import MOMENTUM, RATE, Step, Task

keras = tf.keras
layers = keras.layers


def lenet() -> keras.Model:
    return keras.Sequential([
        layers.Input((32, 32, 1)),
        layers.Conv2D(6, 5, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(2),
        layers.Conv2D(120, 5, activation="relu"), layers.Flatten(),
        layers.Dense(84, activation="relu"), layers.Dense(10, dtype="float32"),
    ])  # fmt: skip


MODELS = {"lenet": lenet}


def version() -> str:
    return tf.__version__


def build(task: Task) -> Step:
    if task.dtype == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = MODELS[task.model]()
    x, y = tf.constant(task.images()), tf.constant(task.labels())
    make = _train if task.mode == "train" else _infer
    return make(model, x, y)


def _train(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> Step:
    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    return lambda: float(step())


def _infer(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> Step:
    # The input is an argument: TensorFlow would compute a constant's result only once.
    @tf.function
    def step(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(images, training=False))

    return lambda: step(x).numpy()
