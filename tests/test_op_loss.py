"""Cross-entropies and the mean squared error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.errors import DataError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad
from fastconv.ops.loss import cross_entropy, mean_squared_error, softmax_cross_entropy

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def some_labels(rows, classes, sparse):
    if sparse:
        return RNG.integers(0, classes, rows)
    return RNG.dirichlet(np.ones(classes), rows).astype(np.float32)


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 70), st.booleans())
def test_softmax_cross_entropy(backend, rows, classes, sparse):
    def run(logits, labels, seed):
        loss = softmax_cross_entropy(logits, labels)
        return loss, grad(loss, logits, seed)

    operands = normal(rows, classes), some_labels(rows, classes, sparse), normal(rows)
    backend.check(run, *operands, reduction_length=16 * classes, gradients=True)


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(2, 70), st.booleans())
def test_cross_entropy(backend, rows, classes, sparse):
    def run(probabilities, labels, seed):
        loss = cross_entropy(probabilities, labels)
        return loss, grad(loss, probabilities, seed)

    probabilities = RNG.uniform(0.05, 1, (rows, classes)).astype(np.float32)
    operands = (probabilities, some_labels(rows, classes, sparse), normal(rows))
    backend.check(run, *operands, reduction_length=classes, gradients=True)


@pytest.mark.parametrize("sparse", [False, True])
def test_many_classes(backend, sparse):
    operands = 9 * normal(65, 1000), some_labels(65, 1000, sparse)
    backend.check(softmax_cross_entropy, *operands, reduction_length=1000)


def test_large_logits_do_not_overflow(backend):
    loss = backend.run(
        softmax_cross_entropy, np.array([[1000.0, 0, -1000]] * 3), np.arange(3)
    )[0]
    np.testing.assert_array_equal(loss, [0, 1000, 2000])


def test_a_class_without_weight_adds_nothing(backend):
    logits, labels = np.array([[0.0, 0.0, -np.inf]]), np.array([[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(
        backend.run(softmax_cross_entropy, logits, labels)[0], [np.log(2)], rtol=1e-6
    )


def test_cross_entropy_renormalises_and_clips_as_keras(backend):
    probabilities = np.array([[2.0, 6.0], [1.0, 0.0], [1.0, 0.0]])

    def run(p, y):
        return cross_entropy(p, y), grad(cross_entropy(p, y), p, [1.0] * 3)

    loss, gradient = backend.run(run, probabilities, np.array([0, 0, 1]))
    np.testing.assert_allclose(loss, [np.log(4), 1e-7, -np.log(1e-7)], rtol=0.2)
    np.testing.assert_allclose(loss[[0, 2]], [np.log(4), -np.log(1e-7)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.375, 0.125], [0, 0], [0, 0]], rtol=1e-6)


def test_leading_axes_and_a_trailing_one(backend):
    logits, labels = normal(2, 3, 5), RNG.integers(0, 5, (2, 3))
    losses = backend.run(
        lambda x, y, z: (softmax_cross_entropy(x, y), softmax_cross_entropy(x, z)),
        logits, labels, labels[..., None],
    )  # fmt: skip
    assert losses[0].shape == (2, 3)
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("python", [softmax_cross_entropy, cross_entropy])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_small_integer_labels(backend, python, dtype):
    scores, labels = RNG.uniform(0.1, 1, (6, 4)), np.arange(6) % 4
    narrow, wide = (
        backend.run(python, scores, labels.astype(t))[0] for t in (dtype, np.int64)
    )
    np.testing.assert_array_equal(narrow, wide)


@pytest.mark.parametrize("python", [softmax_cross_entropy, cross_entropy])
@pytest.mark.parametrize(
    ("label", "position"), [(10, 0), (-1, 5), (2**40, 7), (-(2**63), 3)]
)
def test_a_label_out_of_range_is_named(backend, python, label, position):
    labels = np.zeros(8, np.int64)
    labels[position:] = label
    with pytest.raises(DataError) as error:
        backend.run(python, np.ones((8, 10)), labels)
    text = f"label {label} at position {position} is out of range"
    assert f"{text}: expected 0 <= label < 10" in str(error.value)


@pytest.mark.parametrize("position", [0, 9876, 9999])
def test_the_first_of_many_bad_labels_is_named(backend, position):
    labels = np.zeros(10_000, np.int64)
    labels[position:] = 3
    with pytest.raises(DataError, match=f"label 3 at position {position} "):
        backend.run(softmax_cross_entropy, np.ones((10_000, 2)), labels)


def test_mean_squared_error(backend):
    y_true, y_pred = (
        RNG.integers(-4, 5, (3, 5, 8)).astype(np.float32) for _ in range(2)
    )
    loss = backend.run(mean_squared_error, y_true, y_pred)[0]
    np.testing.assert_array_equal(loss, ((y_true - y_pred) ** 2).mean(-1))


def test_gradients(check_gradient):
    logits, sparse, dense = (
        normal(5, 4), some_labels(5, 4, sparse=True), some_labels(5, 4, sparse=False),
    )  # fmt: skip
    positive = np.abs(logits) + 0.1
    for labels in (sparse, dense, 2 * dense):
        check_gradient(softmax_cross_entropy, logits, labels, wrt=[0])
        check_gradient(cross_entropy, positive, labels, wrt=[0])
    check_gradient(mean_squared_error, logits, positive)


def test_bytes_do_not_depend_on_threads(cpu, threads):
    operands = normal(300, 129), some_labels(300, 129, sparse=False)

    def run(x, y):
        loss = softmax_cross_entropy(x, y)
        return loss, grad(loss, x, loss)

    threads(lambda: cpu.run(run, *operands))


X, Y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: softmax_cross_entropy(X, Y[:2]), ShapeError, r"shape \(4,\)"),
        (lambda: softmax_cross_entropy(X, X[:, :2]), ShapeError, "distributions"),
        (
            lambda: cross_entropy(X, Y.astype(np.float32)),
            ShapeError,
            "must be integers",
        ),
        (lambda: cross_entropy(X, X.astype(np.int64)), ShapeError, "one-hot"),
        (lambda: cross_entropy(X, X > 0), DtypeError, "bool"),
        (lambda: cross_entropy(X[:, :0], Y), ShapeError, "at least one class"),
        (lambda: softmax_cross_entropy(Y[:, None], Y), DtypeError, "floating"),
        (lambda: mean_squared_error(X, X[:2]), ShapeError, "one shape"),
        (lambda: mean_squared_error(X, X.astype(np.int64)), DtypeError, "one dtype"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()


@pytest.mark.parametrize("sparse", [False, True])
def test_against_torch(backend, sparse):
    torch = pytest.importorskip("torch")
    logits, labels = normal(9, 17), some_labels(9, 17, sparse)
    there = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        there, torch.tensor(labels), reduction="none"
    )
    loss.sum().backward()

    def run(x, y, seed):
        loss = softmax_cross_entropy(x, y)
        return loss, grad(loss, x, seed)

    expected = [loss.detach().numpy(), there.grad.numpy()]
    backend.isclose(backend.run(run, logits, labels, np.ones(9)), expected, 17)
