"""Over-fitting is named when it is there: in the log and on the chart."""

import re

import numpy as np

import fastconv as fc
from fastconv.plot import training_chart
from fastconv.training.overfitting import find
from fastconv.training.run_directory import RunDirectory

EPOCHS = np.arange(40)
FALLS = np.exp(-EPOCHS / 10)
DIPS = 0.5 + 0.5 * np.exp(-EPOCHS / 5) + 0.01 * EPOCHS  # least at epoch 13, from 1


def test_a_dip_is_found_with_its_epoch():
    assert DIPS.argmin() == 12
    found = find({"loss": FALLS, "val_loss": DIPS})
    assert found.since == 13
    assert 18 <= found.seen <= 21
    assert found.best == DIPS[12]
    assert found.now == DIPS[found.seen - 1]
    assert found.fell == (FALLS[12], FALLS[found.seen - 1])
    assert "since epoch 13" in str(found)
    assert f"{DIPS[12]:.4g}" in str(found)


def test_what_is_no_over_fitting():
    for loss, val in (
        (FALLS, FALLS + 0.1),  # learns
        (FALLS, np.maximum(FALLS, 0.3)),  # goes flat
        (DIPS, DIPS),  # diverges: training rises, too
        (FALLS[:5], DIPS[::-1][:5]),  # too short to tell
        (FALLS, DIPS[::2]),  # not validated after each epoch
        (FALLS, FALLS * np.nan),
        ([], []),
    ):
        assert find({"loss": loss, "val_loss": val}) is None
    assert find({"loss": FALLS}) is None


def test_noise_is_not_taken_for_it():
    wrong = 0
    for seed in range(100):
        noise = np.random.default_rng(seed).standard_normal((2, 40))
        plateau = 0.5 + 0.5 * np.exp(-EPOCHS / 6) + 0.04 * noise[0]
        loss = FALLS + 0.01 * noise[1]
        wrong += find({"loss": loss, "val_loss": plateau}) is not None
        found = find({"loss": loss, "val_loss": DIPS + 0.01 * noise[0]})
        assert found is not None, seed
        assert abs(found.since - 13) <= 5
    assert wrong <= 2


def memorising(caplog, **options):
    """Labels by chance: all that can be learned is to know them by heart."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((80, 10)).astype(np.float32)
    y = rng.integers(0, 2, 80)
    fc.utils.set_random_seed(0)
    layers = fc.layers
    model = fc.Sequential([
        fc.Input((10,)), layers.Dense(64, "relu"), layers.Dense(2, "softmax")
    ])  # fmt: skip
    model.compile(fc.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model.fit(
        x[:40], y[:40], validation_data=(x[40:], y[40:]), verbose=0, **options
    )


def test_fit_says_it_once(caplog):
    history = memorising(caplog, epochs=40)
    found = history.overfitting
    assert found == find(history.history)
    assert found.since == int(np.argmin(history.history["val_loss"])) + 1
    assert caplog.text.count("over-fitting since") == 1
    assert str(found) in caplog.text


def test_epochs_are_those_of_fit(caplog):
    every, second = memorising(caplog, epochs=60), None
    second = memorising(caplog, epochs=60, validation_freq=2)
    assert abs(second.overfitting.since - every.overfitting.since) <= 2
    later = memorising(caplog, initial_epoch=100, epochs=140)
    assert later.overfitting.since > 100
    assert memorising(caplog, epochs=3).overfitting is None


def test_the_chart_marks_it(tmp_path):
    run = RunDirectory.create(tmp_path)
    history = {"loss": FALLS, "accuracy": 1 - FALLS, "val_loss": DIPS}
    run.write_chart(history, "a run")
    svg = run.chart.read_text()
    assert svg.count("over-fitting since 13") == svg.count('class="mark"') == 2
    marks = re.findall(r'class="mark" d="M([\d.]+) ', svg)
    line = re.search(r'class="val" d="(M[^"]+L[^"]+)"', svg)[1]
    assert set(marks) == {re.split("[ML]", line)[13].split()[0]}
    run.write_chart({"loss": FALLS, "val_loss": FALLS}, "a run")
    assert 'class="mark"' not in run.chart.read_text()
    assert "over-fitting" not in training_chart(history)
