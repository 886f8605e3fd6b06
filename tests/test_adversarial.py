"""Attacks: the formula by hand, bounds, determinism, and what they do to a network."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import adversarial
from fastconv.errors import ArgumentError, FastconvError

layers = fc.layers


def linear(activation: str | None = "softmax", classes: int = 3) -> fc.Sequential:
    fc.random.set_seed(2)
    return fc.Sequential([
        fc.Input((3, 5, 1)), layers.Flatten(),
        layers.Dense(classes, activation=activation),
    ])  # fmt: skip


def data(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    x = draw.uniform(0.2, 0.8, (count, 3, 5, 1)).astype(np.float32)
    return x, draw.integers(0, 3, count)


def loss(model: fc.Sequential, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    p = model.predict(x, verbose=0)[np.arange(len(x)), y]
    return -np.log(p)


@pytest.mark.parametrize("activation", ["softmax", None])
@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_follows_the_sign_of_the_gradient(activation, targeted):
    """For p = softmax(x W + b) the gradient is (p - onehot(y)) W'."""
    model, (x, y) = linear(activation), data(7)
    weights, bias = (w.astype(np.float64) for w in model.get_weights())
    z = x.reshape(7, -1) @ weights + bias
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    gradient = ((p - np.eye(3)[y]) @ weights.T).reshape(x.shape)
    expected = x + (-0.1 if targeted else 0.1) * np.sign(gradient)
    found = adversarial.fgsm(model, x, y, 0.1, targeted=targeted, batch_size=3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fgsm_moves_a_network_that_is_sure():
    """Where softmax saturates, its gradient is 0 in float32; that of the scores not."""
    model, (x, y) = linear(), data(4)
    model.set_weights([500 * w for w in model.get_weights()])
    y = model.predict(x, verbose=0).argmax(1)
    assert model.predict(x, verbose=0).max(1).min() > 0.999
    found = adversarial.fgsm(model, x, (y + 1) % 3, 0.1, targeted=True)
    assert (np.abs(found - x) > 0.09).all()


def test_pgd_stays_within_epsilon_and_limits_and_does_more_than_fgsm():
    fc.random.set_seed(2)
    model = fc.Sequential([
        fc.Input((3, 5, 1)), layers.Conv2D(8, 3, padding="same", activation="tanh"),
        layers.Flatten(), layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    x, y = data(40)
    x[:20] = np.round(x[:20])  # half of the images at the limits
    found = adversarial.pgd(model, x, y, 0.3, steps=20)
    assert np.abs(found - x).max() <= 0.3 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    once = adversarial.fgsm(model, x, y, 0.3)
    assert (loss(model, once, y) > loss(model, x, y)).mean() > 0.9
    assert loss(model, found, y).mean() >= loss(model, once, y).mean() - 1e-3
    aimed = adversarial.pgd(model, x, 2, 0.3, targeted=True)
    two = np.full(40, 2)
    assert loss(model, aimed, two).mean() < loss(model, x, two).mean()


def test_attacks_repeat_and_do_not_depend_on_the_batch_size():
    model, (x, y) = linear(), data(9)
    found = adversarial.pgd(model, x, y, 0.1, seed=3)
    again = adversarial.pgd(model, x, y, 0.1, seed=3, batch_size=4)
    np.testing.assert_allclose(found, again, atol=1e-6)
    first = adversarial.pgd(model, x, y, 0.1, steps=1, step_size=0.0, seed=3)
    other = adversarial.pgd(model, x, y, 0.1, steps=1, step_size=0.0, seed=4)
    assert (first != other).any()
    kept = adversarial.pgd(model, x, y, 0.1, steps=1, step_size=0.0, random_start=False)
    np.testing.assert_array_equal(kept, x)


def test_limits_are_those_of_the_data():
    model, (x, y) = linear(), data(4)
    found = adversarial.fgsm(model, x * 255, y, 25.5, limits=(0, 255))
    assert np.abs(found - x * 255).max() == pytest.approx(25.5, rel=1e-5)
    found = adversarial.fgsm(model, x, y, 9.0)
    assert set(np.unique(found)) == {0.0, 1.0}


def test_accuracy_without_an_attack_is_that_of_evaluate():
    model, (x, y) = linear(), data(50)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    found = adversarial.accuracy_under_attack(
        model, x, y, [0, 0.1, 0.3], adversarial.pgd, steps=3
    )
    assert found[0] == pytest.approx(model.evaluate(x, y, verbose=0)[1])
    assert found[0] >= found[1] >= found[2]
    bad = adversarial.pgd(model, x, y, 0.1, steps=3)
    assert found[1] == (model.predict(bad, verbose=0).argmax(1) == y).mean()


def test_batches_attack_the_weights_of_the_moment_and_warm_up():
    model, (x, y) = linear(), data(10)
    batches = adversarial.AdversarialBatches(
        model, x, y, 0.2, batch_size=4, steps=1, step_size=1.0, warm_up=1
    )
    plain = list(fc.adversarial.ArrayBatches(x, y, None, 4, True, 2).batches(0))
    found = list(batches.batches(0))
    assert [len(b[1]) for b in found] == [4, 4, 2]
    for (bad, label, _), (image, same, _) in zip(found, plain, strict=True):
        np.testing.assert_array_equal(label, same)
        np.testing.assert_allclose(np.abs(bad - image), 0.1, atol=1e-6)
    later = [b[0] for b in batches.batches(1)]
    plain = list(fc.adversarial.ArrayBatches(x, y, None, 4, True, 2).batches(1))
    np.testing.assert_allclose(np.abs(later[0] - plain[0][0]), 0.2, atol=1e-6)
    model.set_weights([-w for w in model.get_weights()])
    turned = [b[0] for b in batches.batches(1)]
    assert (np.sign(turned[0] - plain[0][0]) != np.sign(later[0] - plain[0][0])).any()


def test_training_on_adversarial_examples_makes_robust():
    """On the digits at 16x16, where a small network is enough."""
    (x, y), (x_test, y_test) = fc.datasets.digits.load_data()
    x, x_test = (v[:, ::2, ::2] / np.float32(255) for v in (x, x_test))
    accuracy = {}
    for robust in (False, True):
        fc.random.set_seed(0)
        model = fc.Sequential([
            fc.Input((16, 16, 1)), layers.Flatten(), layers.Dense(64, "relu"),
            layers.Dense(10, "softmax"),
        ])  # fmt: skip
        model.compile(fc.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        if robust:
            batches = adversarial.AdversarialBatches(model, x, y, 0.1, steps=2)
            model.fit(batches, epochs=12, verbose=0)
        else:
            model.fit(x, y, epochs=12, verbose=0)
        accuracy[robust] = adversarial.accuracy_under_attack(
            model, x_test, y_test, [0, 0.1], adversarial.pgd
        )
    assert accuracy[False][0] > 0.9
    assert accuracy[True][0] > 0.85
    assert accuracy[True][1] > accuracy[False][1] + 0.2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x, y: adversarial.fgsm(m, x, y, -0.1), "epsilon"),
        (lambda m, x, y: adversarial.pgd(m, x, y, 0.1, steps=0), "1 step"),
        (lambda m, x, y: adversarial.pgd(m, x, y, 0.1, step_size=-1), "step_size"),
        (lambda m, x, y: adversarial.fgsm(m, x + 1, y, 0.1), "limits="),
        (lambda m, x, y: adversarial.fgsm(m, x * np.nan, y, 0.1), "nan"),
        (lambda m, x, y: adversarial.fgsm(m, x, y[:2], 0.1), "4 classes"),
        (lambda m, x, y: adversarial.fgsm(m, x, y + 0.5, 0.1), "integers"),
        (lambda m, x, y: adversarial.fgsm(m, x, y * 0 + 9, 0.1), "label 9"),
        (lambda m, x, y: adversarial.fgsm(m, x[:0], 0, 0.1), "received none"),
        (lambda m, x, y: adversarial.fgsm(linear(None, 1), x, y * 0, 0.1), "two"),
        (lambda m, x, y: adversarial.fgsm(m, x, y, 0.1, batch_size=0), "batch_size"),
    ],
)
def test_errors(call, words):
    with pytest.raises(FastconvError) as error:
        call(linear(), *data(4))
    assert words in str(error.value)


def test_a_negative_epsilon_is_an_argument_error():
    with pytest.raises(ArgumentError):
        adversarial.AdversarialBatches(linear(), *data(4), -1.0)
