"""What every optimiser can do beside its formula: averages, accumulation, own rates.

The expected values come from loops in float64 NumPy, written down from the papers and
from Keras's documentation.
"""

import numpy as np
import pytest

import fastconv as fc
from fastconv import optimizers
from fastconv.errors import ArgumentError
from fastconv.graph.variable import together

SHAPES = [(3, 2), (2,), (2, 2)]
STEPS = 7
rng = np.random.default_rng(3)
START = [rng.standard_normal(s) for s in SHAPES]
GRADIENTS = [[rng.standard_normal(s) for s in SHAPES] for _ in range(STEPS)]


def run(optimizer, steps=STEPS, multipliers=(1.0, 1.0, 1.0), device="cpu"):
    """The weights after steps with the given gradients, and the optimiser."""
    weights = [fc.Variable(v, f"w{i}") for i, v in enumerate(START)]
    together(weights)
    for w, m in zip(weights, multipliers, strict=True):
        w.learning_rate_multiplier = m

    @fc.function(device=device)
    def step(*gradients):
        optimizer.apply(list(gradients), weights)

    for t in range(steps):
        step(*(g.astype("f4") for g in GRADIENTS[t]))
    return weights, step


def expect(weights, values, rtol=2e-5):
    for w, v in zip(weights, values, strict=True):
        np.testing.assert_allclose(w.numpy(), v, rtol=rtol, atol=1e-6)


def sgd(rate=0.1, momentum=0.9):
    velocity = [np.zeros(s) for s in SHAPES]

    def move(w, gradients):
        for i, g in enumerate(gradients):
            velocity[i] = momentum * velocity[i] - rate * g
            w[i] = w[i] + velocity[i]

    return move


# Averages and accumulation


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("every", [None, 2, 3])
def test_averages_of_weights(every, device):
    options = {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": every}
    optimizer = optimizers.SGD(0.1, 0.9, **options)
    weights, _ = run(optimizer, device=device)
    w, average, move = list(START), list(START), sgd()
    for t, gradients in enumerate(GRADIENTS):
        move(w, gradients)
        keep = 0.8 if t else 0.0
        average = [keep * a + (1 - keep) * v for a, v in zip(average, w, strict=True)]
        if every and (t + 1) % every == 0:
            w = list(average)
    expect(weights, w)
    expect([optimizer.variables()["ema"][v] for v in weights], average)
    optimizer.finalize_variable_values(weights)
    expect(weights, average)


def test_nothing_to_finalize():
    optimizer = optimizers.SGD(0.1)
    weights, _ = run(optimizer)
    before = weights[0].numpy()
    optimizer.finalize_variable_values(weights)
    assert weights[0].numpy().tobytes() == before.tobytes()


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("clip", [{}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5}])
def test_accumulation_is_the_step_of_the_mean_gradient(clip, device):
    optimizer = optimizers.Adagrad(0.1, gradient_accumulation_steps=3, **clip)
    weights, _ = run(optimizer, device=device)  # two updates, and one left
    w, sums = list(START), [np.full(s, 0.1) for s in SHAPES]
    for first in (0, 3):
        part = GRADIENTS[first : first + 3]
        means = [np.mean(g, axis=0) for g in zip(*part, strict=True)]
        norms = [np.linalg.norm(g) for g in means]
        if "global_clipnorm" in clip:
            norms = [np.linalg.norm(norms)] * 3
        for i, g in enumerate(means):
            cut = g * min(1.0, 0.5 / norms[i]) if clip else g
            sums[i] = sums[i] + cut * cut
            w[i] = w[i] - 0.1 * cut / np.sqrt(sums[i] + 1e-7)
    expect(weights, w)
    assert (optimizer.calls, optimizer.iterations) == (7, 2)
    held = optimizer.variables()["gradient_accumulator"]
    expect([held[v] for v in weights], GRADIENTS[6])


def test_accumulation_and_averages_together():
    """The average moves each call; the first iteration, of two calls, copies."""
    optimizer = optimizers.SGD(
        0.1, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2
    )
    weights, _ = run(optimizer)
    w, average = list(START), list(START)
    for t in range(STEPS):
        if t % 2:
            for i in range(3):
                w[i] = w[i] - 0.1 * (GRADIENTS[t - 1][i] + GRADIENTS[t][i]) / 2
        keep = 0.5 if t // 2 else 0.0
        average = [keep * a + (1 - keep) * v for a, v in zip(average, w, strict=True)]
    expect(weights, w)
    expect([optimizer.variables()["ema"][v] for v in weights], average)


def test_schedules_see_calls_and_corrections_see_updates():
    seen = []

    def rate(step):
        seen.append(step)
        return 0.1

    optimizer = optimizers.Adam(rate, gradient_accumulation_steps=2)
    weights, _ = run(optimizer, steps=2)
    assert seen == [0, 0, 1]
    mean = [(a + b) / 2 for a, b in zip(*GRADIENTS[:2], strict=True)]
    values = [v - 0.1 * np.sign(g) for v, g in zip(START, mean, strict=True)]
    expect(weights, values, 1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras with torch
def test_keras_agrees():
    keras = pytest.importorskip("keras")
    for options in (
        {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 2},
        {"gradient_accumulation_steps": 3, "use_ema": True},
        {"gradient_accumulation_steps": 2, "use_ema": True, "clipnorm": 0.5,
         "ema_overwrite_frequency": 2, "weight_decay": 0.1},
    ):  # fmt: skip
        for name in ("SGD", "Adam", "Lamb", "Lion"):
            mine = getattr(optimizers, name)(0.05, **options)
            weights, _ = run(mine)
            theirs = getattr(keras.optimizers, name)(0.05, **options)
            variables = [keras.Variable(v.astype("f4")) for v in START]
            for gradients in GRADIENTS:
                given = [keras.ops.convert_to_tensor(g.astype("f4")) for g in gradients]
                theirs.apply(given, variables)
            expect(weights, [keras.ops.convert_to_numpy(v) for v in variables], 1e-4)
            assert mine.iterations == int(theirs.iterations)
            theirs.finalize_variable_values(variables)
            mine.finalize_variable_values(weights)
            expect(weights, [keras.ops.convert_to_numpy(v) for v in variables], 1e-4)


@pytest.mark.parametrize("steps", [5, 6])
def test_a_training_goes_on_between_two_updates(steps, tmp_path):
    x, y = rng.standard_normal((40, 5)).astype("f4"), np.arange(40) % 3
    model = fc.Sequential(
        [fc.Input((5,)), fc.layers.Dense(4, "tanh"), fc.layers.Dense(3, "softmax")]
    )
    model.layers[0].learning_rate_multiplier = 0.25
    options = {"use_ema": True, "gradient_accumulation_steps": 4, "weight_decay": 0.01}
    model.compile(optimizers.Adam(0.05, **options), "sparse_categorical_crossentropy")
    for i in range(steps):
        model.train_on_batch(x[i : i + 8], y[i : i + 8])
    model.save(tmp_path / "m.safetensors")
    again = fc.load_model(tmp_path / "m.safetensors")
    assert again.layers[0].learning_rate_multiplier == 0.25
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert (again.optimizer.calls, again.optimizer.iterations) == (steps, 1)
    for m in (model, again):
        m.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_fit_ends_with_the_averages():
    x, y = rng.standard_normal((16, 3)).astype("f4"), np.zeros((16, 1), "f4")
    model = fc.Sequential([fc.Input((3,)), fc.layers.Dense(1)])
    model.compile(optimizers.SGD(0.1, use_ema=True), "mse")
    model.fit(x, y, batch_size=4, epochs=0, verbose=0)
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    averages = model.optimizer.variables()["ema"]
    for w in model.trainable_weights:
        assert w.numpy().tobytes() == averages[w].numpy().tobytes()


# Rates of layers


@pytest.mark.parametrize("name", ["SGD", "Adam", "Nadam", "Lion", "RMSprop", "Lamb"])
def test_a_multiplier_is_a_rate_of_its_own(name):
    make = getattr(optimizers, name)
    weights, _ = run(make(0.1, weight_decay=0.1), multipliers=(0.5, 0.0, 2.0))
    for i, rate in ((0, 0.05), (2, 0.2)):
        alone, _ = run(make(rate, weight_decay=0.1))
        np.testing.assert_allclose(weights[i].numpy(), alone[i].numpy(), rtol=1e-5)
    np.testing.assert_array_equal(weights[1].numpy(), START[1].astype("f4"))


def test_a_multiplier_takes_effect_at_the_next_step_and_groups_neighbours():
    optimizer = optimizers.SGD(0.1)
    weights, step = run(optimizer, 1)
    gradients = [g.astype("f4") for g in GRADIENTS[1]]
    assert [r.op for r in step.explain(*gradients)].count("sgd") == 1
    weights[0].learning_rate_multiplier = 0.5
    assert [r.op for r in step.explain(*gradients)].count("sgd") == 2
    assert optimizer.iterations == 1, "explain counted a step"
    before = [w.numpy() for w in weights]
    step(*gradients)
    for w, old, g, rate in zip(
        weights, before, gradients, (0.05, 0.1, 0.1), strict=True
    ):
        np.testing.assert_allclose(w.numpy(), old - rate * g, rtol=1e-5)


def test_a_multiplier_reaches_inside_and_later_weights():
    inner = fc.Sequential([fc.layers.Dense(2), fc.layers.Dense(2)])
    inner.learning_rate_multiplier = 0.5
    inner.build((None, 3))
    assert {w.learning_rate_multiplier for w in inner.weights} == {0.5}
    for bad in (-1.0, float("nan")):
        with pytest.raises(ArgumentError, match="learning_rate_multiplier"):
            inner.learning_rate_multiplier = bad


# Large batches


def ratio(top, bottom, *norms):
    return top / bottom if all(n > 0 for n in norms) else 1.0


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [None, 0.01])
def test_lars_is_its_formula(decay, nesterov, device):
    optimizer = optimizers.LARS(
        2.0, 0.9, nesterov, 0.02, weight_decay=decay, epsilon=1e-3
    )
    weights, _ = run(optimizer, device=device)
    w, v, d = list(START), [np.zeros(s) for s in SHAPES], decay or 0.0
    for gradients in GRADIENTS:
        for i, g in enumerate(gradients):
            move = 2.0 * g
            if g.ndim > 1:
                n, s = np.linalg.norm(w[i]), np.linalg.norm(g)
                trust = ratio(0.02 * n, s + d * n + 1e-3, n, s)
                move = 2.0 * trust * (g + d * w[i])
            v[i] = 0.9 * v[i] - move
            w[i] = w[i] + (0.9 * v[i] - move if nesterov else v[i])
    expect(weights, w)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("decay", [None, 0.1])
def test_lamb_is_its_formula(decay, device):
    weights, _ = run(optimizers.Lamb(0.05, weight_decay=decay), device=device)
    w = list(START)
    m, v = ([np.zeros(s) for s in SHAPES] for _ in range(2))
    for t, gradients in enumerate(GRADIENTS, 1):
        for i, g in enumerate(gradients):
            w[i] = w[i] * (1 - 0.05 * (decay or 0.0))
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            u = m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-7)
            sizes = np.linalg.norm(w[i]), np.linalg.norm(u)
            w[i] = w[i] - 0.05 * ratio(*sizes, *sizes) * u
    expect(weights, w, 1e-4)


@pytest.mark.parametrize("cls", [optimizers.LARS, optimizers.Lamb])
def test_weights_and_gradients_of_zero(cls):
    w = fc.Variable(np.zeros((2, 2)))
    optimizer = cls(0.5)
    step = fc.function(lambda g: optimizer.apply([g], [w]))
    step(np.zeros((2, 2), "f4"))
    assert not w.numpy().any()
    step(np.ones((2, 2), "f4"))
    assert np.isfinite(w.numpy()).all()
    assert (w.numpy() < 0).all()


def test_large_batch_optimizers_are_saved_and_found_by_name():
    for cls in (optimizers.LARS, optimizers.Lamb):
        assert type(optimizers.get(cls.__name__.lower())) is cls
        made = cls(0.3, weight_decay=0.1, epsilon=1e-5, use_ema=True)
        again = optimizers.get(optimizers.serialize(made))
        assert again.get_config() == made.get_config()
        assert made.get_config()["epsilon"] == 1e-5


# Loops of one's own


def test_gradients_and_variables_in_both_forms():
    values = []
    for form in range(4):
        w = fc.Variable([1.0, 2.0])
        optimizer = optimizers.Adam(0.1)
        optimizer.build([w])
        g = np.ones(2, "f4")

        def step(g, form=form, optimizer=optimizer, w=w):
            if form == 0:
                optimizer.apply([g], [w])
            elif form == 1:
                optimizer.apply([g])
            elif form == 2:
                optimizer.apply_gradients([(g, w)])
            else:
                optimizer.apply([(g, w)])

        traced = fc.function(step)
        for _ in range(2):
            traced(g)
            step(g)  # on arrays, at once
        assert optimizer.iterations == 4
        values.append(w.numpy().tobytes())
    assert len(set(values)) == 1


def test_two_optimizers_in_two_functions_and_one():
    a, b = fc.Variable([1.0]), fc.Variable([1.0])
    first, second = optimizers.Adam(0.1), optimizers.SGD(lambda t: 0.1 / (t + 1))

    @fc.function
    def one():
        first.apply([fc.grad(fc.ops.sum(a * a * b), a)], [a])

    @fc.function
    def both():
        loss = fc.ops.sum(a * b)
        grads = fc.grad(loss, [a, b])
        first.apply(grads[:1], [a])
        second.apply(grads[1:], [b])
        return loss

    one(), both(), one(), both()
    assert (first.iterations, second.iterations) == (4, 2)
    assert second.learning_rate == pytest.approx(0.05)


def test_a_failed_step_does_not_count():
    w = fc.Variable([1.0])
    optimizer = optimizers.SGD(0.1)

    @fc.function
    def step(x):
        optimizer.apply([fc.ops.callback(hand_on, x, ((1,), "float32"))], [w])

    def hand_on(value):
        return value / int(value[0])

    for value, steps in ((0.0, 0), (1.0, 1), (0.0, 1)):
        try:
            step(np.full(1, value, "f4"))
        except (ZeroDivisionError, RuntimeWarning):
            assert value == 0.0
        assert optimizer.iterations == steps


def test_bad_arguments():
    for argument, bad in (
        ("ema_momentum", 1.5), ("ema_overwrite_frequency", 0),
        ("gradient_accumulation_steps", 1), ("gradient_accumulation_steps", 2.5),
        ("trust_coefficient", -1.0),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=argument):
            optimizers.LARS(0.1, **{argument: bad})
    w = [fc.Variable([1.0]), fc.Variable([1.0])]
    step = fc.function(lambda: optimizers.SGD(0.1).apply([np.ones(1, "f4")], w))
    with pytest.raises(ArgumentError, match="a gradient for each of the 2"):
        step()
