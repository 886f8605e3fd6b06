"""Adaptive optimisers against their formulas in float64, written down once more."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import optimizers
from fastconv.errors import ArgumentError
from fastconv.execution.function import Function
from fastconv.graph.variable import together

START = np.array([1.0, -2.0, 3.0, 0.5, 4.0, 5.0, -0.25])
TARGET = np.array([0.5, 1.0, -1.0, 2.0, 1.0, -1.0, 0.0])
STEPS = 30


def train(optimizer, device="cpu", steps=STEPS):
    """Minimises sum (w - target)^2 with a loop of its own."""
    cuts = (slice(0, 4), slice(4, 7))
    weights = [fc.Variable(START[cut], f"w{i}") for i, cut in enumerate(cuts)]
    together(weights)

    def step():
        loss = sum(
            fc.ops.sum(fc.ops.square(w - TARGET[cut].astype("f4")))
            for w, cut in zip(weights, cuts, strict=True)
        )
        optimizer.apply(zip(fc.grad(loss, weights), weights, strict=True))
        return loss

    function = Function(step, device)
    for _ in range(steps):
        function()
    return np.concatenate([w.numpy() for w in weights]), function


def formula(move, decay=0.0, rate=lambda t: 0.05):
    """``move(state, g, t, rate)`` gives what is taken off the weights in step t."""
    w, state = START.copy(), {}
    for t in range(1, STEPS + 1):
        g, a = 2 * (w - TARGET), rate(t - 1)
        w = w - a * decay * w
        w = w - move(state, g, t, a)
    return w


def rmsprop(s, g, t, a, momentum=0.0, centered=False):
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g * g
    s["g"] = 0.9 * s.get("g", 0) + 0.1 * g
    step = a * g / np.sqrt(s["v"] - centered * s["g"] ** 2 + 1e-7)
    s["m"] = momentum * s.get("m", 0) + step
    return s["m"]


def adagrad(s, g, t, a):
    s["v"] = s.get("v", 0.1) + g * g
    return a * g / np.sqrt(s["v"] + 1e-7)


def adadelta(s, g, t, a):
    s["v"] = 0.95 * s.get("v", 0) + 0.05 * g * g
    d = np.sqrt(s.get("d", 0) + 1e-7) / np.sqrt(s["v"] + 1e-7) * g
    s["d"] = 0.95 * s.get("d", 0) + 0.05 * d * d
    return a * d


def moments(s, g):
    s["m"] = 0.9 * s.get("m", 0) + (1 - 0.9) * g
    s["v"] = 0.999 * s.get("v", 0) + (1 - 0.999) * g * g
    s["hat"] = np.maximum(s.get("hat", 0), s["v"])
    return s["m"], s["v"]


def adam(s, g, t, a, amsgrad=False):
    m, v = moments(s, g)
    v = s["hat"] if amsgrad else v
    return a * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)


def adamax(s, g, t, a):
    m, _ = moments(s, g)
    s["u"] = np.maximum(0.999 * s.get("u", 0), np.abs(g))
    return a / (1 - 0.9**t) * m / (s["u"] + 1e-7)


def nadam(s, g, t, a):
    m, v = moments(s, g)
    u = [0.9 * (1 - 0.5 * 0.96**i) for i in range(1, t + 2)]
    top = u[t] * m / (1 - np.prod(u)) + (1 - u[t - 1]) * g / (1 - np.prod(u[:-1]))
    return a * top / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


def lion(s, g, t, a):
    step = a * np.sign(0.9 * s.get("m", 0) + 0.1 * g)
    s["m"] = 0.99 * s.get("m", 0) + 0.01 * g
    return step


def centered(s, g, t, a):
    return rmsprop(s, g, t, a, 0.8, True)


CASES = [
    (optimizers.RMSprop, {}, rmsprop),
    (optimizers.RMSprop, {"momentum": 0.8, "centered": True}, centered),
    (optimizers.RMSprop, {"momentum": 0.8}, lambda *a: rmsprop(*a, momentum=0.8)),
    (optimizers.Adagrad, {}, adagrad),
    (optimizers.Adadelta, {}, adadelta),
    (optimizers.Adam, {}, adam),
    (optimizers.Adam, {"amsgrad": True}, lambda *a: adam(*a, amsgrad=True)),
    (optimizers.AdamW, {"weight_decay": 0.0}, adam),
    (optimizers.Adamax, {}, adamax),
    (optimizers.Nadam, {}, nadam),
    (optimizers.Lion, {}, lion),
]


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("decay", [None, 0.1])
@pytest.mark.parametrize(("cls", "options", "move"), CASES)
def test_formula(cls, options, move, decay, device):
    if decay is not None:
        options = {**options, "weight_decay": decay}
    w, _ = train(cls(0.05, **options), device)
    expected = formula(move, decay or 0.0)
    np.testing.assert_allclose(w, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cls", "options", "_"), CASES)
def test_one_op_for_all_neighbours(cls, options, _):
    _, function = train(cls(0.05, **{"weight_decay": 0.1, **options}), steps=1)
    names = [line.op for line in function.explain()]
    assert sum(n in ("adam", cls.__name__.lower()) for n in names) == 1
    assert "copy" not in names


@pytest.mark.parametrize(("cls", "options", "move"), CASES)
def test_the_rate_may_follow_a_schedule(cls, options, move):
    schedule = optimizers.schedules.InverseTimeDecay(0.1, 3, 0.5)
    w, function = train(cls(schedule, **options))
    np.testing.assert_allclose(w, formula(move, rate=schedule), rtol=1e-4, atol=1e-5)
    assert len(function._plans) == 1


@pytest.mark.parametrize(("cls", "options", "_"), CASES)
def test_config(cls, options, _):
    optimizer = cls(0.3, clipnorm=1.0, **options)
    again = optimizers.get(optimizers.serialize(optimizer))
    assert type(again) is cls
    assert again.get_config() == optimizer.get_config()
    assert type(optimizers.get(cls.__name__.lower())) is cls


@pytest.mark.parametrize(("cls", "options", "_"), CASES)
def test_training_goes_on_as_if_never_saved(cls, options, _, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5)).astype("f4"), np.arange(20) % 3
    model = fc.Sequential(
        [fc.Input((5,)), fc.layers.Dense(4, "tanh"), fc.layers.Dense(3, "softmax")]
    )
    rate = optimizers.schedules.CosineDecay(0.0, 9, 0.1, "c", 0.01, 3)
    optimizer = cls(rate, **{"weight_decay": 0.01, **options})
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0, batch_size=8)
    model.save(tmp_path / "model.safetensors")
    again = fc.load_model(tmp_path / "model.safetensors")
    assert again.optimizer.iterations == 6
    for m in (model, again):
        m.fit(x, y, initial_epoch=2, epochs=4, verbose=0, batch_size=8)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_torch_agrees():
    torch = pytest.importorskip("torch")
    pairs = [
        (optimizers.Adam(0.05), lambda p: torch.optim.Adam([p], 0.05, eps=1e-12)),
        (optimizers.Adamax(0.05), lambda p: torch.optim.Adamax([p], 0.05, eps=1e-12)),
        (optimizers.AdamW(0.05, 0.1),
         lambda p: torch.optim.AdamW([p], 0.05, eps=1e-12, weight_decay=0.1)),
    ]  # fmt: skip
    for ours, make in pairs:
        p = torch.tensor(START, requires_grad=True)
        theirs = make(p)
        for _ in range(STEPS):
            theirs.zero_grad()
            ((p - torch.tensor(TARGET)) ** 2).sum().backward()
            theirs.step()
        w, _ = train(ours)
        np.testing.assert_allclose(w, p.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_bad_arguments():
    for make in (
        lambda: optimizers.Adam(beta_1=1.0),
        lambda: optimizers.Nadam(beta_2=-0.1),
        lambda: optimizers.RMSprop(rho="fast"),
        lambda: optimizers.Adagrad(epsilon=-1.0),
    ):
        with pytest.raises(ArgumentError, match=r"beta_|rho|epsilon"):
            make()


def test_all_slots_are_one_block():
    optimizer = optimizers.Adam()
    train(optimizer, steps=1)
    slots = [v for known in optimizer.variables().values() for v in known.values()]
    assert len({id(v.block) for v in slots}) == 1
    assert len(slots) == 4
