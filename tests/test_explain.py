"""Explanations against formulas by hand, differences and independent loops."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import explain
from fastconv.errors import (
    ArgumentError,
    DataError,
    FastconvError,
    ShapeError,
    UnknownNameError,
)

layers = fc.layers


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).random((count, *shape)).astype(np.float32)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def small(last: str | None = "softmax", classes: int = 3) -> fc.Sequential:
    """A convolution with tanh, and a dense layer, on images of 5x4x2."""
    fc.random.set_seed(11)
    return fc.Sequential([
        fc.Input((5, 4, 2)), layers.Conv2D(3, (2, 3), activation="tanh", name="conv"),
        layers.Flatten(), layers.Dense(classes, activation=last, name="out"),
    ])  # fmt: skip


def forward(model: fc.Sequential, x: np.ndarray) -> np.ndarray:
    """The scores of `small` before softmax, in float64, by loops of its own."""
    kernel, bias, matrix, offset = (w.astype(np.float64) for w in model.get_weights())
    maps = np.empty((len(x), 4, 2, 3))
    for p in range(4):
        for q in range(2):
            maps[:, p, q] = np.tensordot(x[:, p : p + 2, q : q + 3], kernel, 3) + bias
    return np.tanh(maps).reshape(len(x), -1) @ matrix + offset


@pytest.mark.parametrize("last", ["softmax", None])
def test_saliency_is_the_gradient_by_differences(last):
    model, x = small(last), images(3, 5, 4, 2)
    classes = np.array([2, 0, 1])
    expected = np.zeros((3, 5, 4, 2))
    step = 1e-5
    for place in np.ndindex(5, 4, 2):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[(slice(None), *place)] += step
        down[(slice(None), *place)] -= step
        change = forward(model, up) - forward(model, down)
        expected[(slice(None), *place)] = change[range(3), classes] / (2 * step)
    found = explain.saliency(model, x, classes, batch_size=2)
    np.testing.assert_allclose(found, np.abs(expected).max(-1), rtol=1e-4, atol=1e-6)


def test_the_class_is_the_most_probable_one_by_default():
    model, x = small(), images(4, 5, 4, 2)
    best = forward(model, x).argmax(1)
    for explained in (explain.saliency, explain.grad_cam, explain.occlusion):
        np.testing.assert_array_equal(explained(model, x), explained(model, x, best))


def test_saliency_of_a_sigmoid_is_that_of_its_score():
    model, x = small("sigmoid", 1), images(2, 5, 4, 2)
    plain = small(None, 1)
    found = explain.saliency(model, x, 0)
    np.testing.assert_allclose(found, explain.saliency(plain, x, 0), rtol=1e-6)


def test_saliency_of_a_class_with_its_own_call():
    class Own(fc.Model):
        def __init__(self):
            super().__init__()
            self.flat, self.out = layers.Flatten(), layers.Dense(3)

        def call(self, x):
            return self.out(self.flat(x))

    model, x = Own(), images(2, 4, 4, 1)
    model.predict(x, verbose=0)
    weights = model.out.kernel.numpy()[:, 1].reshape(4, 4)
    found = explain.saliency(model, x, 1)
    np.testing.assert_allclose(found, np.abs([weights, weights]), rtol=1e-6)
    with pytest.raises(ArgumentError, match="own call"):
        explain.activations(model, x, "dense")


def test_grad_cam_of_a_pooled_network_is_the_class_activation_map():
    """With global average pooling a_k = w_kc / positions (Zhou et al., 2016)."""
    fc.random.set_seed(1)
    model = fc.Sequential([
        fc.Input((7, 5, 1)), layers.Conv2D(4, 3, activation="relu", name="maps"),
        layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    x, classes = images(3, 7, 5, 1), np.array([0, 2, 1])
    maps = explain.activations(model, x, "maps").astype(np.float64)
    weights = model.layers[-1].kernel.numpy().astype(np.float64)
    expected = [
        np.maximum(maps[i] @ weights[:, c], 0) / 15 for i, c in enumerate(classes)
    ]
    found = explain.grad_cam(model, x, classes)
    assert found.shape == (3, 5, 3)
    assert (found > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_grad_cam_of_a_layer_inside_by_the_formula():
    model, x = small(), images(2, 5, 4, 2)
    maps = explain.activations(model, x, "conv").astype(np.float64)
    matrix = model.layers[-1].kernel.numpy().astype(np.float64)
    for label in range(3):
        means = matrix[:, label].reshape(4, 2, 3).mean((0, 1))
        expected = np.maximum((maps * means).sum(-1), 0)
        found = explain.grad_cam(model, x, label, "conv")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_grad_cam_needs_maps():
    dense = fc.Sequential([fc.Input((4,)), layers.Dense(2)])
    with pytest.raises(ArgumentError, match="convolutions"):
        explain.grad_cam(dense, images(1, 2, 2, 1))
    with pytest.raises(ShapeError, match="'out' gives no maps"):
        explain.grad_cam(small(), images(1, 5, 4, 2), layer="out")
    with pytest.raises(UnknownNameError, match="'conv'"):
        explain.grad_cam(small(), images(1, 5, 4, 2), layer="cnov")


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 2), (3, 2), (9, 3)])
def test_occlusion_covers_what_it_says(size, stride):
    model, x = small(), images(2, 5, 4, 2)
    found = explain.occlusion(
        model, x, 1, size=size, stride=stride, value=0.5, batch_size=3
    )
    before = softmax(forward(model, x))[:, 1]
    expected = np.empty((2, -(-5 // stride), -(-4 // stride)))
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            covered = x.astype(np.float64)
            for row in range(5):
                for column in range(4):
                    dy, dx = row - i * stride, column - j * stride
                    low, high = -((size - 1) // 2), size // 2
                    if low <= dy <= high and low <= dx <= high:
                        covered[:, row, column] = 0.5
            expected[:, i, j] = before - softmax(forward(model, covered))[:, 1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert x.max() > 0.9  # the images themselves were left alone


def test_the_image_that_excites_a_linear_unit_follows_its_weights():
    model = fc.Sequential([fc.Input((3, 3, 1)), layers.Flatten(), layers.Dense(2)])
    weights = np.array([[1, -1, 1, -1, 1, -1, 1, -1, 1], [1] * 9], np.float32).T
    model.set_weights([weights, np.zeros(2, np.float32)])
    found = explain.maximise(model, [0, 1], rate=0.2, blur=0, limits=(-1, 2), decay=0)
    expected = np.where(weights.T > 0, 2.0, -1.0).reshape(2, 3, 3, 1)
    np.testing.assert_array_equal(found, expected)


def test_the_exciting_image_excites_more_and_is_the_same_each_time():
    model = small()
    found = explain.maximise(model, [1, 0], "conv", seed=4)
    again = explain.maximise(model, [1, 0], "conv", seed=4)
    assert found.tobytes() == again.tobytes()
    first = explain.maximise(model, [1, 0], "conv", seed=4, steps=0)
    assert np.abs(first - 0.5).max() <= 0.05
    means = [explain.activations(model, x, "conv").mean((1, 2)) for x in (first, found)]
    for unit, image in ((1, 0), (0, 1)):
        assert means[1][image, unit] > means[0][image, unit] + 0.1


def test_activations_are_those_of_the_part_of_the_model():
    model, x = small(), images(5, 5, 4, 2)
    part = fc.Model(model.inputs, model.layers[0].output)
    expected = part.predict(x, verbose=0)
    found = explain.activations(model, x, "conv", batch_size=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        explain.activations(model, x, "out"), softmax(forward(model, x)), atol=1e-5
    )


def test_new_weights_are_seen_and_nothing_is_changed():
    model, x = small(), images(2, 5, 4, 2)
    before = explain.activations(model, x, "conv")
    weights = model.get_weights()
    explain.saliency(model, x)
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.set_weights([2 * w for w in weights])
    assert (explain.activations(model, x, "conv") != before).any()


def test_gradients_are_the_step_of_plain_descent():
    model, x, y = small(), images(6, 5, 4, 2), np.array([0, 1, 2, 0, 1, 2])
    model.compile(fc.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    before = explain.weights(model)
    found = explain.gradients(model, x, y)
    model.train_on_batch(x, y)
    for name, after in explain.weights(model).items():
        np.testing.assert_allclose(found[name], before[name] - after, atol=1e-6)


def test_the_table_has_the_numbers_of_the_summary(capsys):
    model = small()
    rows = explain.architecture(model)
    assert rows[1][:3] == ("conv (Conv2D)", "(None, 4, 2, 3)", 39)
    model.summary()
    shown = capsys.readouterr().out
    for row in rows[1:]:
        assert f"{row[2]:,}" in shown
        assert f"{row[3]:,}" in shown
    assert explain.architecture(fc.Sequential([layers.Dense(2, name="d")]))[1:] == [
        ("d (Dense)", "?", 0, "?")
    ]


def test_pca_is_that_of_the_covariance():
    x = np.random.default_rng(0).normal(size=(40, 3, 2)) * np.arange(1, 7).reshape(3, 2)
    rows = x.reshape(40, 6)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    expected = (rows - rows.mean(0)) @ vectors[:, ::-1][:, :3]
    found = explain.pca(x, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(found.var(0, ddof=1), values[::-1][:3], rtol=1e-9)
    np.testing.assert_allclose(explain.pca(-x, 3), -found, atol=1e-9)


def test_tsne_keeps_two_clusters_apart():
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(0, 1, (40, 5)), draw.normal(20, 1, (40, 5))])
    found = explain.tsne(x, perplexity=10)
    assert found.shape == (80, 2)
    distances = np.linalg.norm(found[:, None] - found, axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(1)
    assert ((nearest < 40) == (np.arange(80) < 40)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x: explain.saliency(m, x[0]), "x[np.newaxis]"),
        (lambda m, x: explain.saliency(m, x[:0], 0), "received none"),
        (lambda m, x: explain.saliency(m, x, [0, 1, 2]), "2 of them"),
        (lambda m, x: explain.saliency(m, x, 3), "[0, 3)"),
        (lambda m, x: explain.saliency(m, x, 0.5), "integers"),
        (lambda m, x: explain.saliency(m, x, 0, batch_size=0), "batch_size"),
        (lambda m, x: explain.occlusion(m, x, size=0), "size"),
        (lambda m, x: explain.maximise(m, 3), "[0, 3)"),
        (lambda m, x: explain.maximise(m, -1, "conv"), "[0, 3)"),
        (lambda m, x: explain.maximise(m, [0], start=x), "1 images"),
        (lambda m, x: explain.gradients(m, x, np.zeros(2, int)), "compile"),
        (lambda m, x: explain.pca(x, 3), "1 to 2"),
        (lambda m, x: explain.pca(np.zeros(3)), "(3,)"),
        (lambda m, x: explain.tsne(x, perplexity=2), "perplexity"),
    ],
)
def test_errors(call, words):
    with pytest.raises(FastconvError) as error:
        call(small(), images(2, 5, 4, 2))
    assert words in str(error.value)


def test_models_without_one_row_of_scores_are_refused():
    model = fc.Sequential([fc.Input((5, 4, 2)), layers.Conv2D(2, 1)])
    with pytest.raises(ShapeError, match="one output of scores"):
        explain.saliency(model, images(1, 5, 4, 2), 0)
    with pytest.raises(DataError, match="received none"):
        explain.activations(small(), images(0, 5, 4, 2), "conv")
