"""The models in TensorFlow: Keras layers inside one tf.function.

The layers are those of the task's ONNX graph, with channels last and weights of their
own.
"""

from collections.abc import Callable

import onnx
import tensorflow as tf

from peer_models.task import MODELS, MOMENTUM, RATE, Step, Task

keras = tf.keras
layers = keras.layers


class _Node:
    """A node of the graph, its attributes and the shapes of its weights."""

    def __init__(self, node: onnx.NodeProto, weights: dict[str, tuple]) -> None:
        self.inputs = [name for name in node.input if name and name not in weights]
        self.outputs = node.output
        self.op = node.op_type
        self.shapes = [weights[name] for name in node.input if name in weights]
        self.attributes = {a.name: onnx.helper.get_attribute_value(a)
                           for a in node.attribute}  # fmt: skip

    def pair(self, name: str, default: int = 1) -> tuple[int, int]:
        return tuple(self.attributes.get(name, (default, default)))

    def padded(self, x: tf.Tensor, whole_windows: bool = False) -> tf.Tensor:
        """``x`` with the zeros around it; for a pooling up to its last window."""
        top, left, bottom, right = self.attributes.get("pads", (0, 0, 0, 0))
        if whole_windows and self.attributes.get("ceil_mode"):
            sizes = zip(x.shape[1:3], self.pair("kernel_shape"), self.pair("strides"),
                        (top + bottom, left + right), strict=True)  # fmt: skip
            down, across = ((w - i - p) % s for i, w, s, p in sizes)
            bottom, right = bottom + down, right + across
        if not any((top, left, bottom, right)):
            return x
        return layers.ZeroPadding2D(((top, bottom), (left, right)))(x)


def _conv(node: _Node, x: tf.Tensor) -> tf.Tensor:
    filters, depth, *window = node.shapes[0]
    group = node.attributes.get("group", 1)
    same = tuple(node.attributes.get("pads", (0,) * 4)) == tuple(
        2 * [w // 2 for w in window]
    )
    options = {
        "strides": node.pair("strides"),
        "dilation_rate": node.pair("dilations"),
        "use_bias": len(node.shapes) > 1,
        "padding": "same" if same and node.pair("strides") == (1, 1) else "valid",
    }
    if options["padding"] == "valid":
        x = node.padded(x)
    if group == x.shape[-1] == filters and depth == 1:
        return layers.DepthwiseConv2D(window, **options)(x)
    return layers.Conv2D(filters, window, groups=group, **options)(x)


def _transposed(node: _Node, x: tf.Tensor) -> tf.Tensor:
    _, filters, *window = node.shapes[0]
    return layers.Conv2DTranspose(filters, window, strides=node.pair("strides"))(x)


def _pool(node: _Node, x: tf.Tensor) -> tf.Tensor:
    kind = {"MaxPool": layers.MaxPooling2D, "AveragePool": layers.AveragePooling2D}
    window, strides = node.pair("kernel_shape"), node.pair("strides")
    if window == strides == (1, 1):
        return x
    return kind[node.op](window, strides)(node.padded(x, whole_windows=True))


_LAYERS: dict[str, Callable[..., tf.Tensor]] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": lambda _, x: layers.GlobalAveragePooling2D(keepdims=True)(x),
    "BatchNormalization": lambda node, x: layers.BatchNormalization(
        momentum=0.9, epsilon=node.attributes["epsilon"]
    )(x),
    "Gemm": lambda node, x: layers.Dense(node.shapes[0][0])(x),
    "Relu": lambda _, x: layers.ReLU()(x),
    "Clip": lambda _, x, *limits: layers.ReLU(6.0)(x),
    "Sigmoid": lambda _, x: layers.Activation("sigmoid")(x),
    "Softmax": lambda _, x: layers.Softmax(dtype="float32")(x),
    "Add": lambda _, *x: layers.Add()(x),
    "Concat": lambda _, *x: layers.Concatenate()(x),
    "Flatten": lambda _, x: layers.Flatten()(x),
    "Dropout": lambda _, x, *options: layers.Dropout(0.5)(x),
    "Identity": lambda _, x: x,
    "Constant": lambda _: None,
}


def _keras(path: str, image: tuple[int, ...], batch: int) -> keras.Model:
    """The graph in the file as a Keras model."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {w.name: tuple(w.dims) for w in graph.initializer}
    x = layers.Input(image, batch_size=batch)
    values = {"images": x}
    for proto in graph.node:
        if proto.op_type == "Identity" and proto.input[0] in weights:
            weights[proto.output[0]] = weights[proto.input[0]]
            continue
        node = _Node(proto, weights)
        found = _LAYERS[node.op](node, *(values[name] for name in node.inputs))
        values.update(dict.fromkeys(node.outputs, found))
    return keras.Model(x, values[graph.output[0].name])


def version() -> str:
    return tf.__version__


def build(task: Task) -> Step:
    if task.threads:
        tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    if task.dtype == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = _keras(task.graph, MODELS[task.model][0], task.batch)
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
            loss = loss_of(y, tf.cast(model(x, training=True), tf.float32))
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
        return model(images, training=False)

    return lambda: step(x).numpy()
