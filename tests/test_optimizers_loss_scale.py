"""Loss scaling: the step of the optimiser inside, or none at all."""

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv import optimizers
from fastconv.errors import ArgumentError
from fastconv.graph.variable import together
from fastconv.optimizers import LossScaleOptimizer

START = [np.float32([[1, -2], [0.5, 3]]), np.float32([0.25, -1])]
SLOPES = [np.float32([[0.5, 1], [-2, 0.25]]), np.float32([4, -0.5])]


def stepper(optimizer, device="cpu"):
    """Weights, and a step whose loss is linear in them, with slopes times a number."""
    weights = [fc.Variable(w, f"w{i}") for i, w in enumerate(START)]
    together(weights)
    optimizer.build(weights)

    @fc.function(device=device)
    def step(factor):
        terms = [fc.ops.sum(w * s) for w, s in zip(weights, SLOPES, strict=True)]
        loss = optimizer.scale_loss((terms[0] + terms[1]) * factor)
        optimizer.apply(fc.grad(loss, weights), weights)

    return weights, lambda factor: step(np.float32(factor))


def state(optimizer, weights):
    slots = optimizer.variables().values()
    kept = [w.numpy() for w in weights]
    return kept + [known[w].numpy() for known in slots for w in weights]


OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.1, 0.9),
    "Adam": lambda: optimizers.Adam(0.1, weight_decay=0.01),
    "averages": lambda: optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
    "accumulation": lambda: optimizers.Adam(0.1, gradient_accumulation_steps=2),
    "clipnorm": lambda: optimizers.SGD(0.1, 0.9, clipnorm=0.5),
    "clipvalue": lambda: optimizers.SGD(0.1, 0.9, clipvalue=0.5),
    "global_clipnorm": lambda: optimizers.RMSprop(0.1, global_clipnorm=0.5),
    "Lamb": lambda: optimizers.Lamb(0.1),
    "schedule": lambda: optimizers.SGD(lambda step: 0.1 / (1 + step)),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_optimizer_inside_and_overflow_skips(name, device):
    """To the bit: scales are powers of two."""
    plain, scaled = OPTIMIZERS[name](), LossScaleOptimizer(OPTIMIZERS[name]())
    expected, step = stepper(plain, device)
    weights, scaled_step = stepper(scaled, device)
    scale = scaled.dynamic_scale
    for factor in (1, np.inf, -2, 3, np.nan, -np.inf, 0.5, 1e38):
        before = state(scaled, weights), scaled.calls
        scaled_step(factor)
        if abs(factor) < 4:
            step(factor)
        else:
            scale /= 2
            for was, now in zip(before[0], state(scaled, weights), strict=True):
                np.testing.assert_array_equal(was, now)
            assert scaled.calls == before[1]
            assert scaled.step_counter == 0
        assert scaled.dynamic_scale == scale
    assert scaled.calls == plain.calls == 4
    assert scaled.iterations == plain.iterations
    for a, e in zip(state(scaled, weights), state(plain, expected), strict=True):
        np.testing.assert_array_equal(a, e)


def test_the_scale_doubles_after_steps_without_overflow():
    optimizer = LossScaleOptimizer(optimizers.SGD(0.1), 8, dynamic_growth_steps=3)
    _, step = stepper(optimizer)
    seen = []
    for factor in (1, 1, 1, 1, 1, np.inf, 1, 1, 1, 1):
        step(factor)
        seen.append((optimizer.dynamic_scale, optimizer.step_counter))
    assert seen == [
        (8, 1), (8, 2), (16, 0), (16, 1), (16, 2), (8, 0), (8, 1), (8, 2), (16, 0),
        (16, 1),
    ]  # fmt: skip
    assert LossScaleOptimizer(optimizers.SGD()).dynamic_growth_steps == 2000
    assert LossScaleOptimizer(optimizers.SGD()).dynamic_scale == 2**15


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras with torch
def test_keras_agrees():
    keras = pytest.importorskip("keras")
    own = LossScaleOptimizer(optimizers.Adam(0.1), 8, dynamic_growth_steps=3)
    other = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), 8, 3)
    weight, peer = fc.Variable(START[1]), keras.Variable(START[1])
    other.build([peer])
    own.scale_loss(1.0)
    for factor in (1, 2, 3, np.nan, np.inf, -1, 1, 2, 3, 4):
        gradient = np.float32(factor) * SLOPES[1]
        own.apply([gradient], [weight])
        other.apply([keras.ops.convert_to_tensor(gradient)], [peer])
        assert own.dynamic_scale == float(other.dynamic_scale)
        assert own.step_counter == int(other.step_counter)
        assert own.iterations == int(other.inner_optimizer.iterations)
        expected = keras.ops.convert_to_numpy(peer)
        np.testing.assert_allclose(weight.value, expected, rtol=1e-4)


def test_the_scale_stays_a_number():
    optimizer = LossScaleOptimizer(optimizers.SGD(0.1), 2.0**127, 1)
    _, step = stepper(optimizer)
    step(0)
    assert optimizer.dynamic_scale == 2.0**127
    for _ in range(300):
        step(np.nan)
    assert optimizer.dynamic_scale == 2.0**-126


def test_attributes_are_those_of_the_optimizer_inside():
    inner = optimizers.SGD(0.1, 0.9, name="inside")
    outer = LossScaleOptimizer(inner)
    outer.learning_rate = 0.5
    outer.momentum = 0.25
    outer.calls = 7
    outer.iterations = 8
    assert (inner.learning_rate, inner.momentum, inner.calls) == (0.5, 0.25, 8)
    assert outer.numbers() == inner.numbers()
    assert (outer.name, inner.name) == ("lossscaleoptimizer", "inside")
    assert copy.copy(outer).inner_optimizer is inner
    with pytest.raises(AttributeError, match="no attribute 'beta'"):
        _ = outer.beta
    assert repr(outer) == "<LossScaleOptimizer of <SGD learning_rate=0.5>>"


def test_on_arrays_a_step_is_done_at_once():
    optimizer = LossScaleOptimizer(optimizers.SGD(0.5))
    weight = fc.Variable(np.float32([1, 2]))
    optimizer.scale_loss(1.0)
    optimizer.apply([np.float32([2.0**15, np.inf])], [weight])
    np.testing.assert_array_equal(weight.value, [1, 2])
    optimizer.apply([np.float32([2.0**14, 0])], [weight])
    np.testing.assert_array_equal(weight.value, [0.5, 2])
    assert optimizer.iterations == 1


def test_config():
    optimizer = LossScaleOptimizer(optimizers.Adam(0.2), 64, 5, name="own")
    config = optimizers.serialize(optimizer)
    again = optimizers.deserialize(config)
    assert optimizers.serialize(again) == config
    assert isinstance(again.inner_optimizer, optimizers.Adam)
    assert (again.dynamic_scale, again.dynamic_growth_steps, again.name) == (
        64, 5, "own",
    )  # fmt: skip


def test_bad_arguments():
    inner = optimizers.SGD()
    for wrong in ("sgd", None, LossScaleOptimizer(inner)):
        with pytest.raises(ArgumentError, match="an optimizer without loss scaling"):
            LossScaleOptimizer(wrong)
    for wrong in (0, -1, np.inf, np.nan):
        with pytest.raises(ArgumentError, match="initial_scale"):
            LossScaleOptimizer(inner, wrong)
    for wrong in (0, None, 1.5):
        with pytest.raises(ArgumentError, match="dynamic_growth_steps"):
            LossScaleOptimizer(inner, dynamic_growth_steps=wrong)
    with pytest.raises(ArgumentError, match=r"take them of optimizer\.scale_loss"):
        LossScaleOptimizer(inner).apply([np.float32(1)], [fc.Variable(1.0)])


# In a model


def model_of(optimizer):
    fc.utils.set_random_seed(1)
    layers = [
        fc.Input((4,)),
        fc.layers.Dense(5),
        fc.layers.BatchNormalization(),
        fc.layers.Dense(1),
    ]
    model = fc.Sequential(layers)
    model.compile(optimizer, "mse")
    return model


def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 4)).astype("f4")
    return x, x.sum(1, keepdims=True)


def test_fit_is_the_same_to_the_byte():
    results = []
    for wrap in (lambda o: o, LossScaleOptimizer):
        model = model_of(wrap(optimizers.SGD(0.05, 0.9)))
        history = model.fit(*data(), batch_size=8, epochs=3, verbose=0)
        results.append((history.history["loss"], model.get_weights()))
    assert results[0][0] == results[1][0]
    for a, e in zip(results[1][1], results[0][1], strict=True):
        np.testing.assert_array_equal(a, e)


def test_statistics_move_in_a_step_that_is_skipped_as_in_keras():
    model = model_of(LossScaleOptimizer(optimizers.SGD(0.05)))
    x, y = data()
    before = [w.numpy() for w in model.trainable_weights]
    mean = model.layers[1].moving_mean.numpy()
    model.train_on_batch(x, np.full_like(y, np.inf))
    for was, weight in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(was, weight.value)
    assert (model.layers[1].moving_mean.value != mean).all()
    assert model.optimizer.dynamic_scale == 2**14
    assert model.optimizer.iterations == 0


def test_scale_and_counter_are_saved(tmp_path):
    model = model_of(LossScaleOptimizer(optimizers.Adam(0.05), 2**10, 7))
    model.fit(*data(), batch_size=8, epochs=1, verbose=0)
    model.train_on_batch(data()[0], np.full((32, 1), np.nan))
    model.fit(*data(), batch_size=16, epochs=1, verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = fc.load_model(tmp_path / "m.safetensors")
    for one in (model, again):
        found = one.optimizer
        assert (found.dynamic_scale, found.step_counter) == (2**9, 2)
        assert (found.iterations, found.dynamic_growth_steps) == (6, 7)
        one.fit(*data(), batch_size=4, epochs=1, verbose=0, shuffle=False)
        assert found.dynamic_scale == 2**10
    for a, e in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)


def test_a_training_goes_on_from_its_checkpoint(tmp_path):
    def train(epochs, folder):
        model = model_of(LossScaleOptimizer(optimizers.SGD(0.05, 0.9), 2**8, 3))
        backup = fc.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        model.fit(*data(), batch_size=8, epochs=epochs, verbose=0, callbacks=[backup])
        return model

    whole = train(4, tmp_path / "whole")
    train(2, tmp_path / "parts")
    parts = train(4, tmp_path / "parts")
    assert parts.optimizer.dynamic_scale == whole.optimizer.dynamic_scale == 2**13
    assert parts.optimizer.step_counter == whole.optimizer.step_counter == 1
    for a, e in zip(parts.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)


def test_all_samples_in_parts_scale_each_part():
    results = []
    for wrap in (lambda o: o, LossScaleOptimizer):
        fc.utils.set_random_seed(1)
        model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(1)])
        model.compile(wrap(optimizers.SGD(0.05)), "mse")
        plans = model._prepare(data()[0])
        from fastconv.training.whole import Whole

        whole = Whole(model, plans.device, plans.arena, 12)
        list(whole.step(data()[0], [data()[1]], [None]))
        results.append(model.get_weights())
    for a, e in zip(*results, strict=True):
        np.testing.assert_array_equal(a, e)
