"""The profile of a step: times by layer, limits by the roofline, advice."""

from dataclasses import asdict

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core
from fastconv.execution.executable import Executable, StepReport
from fastconv.training import step_profile
from fastconv.training.step_profile import Peak, Step, layers

PEAK = Peak(
    gflops=100.0, gbytes_per_second=10.0, cached_gbytes_per_second=50.0
)


def step(layer, us, flops=0, moved=0, op="binary", kernel="vector", maps=16):
    report = StepReport(layer, op, kernel, (), (2, maps), moved, 0, flops)
    return Step(report, us)


@pytest.fixture
def clock(monkeypatch):
    """Each step of a plan takes its place in the plan in ms; the peak is known."""
    real = Executable.profile

    def profile(self, arrays):
        return [1_000_000 * (1 + i) for i in range(len(real(self, arrays)))]

    monkeypatch.setattr(Executable, "profile", profile)
    peak = {**asdict(PEAK), "threads": 1}
    monkeypatch.setattr(_core, "measure_peak", lambda seconds: dict(peak))


def test_layers_by_their_time():
    found = layers([step("a", 10), step("b", 30), step("a", 15)], PEAK)
    assert [(layer.name, layer.us, len(layer.steps)) for layer in found] == [
        ("b", 30, 1), ("a", 25, 2),
    ]  # fmt: skip


def test_rates_and_limits():
    # 4e6 operations need 40 us at the peak, and 5e5 bytes 10 us in caches.
    one, two = step("a", 50, 4_000_000, 500_000), step("a", 50, 0, 1_000_000)
    (layer,) = layers([one, two], PEAK)
    assert one.limits(PEAK) == pytest.approx((40, 10))
    assert two.limits(PEAK) == pytest.approx((0, 20))
    assert step("a", 50, 0, 8_000_000).limits(PEAK) == pytest.approx((0, 800))
    assert step("a", 50, 0, 8_000_000, kernel="").limits(PEAK) == (0, 0)
    assert layer.gflops == pytest.approx(40)
    assert layer.gbytes_per_second == pytest.approx(15)
    assert layer.share_of_limit == pytest.approx(0.6)
    assert layer.bound == "compute"
    assert layers([two, two, two], PEAK)[0].bound == "memory"


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (step("a", 100, 8_000_000, op="conv"), "at its limit"),
        (step("a", 10, 1000), "small: larger batch"),
        (step("a", 100, 1_000_000, op="conv", kernel="direct_loop"), "plain kernel"),
        (step("a", 100, 1_000_000, op="conv_backward_data", maps=17), "odd maps"),
        (step("a", 100, 1_000_000, op="gemm"), "larger batch"),
        (step("a", 100, 0, 500_000, op="gemm"), "memory: larger batch"),
        (step("a", 100, 0, 500_000), "memory: fuse"),
        (step("a", 0.0), "small: larger batch"),
        (step("a", 0.0, kernel=""), "costs nothing"),
    ],
)
def test_advice(given, advice):
    (layer,) = layers([given], PEAK)
    assert layer.advice.startswith(advice)


@pytest.mark.usefixtures("clock")
def test_summary_with_a_profile():
    model = fc.Sequential([
        fc.Input((8, 8, 3)), fc.layers.Conv2D(4, 3, name="conv"),
        fc.layers.Flatten(), fc.layers.Dense(2, activation="softmax", name="out"),
    ])  # fmt: skip
    texts: list[str] = []
    model.summary(texts.append, batch_size=4, profile=True)
    title, header, *rows = texts[1].splitlines()
    assert title == "Profile of inference, batch 4; peak 100 GFLOP/s, 10 GB/s"
    assert header.split()[0] == "layer"
    assert {row.split()[0] for row in rows} >= {"conv", "out"}
    assert sum(float(row.split()[2].rstrip("%")) for row in rows) == pytest.approx(
        100, abs=0.5
    )


@pytest.mark.usefixtures("clock")
def test_a_profile_of_training_leaves_the_model_as_it_was():
    model = fc.Sequential([fc.Input((5,)), fc.layers.Dense(3), fc.layers.Dropout(0.5)])
    model.compile(fc.optimizers.SGD(0.1, momentum=0.9), "mse")
    x = np.ones((4, 5), np.float32)
    model.train_on_batch(x, np.zeros((4, 3)))
    before = [w.copy() for w in model.get_weights()]
    text = step_profile.model_table(model, 4)
    assert text.startswith("Profile of a training step, batch 4;")
    assert "optimizer" in text
    for after, earlier in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, earlier)
    assert int(model.optimizer.iterations) == 1
