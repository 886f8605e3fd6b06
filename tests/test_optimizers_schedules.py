"""Schedules: their values, how they are saved, and what follows them."""

import math

import pytest

from fastconv import optimizers
from fastconv.custom_objects import custom_object_scope
from fastconv.errors import ArgumentError, UnknownNameError
from fastconv.optimizers import schedules as s

EXAMPLES = [
    (s.ConstantSchedule(0.3), [(0, 0.3), (99, 0.3)]),
    (s.ExponentialDecay(0.5, 4, 0.1), [(0, 0.5), (2, 0.5 * 0.1**0.5), (8, 0.005)]),
    (s.ExponentialDecay(0.5, 4, 0.1, staircase=True), [(3, 0.5), (4, 0.05)]),
    (s.StepDecay(1.0, 10), [(9, 1.0), (10, 0.1), (25, 0.01)]),
    (s.InverseTimeDecay(1.0, 2, 0.5), [(0, 1.0), (4, 0.5)]),
    (s.InverseTimeDecay(1.0, 2, 1.0, staircase=True), [(3, 0.5), (4, 1 / 3)]),
    (s.PolynomialDecay(1.0, 10, 0.2, 2.0), [(5, 0.4), (10, 0.2), (50, 0.2)]),
    (s.PolynomialDecay(1.0, 10, 0.0, cycle=True), [(0, 1.0), (10, 0.0), (15, 0.25)]),
    (s.PiecewiseConstantDecay([2, 5], [3, 2, 1]), [(2, 3), (3, 2), (5, 2), (6, 1)]),
    (s.CosineDecay(1.0, 10, 0.1), [(0, 1.0), (5, 0.55), (10, 0.1), (11, 0.1)]),
    (s.CosineDecay(0.2, 10, warmup_target=1.0, warmup_steps=4),
     [(0, 0.2), (2, 0.6), (4, 1.0), (9, 0.5), (14, 0.0), (20, 0.0)]),
    (s.CosineDecayRestarts(1.0, 4, 2.0, 0.5),
     [(0, 1), (2, 0.5), (4, 0.5), (8, 0.25), (12, 0.25)]),
    (s.CosineDecayRestarts(1.0, 4, 1.0, 0.5), [(3999, 0.0), (8, 0.25), (10, 0.125)]),
    (s.OneCycle(1.0, 11, 0.5, 10, 100), [(0, 0.1), (10, 0.001), (30, 0.001)]),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "values"), EXAMPLES)
def test_values(schedule, values):
    for step, value in values:
        assert schedule(step) == pytest.approx(value, abs=1e-12), step


@pytest.mark.parametrize(("schedule", "_"), EXAMPLES)
def test_config(schedule, _):
    again = s.deserialize(s.serialize(schedule))
    assert type(again) is type(schedule)
    assert [again(i) for i in range(20)] == [schedule(i) for i in range(20)]


def test_one_cycle_is_torch_s():
    torch = pytest.importorskip("torch")
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.7, 50, cycle_momentum=False)
    ours = s.OneCycle(0.7, 50)
    for step in range(50):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9), step
        sgd.step()
        if step < 49:
            theirs.step()


def test_momentum_follows_a_function():
    def mu(step):
        return min(1 - 2 ** (-1 - math.log2(step // 250 + 1)), 0.99)

    optimizer = optimizers.SGD(0.1, momentum=mu)
    assert optimizer.momentum == 0.5
    optimizer.iterations = 750
    optimizer.before_run()
    assert optimizer.momentum == 0.875
    assert optimizer.scalars(0.1) == [0.1, 0.875]


def test_schedules_are_saved_with_the_optimizer():
    optimizer = optimizers.SGD(s.StepDecay(1.0, 5), momentum=s.ConstantSchedule(0.5))
    again = optimizers.get(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    again.iterations = 5
    again.before_run()
    assert again.learning_rate == pytest.approx(0.1)
    again.learning_rate = 0.25  # a number takes the place of the schedule
    again.before_run()
    assert again.get_config()["learning_rate"] == 0.25


class Own(s.LearningRateSchedule):
    def __init__(self, top):
        self.top = top

    def __call__(self, step):
        return self.top / (step + 1)


def test_own_schedule():
    config = optimizers.serialize(optimizers.SGD(Own(2.0)))
    with pytest.raises(UnknownNameError, match="Own"):
        optimizers.deserialize(config)
    with custom_object_scope({"Own": Own}):
        assert optimizers.deserialize(config).learning_rate == 2.0


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="decay_steps"):
        s.CosineDecay(1.0, 0)
    with pytest.raises(ArgumentError, match="one more"):
        s.PiecewiseConstantDecay([1], [1.0])
    with pytest.raises(ArgumentError, match="increasing"):
        s.PiecewiseConstantDecay([2, 1], [1.0, 2.0, 3.0])
    with pytest.raises(ArgumentError, match="total_steps"):
        s.OneCycle(1.0, 1)
    with pytest.raises(ArgumentError, match="learning_rate"):
        optimizers.SGD(lambda step: "fast")


def test_old_decay():
    with pytest.warns(DeprecationWarning, match="InverseTimeDecay"):
        optimizer = optimizers.SGD(0.1, decay=0.5)
    optimizer.iterations = 2
    optimizer.before_run()
    assert optimizer.learning_rate == pytest.approx(0.05)
