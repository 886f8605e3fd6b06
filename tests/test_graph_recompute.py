"""What is computed again in the backward part, and that it changes nothing."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, ops
from fastconv.errors import ArgumentError, OutOfMemoryError
from fastconv.execution import lower
from fastconv.execution.function import Function
from fastconv.graph.passes.recompute import LEVELS, Level, recompute
from fastconv.graph.passes.verify import verify
from fastconv.io.available import byte_count
from test_graph_memory import Builder, Simulation, make_inputs, make_variables, trace

NOTHING = Level(frozenset(), 0.0, 0)
SIZE = 32


def network(memory_limit=None):
    """Convolutions with all that is cheap to compute again: a small dense net."""
    fc.utils.set_random_seed(3)
    image = fc.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(16, 3, padding="same")(image)
    for _ in range(4):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(16, 3, padding="same")(y)
        y = layers.Dropout(0.2)(layers.Activation("swish")(y))
        x = layers.Concatenate()([x, y])
    x = layers.Conv2D(32, 1)(layers.ReLU()(layers.BatchNormalization()(x)))
    for _ in range(3):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(x))
    model = fc.Model(image, layers.Dense(10, "softmax")(x))
    model.compile(
        fc.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        memory_limit=memory_limit,
    )
    return model


def trained(model):
    """The loss of three steps, and the bytes of all weights after them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, SIZE, SIZE, 3)).astype(np.float32)
    y = rng.integers(0, 10, 4)
    losses = [float(model.train_on_batch(x, y)) for _ in range(3)]
    return losses, b"".join(w.tobytes() for w in model.get_weights())


def bytes_of(model):
    return model.memory(4)["total"]


@pytest.fixture
def never(monkeypatch):
    """No recomputation at all."""
    monkeypatch.setattr(lower, "recompute", lambda graph: recompute(graph, NOTHING))


@pytest.mark.usefixtures("never")
def test_the_default_saves_memory_and_keeps_every_byte(monkeypatch):
    before, expected = bytes_of(network()), trained(network())
    monkeypatch.undo()
    assert bytes_of(network()) < 0.75 * before
    assert trained(network()) == expected


def test_a_limit_keeps_every_byte_at_every_level(monkeypatch):
    with monkeypatch.context() as concats_are_made:
        concats_are_made.setattr(lower, "join_norms", lambda graph, backend: graph)
        full = bytes_of(network())
    expected, size, levels = trained(network()), bytes_of(network()), set()
    monkeypatch.setattr(
        lower, "recompute",
        lambda graph, *which: levels.add(which[:1]) or recompute(graph, *which),
    )  # fmt: skip
    while True:
        model = network(size - 1)
        try:
            size = bytes_of(model)
        except OutOfMemoryError:
            break
        assert trained(model) == expected
    assert size < 0.65 * full
    assert levels == {(), *((level,) for level in LEVELS[1:])}


def test_a_limit_that_cannot_be_kept_names_the_batch_that_fits():
    least = 1_000_000
    with pytest.raises(OutOfMemoryError, match="memory_limit is 1,000,000"):
        network(least).memory(4)
    model = network("4MB")
    x, y = np.zeros((64, SIZE, SIZE, 3)), np.zeros(64, int)
    with pytest.raises(OutOfMemoryError, match="a batch size of") as caught:
        model.fit(x, y, batch_size=64, verbose=0)
    fits = caught.value.fits
    assert 0 < fits < 64
    model.train_on_batch(x[:fits], y[:fits])


def test_amounts_of_memory():
    assert byte_count(7, "n") == 7
    assert byte_count("1.5 KB", "n") == 1500
    assert byte_count("2gib", "n") == 2 << 30
    for wrong in (0, -1, "0GB", "4", "4 bytes", 4.5, "1.2.3MB"):
        with pytest.raises(ArgumentError, match="n: expected a number of bytes"):
            byte_count(wrong, "n")


def copies(graph):
    """The kinds of the nodes that stand in the graph twice."""
    return [node.kind.name for node in graph.nodes() if -1 in node.order]


def backward(python):
    def gradient(x):
        return fc.grad(ops.sum(python(x)), x)

    return trace(gradient, [np.zeros((64, 64), np.float32)])


def test_a_chain_is_computed_again_up_to_a_depth():
    """All that one reader needs is alive at once, so every fifth result is kept."""

    def chain(x):
        for _ in range(12):
            x = ops.tanh(x)
        return x

    graph = backward(chain)
    shallow = Level(LEVELS[0].kinds, 3.0, depth=1)
    assert copies(recompute(graph, shallow)) == 6 * ["activation"]
    assert copies(recompute(graph)) == 9 * ["activation"]


def test_random_graphs_stay_the_same():
    made = 0
    for seed in range(200):
        arrays = make_inputs(seed)
        graph = trace(Builder(seed, make_variables()), arrays)
        for level in LEVELS:
            new = verify(recompute(graph, level))
            made += len(copies(new))
            try:
                Simulation(new).run()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}\n{new}") from error
    assert made > 20


def test_a_reshape_between_is_computed_again_too():
    def python(x):
        y = ops.batch_norm(x, np.ones(64), np.zeros(64), 1e-3)[0]
        z = ops.reshape(ops.relu(y), (32, 128))
        return ops.square(z) * z

    def run(level):
        patched = pytest.MonkeyPatch()
        patched.setattr(lower, "recompute", lambda graph: recompute(graph, level))
        with patched.context():
            return Function(lambda x: fc.grad(ops.sum(python(x)), x))(values)

    values = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    assert run(LEVELS[-1]).tobytes() == run(NOTHING).tobytes()
