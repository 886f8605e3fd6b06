"""Training as a whole: 100 steps of a small net, beside other implementations.

The same weights, batches, loss and optimiser; the losses of all steps must agree
within 1e-4. One oracle is NumPy, in float64: the net, its gradient and the updates
written down once more. The other is PyTorch, where it is installed. The table comes
with the output.
"""

import numpy as np
import pytest

import fastconv as fc
from fastconv import optimizers
from test_optimizers_adaptive import (
    adadelta,
    adagrad,
    adam,
    adamax,
    centered,
    lion,
    moments,
    nadam,
    rmsprop,
)

STEPS, BATCH, RATE, EPSILON = 100, 8, 0.01, 1e-3
rng = np.random.default_rng(11)
X = rng.standard_normal((5 * BATCH, 6, 6, 2))
LABELS = rng.integers(0, 3, len(X))
ONE_HOT = np.eye(3)[LABELS]
REAL = rng.standard_normal((len(X), 3))
POSITIVE = rng.random((len(X), 3)) + 0.1
SHARES = POSITIVE / POSITIVE.sum(-1, keepdims=True)
SIGNS = 2.0 * ONE_HOT - 1.0
BOTH = (ONE_HOT + ONE_HOT[::-1] > 0).astype(float)
START = [
    rng.standard_normal((3, 3, 2, 4)) * 0.3,  # kernel
    1 + 0.1 * rng.standard_normal(4), 0.1 * rng.standard_normal(4),  # gamma, beta
    rng.standard_normal((64, 3)) * 0.2, 0.1 * rng.standard_normal(3),  # dense
]  # fmt: skip
TABLE: list[tuple[str, str, str, float]] = []


@pytest.fixture(scope="module", autouse=True)
def table(request):
    """Prints the table after the last test."""
    yield
    plugins = request.config.pluginmanager
    report, capture = map(plugins.getplugin, ("terminalreporter", "capturemanager"))
    lines = [f"{'optimizer':42}{'loss':34}{'oracle':10}largest difference of a loss"]
    lines += [f"{name:42}{loss:34}{by:10}{d:.1e}" for name, loss, by, d in TABLE]
    with capture.global_and_fixture_disabled():
        for line in ("", *lines):
            report.write_line(line)


def ours(optimizer, loss, activation, y):
    model = fc.Sequential([
        fc.Input((6, 6, 2)), fc.layers.Conv2D(4, 3, use_bias=False),
        fc.layers.BatchNormalization(epsilon=EPSILON), fc.layers.Activation("tanh"),
        fc.layers.Flatten(), fc.layers.Dense(3, activation),
    ])  # fmt: skip
    for weight, value in zip(model.trainable_weights, START, strict=True):
        weight.assign(value)
    model.compile(optimizer, loss)
    return np.array([
        model.train_on_batch(X[rows].astype("f4"), y[rows]) for rows in batches()
    ])  # fmt: skip


def batches():
    for t in range(STEPS):
        first = t * BATCH % len(X)
        yield slice(first, first + BATCH)


def judge(optimizer, loss, oracle, found, expected):
    difference = np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-2))
    TABLE.append((optimizer, loss, oracle, difference))
    assert np.ptp(expected) > 1e-3, "nothing was learnt"
    assert difference < 1e-4


# NumPy


def windows(x):
    """(N, P, Q, R, S, C) of a valid 3x3 convolution."""
    found = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return found.transpose(0, 1, 2, 4, 5, 3)


def loss_and_gradient(w, x, y):
    """Softmax with cross-entropy, and the gradient of each weight."""
    kernel, gamma, beta, dense, bias = w
    patches = windows(x)
    z = np.einsum("npqrsc,rsck->npqk", patches, kernel)
    mean, spread = z.mean((0, 1, 2)), np.sqrt(z.var((0, 1, 2)) + EPSILON)
    n = (z - mean) / spread
    h = np.tanh(gamma * n + beta)
    flat = h.reshape(len(x), -1)
    logits = flat @ dense + bias
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    loss = -np.log((p * y).sum(-1)).mean()
    dlogits = (p - y) / len(x)
    da = (dlogits @ dense.T).reshape(h.shape) * (1 - h * h)
    dn = da * gamma
    mean_dn, mean_dnn = dn.mean((0, 1, 2)), (dn * n).mean((0, 1, 2))
    dz = (dn - mean_dn - n * mean_dnn) / spread
    dkernel = np.einsum("npqrsc,npqk->rsck", patches, dz)
    dgamma, dbeta = (da * n).sum((0, 1, 2)), da.sum((0, 1, 2))
    return loss, [dkernel, dgamma, dbeta, flat.T @ dlogits, dlogits.sum(0)]


def in_numpy(move, whole=False):
    w, states, losses = list(START), [{} for _ in START], []
    for t, rows in enumerate(batches(), 1):
        loss, gradients = loss_and_gradient(w, X[rows], ONE_HOT[rows])
        losses.append(loss)
        for i, (state, g) in enumerate(zip(states, gradients, strict=True)):
            w[i] = w[i] - move(state, g, t, RATE, *([w[i]] if whole else []))
    return np.array(losses)


def momentum(s, g, t, a, nesterov=False):
    s["v"] = 0.9 * s.get("v", 0) - a * g
    return a * g - 0.9 * s["v"] if nesterov else -s["v"]


def nesterov(s, g, t, a):
    return momentum(s, g, t, a, True)


def trust(size, length):
    return size / length if size > 0 and length > 0 else 1.0


def lamb(s, g, t, a, w):
    m, v = moments(s, g)
    u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
    return a * trust(np.linalg.norm(w), np.linalg.norm(u)) * u


def adamw(s, g, t, a, w):
    return a * 0.1 * w + adam(s, g, t, a)


def lars(s, g, t, a, w):
    if w.ndim > 1:
        size, slope = np.linalg.norm(w), np.linalg.norm(g)
        g = (g + 1e-4 * w) * trust(0.1 * size, slope + 1e-4 * size)
    return momentum(s, g, t, a)


CASES = [
    ("SGD", {}, lambda s, g, t, a: a * g, False),
    ("SGD", {"momentum": 0.9}, momentum, False),
    ("SGD", {"momentum": 0.9, "nesterov": True}, nesterov, False),
    ("RMSprop", {}, rmsprop, False),
    ("RMSprop", {"momentum": 0.8, "centered": True}, centered, False),
    ("Adagrad", {}, adagrad, False),
    ("Adadelta", {}, adadelta, False),
    ("Adam", {}, adam, False),
    ("Adam", {"amsgrad": True}, lambda *v: adam(*v, amsgrad=True), False),
    ("AdamW", {"weight_decay": 0.1}, adamw, True),
    ("Adamax", {}, adamax, False),
    ("Nadam", {}, nadam, False),
    ("Lion", {}, lion, False),
    ("LARS", {"trust_coefficient": 0.1, "weight_decay": 1e-4}, lars, True),
    ("Lamb", {}, lamb, True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "move", "whole"), CASES)
def test_optimizers_beside_numpy(name, options, move, whole):
    optimizer = getattr(optimizers, name)(RATE, **options)
    expected = in_numpy(move, whole)
    found = ours(optimizer, "categorical_crossentropy", "softmax", ONE_HOT)
    what = " ".join([name, *(k for k in options if k != "trust_coefficient")])
    judge(what, "categorical_crossentropy", "NumPy", found, expected)


# PyTorch


def in_torch(torch, make, loss, activation, y):
    torch.set_num_threads(1)
    w = [torch.tensor(v, requires_grad=True) for v in START]
    kernel, gamma, beta, dense, bias = w
    optimizer, losses = make(w), []
    for rows in batches():
        x = torch.tensor(X[rows]).permute(0, 3, 1, 2)
        z = torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1))
        z = torch.nn.functional.batch_norm(
            z, None, None, gamma, beta, True, eps=EPSILON
        )
        out = torch.tanh(z).permute(0, 2, 3, 1).flatten(1) @ dense + bias
        if activation == "softmax":
            out = torch.softmax(out, -1)
        elif activation:
            out = getattr(torch.nn.functional, activation)(out)
        value = loss(torch, out, torch.tensor(y[rows]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return np.array(losses)


def focal(t, p, y):
    return (-((1 - p) ** 2) * 0.25 * y * p.log()).sum(-1).mean()


def log_cosh(t, p, y):
    return (p - y).cosh().log().mean()


def dice(t, p, y):
    return 1 - 2 * (p * y).sum() / (p.sum() + y.sum())


def tversky(t, p, y):
    hits, wrong, missed = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    return 1 - hits / (hits + 0.5 * wrong + 0.5 * missed)


def cosine(t, p, y):
    return -t.nn.functional.cosine_similarity(p, y, dim=-1).mean()


def binary(t, p, y):
    return t.nn.functional.binary_cross_entropy(p, y)


def binary_focal(t, p, y):
    hit = y * p + (1 - y) * (1 - p)
    return (-((1 - hit) ** 2) * hit.log()).mean()


LOSSES = [
    ("mean_squared_error", None, REAL, lambda t, p, y: ((p - y) ** 2).mean()),
    ("mean_absolute_error", None, REAL, lambda t, p, y: (p - y).abs().mean()),
    ("mean_absolute_percentage_error", None, POSITIVE,
     lambda t, p, y: 100 * ((p - y) / y).abs().mean()),
    ("mean_squared_logarithmic_error", "softplus", POSITIVE,
     lambda t, p, y: ((1 + p).log() - (1 + y).log()).square().mean()),
    ("huber", None, REAL, lambda t, p, y: t.nn.functional.huber_loss(p, y)),
    ("log_cosh", None, REAL, log_cosh),
    ("hinge", None, SIGNS, lambda t, p, y: (1 - y * p).clamp(min=0).mean()),
    ("squared_hinge", None, SIGNS,
     lambda t, p, y: (1 - y * p).clamp(min=0).square().mean()),
    ("categorical_hinge", None, ONE_HOT, lambda t, p, y:
     (((1 - y) * p).amax(-1) - (y * p).sum(-1) + 1).clamp(min=0).mean()),
    ("poisson", "softplus", POSITIVE,
     lambda t, p, y: (p - y * (p + 1e-7).log()).mean()),
    ("kl_divergence", "softmax", SHARES,
     lambda t, p, y: (y * (y / p).log()).sum(-1).mean()),
    ("cosine_similarity", None, REAL, cosine),
    ("binary_crossentropy", "sigmoid", BOTH, binary),
    ("binary_focal_crossentropy", "sigmoid", BOTH, binary_focal),
    ("categorical_crossentropy", "softmax", ONE_HOT,
     lambda t, p, y: -(y * p.log()).sum(-1).mean()),
    ("sparse_categorical_crossentropy", "softmax", LABELS,
     lambda t, p, y: t.nn.functional.nll_loss(p.log(), y)),
    ("categorical_focal_crossentropy", "softmax", ONE_HOT, focal),
    ("dice", "softmax", ONE_HOT, dice),
    ("tversky", "softmax", ONE_HOT, tversky),
]  # fmt: skip


@pytest.mark.parametrize(("name", "activation", "y", "formula"), LOSSES)
def test_losses_beside_torch(name, activation, y, formula):
    torch = pytest.importorskip("torch")
    rate = RATE / 100 if "percentage" in name else RATE

    def make(w):
        return torch.optim.SGD(w, rate, momentum=0.9)

    expected = in_torch(torch, make, formula, activation, y)
    y = y if y.dtype.kind == "i" else y.astype("f4")
    found = ours(optimizers.SGD(rate, 0.9), name, activation, y)
    judge("SGD momentum", name, "PyTorch", found, expected)


THEIRS = [
    ("SGD", {}, lambda o, w: o.SGD(w, RATE)),
    ("SGD", {"momentum": 0.9, "nesterov": True},
     lambda o, w: o.SGD(w, RATE, momentum=0.9, nesterov=True)),
    ("Adagrad", {"initial_accumulator_value": 0.1, "epsilon": 0.0},
     lambda o, w: o.Adagrad(w, RATE, initial_accumulator_value=0.1, eps=0.0)),
    ("Adadelta", {"epsilon": 1e-6}, lambda o, w: o.Adadelta(w, RATE, 0.95, 1e-6)),
    ("Adam", {}, lambda o, w: o.Adam(w, RATE, eps=1e-12)),
    ("AdamW", {"weight_decay": 0.1},
     lambda o, w: o.AdamW(w, RATE, eps=1e-12, weight_decay=0.1)),
    ("Adamax", {}, lambda o, w: o.Adamax(w, RATE, eps=1e-12)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "make"), THEIRS)
def test_optimizers_beside_torch(name, options, make):
    torch = pytest.importorskip("torch")
    formula = {loss: f for loss, _, _, f in LOSSES}["categorical_crossentropy"]
    theirs = in_torch(
        torch, lambda w: make(torch.optim, w), formula, "softmax", ONE_HOT
    )
    optimizer = getattr(optimizers, name)(RATE, **options)
    found = ours(optimizer, "categorical_crossentropy", "softmax", ONE_HOT)
    what = " ".join([name, *options])
    judge(what, "categorical_crossentropy", "PyTorch", found, theirs)
