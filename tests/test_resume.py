"""A training that is killed, or fails, goes on to the same bytes."""

import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import callbacks
from fastconv.errors import ArgumentError, DataError, FormatError

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(60, 8, 8, 1)).astype(np.float32)
Y = (X.mean((1, 2, 3)) > 0).astype(np.int64) + (X[:, 0, 0, 0] > 1)
EPOCHS = 6
STEPS = 6  # 48 samples of training in batches of 8


def network(rate=0.01, units=3, seed=3):
    fc.random.set_seed(seed)
    model = fc.Sequential(
        [
            fc.Input((8, 8, 1)),
            fc.layers.Conv2D(4, 3, use_bias=False),
            fc.layers.BatchNormalization(),
            fc.layers.Activation("relu"),
            fc.layers.MaxPooling2D(2),
            fc.layers.Flatten(),
            fc.layers.Dropout(0.3),
            fc.layers.Dense(units),
        ]
    )
    decay = fc.optimizers.schedules.ExponentialDecay(rate, 10, 0.9)
    model.compile(
        fc.optimizers.Adam(decay, global_clipnorm=1.0),
        loss=fc.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def around(folder):
    """Callbacks with a state; the plateau replaces the schedule by a number."""
    return [
        callbacks.EarlyStopping("loss", patience=50, restore_best_weights=True),
        callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=0.5, factor=0.5),
        callbacks.CSVLogger(Path(folder) / "log.csv"),
    ]


def fit(model, folder, *more, epochs=EPOCHS, x=X, y=Y, **options):
    folder.mkdir(exist_ok=True)
    given = [*around(folder), *more]
    options = {"batch_size": 8, "validation_split": 0.2, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=given, **options)


def every(folder, steps=2, **options):
    options = {"double_checkpoint": True, "delete_checkpoint": False, **options}
    return callbacks.BackupAndRestore(folder / "run", steps, **options)


def digest(model, folder, history):
    """Of weights, optimizer, chance, history and log."""
    names = [weight.name.rpartition("/")[2] for weight in model.weights]
    parts = [*model.get_weights(), model._seed_and_step.value]
    for values in model.optimizer.variables().values():
        parts += [values[w].value for w in model.trainable_weights]
    sha = hashlib.sha256(b"".join(part.tobytes() for part in parts))
    facts = (names, model.optimizer.iterations, model.epochs_seen, history.history)
    rate = model.optimizer.learning_rate
    sha.update(repr((facts, history.epoch, rate)).encode())
    sha.update((folder / "log.csv").read_bytes())
    return sha.hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The digest of the training that is never cut off."""
    folder = tmp_path_factory.mktemp("whole")
    model = network()
    return digest(model, folder, fit(model, folder))


class Cut(Exception):
    """Ends a training at a given hook."""


def cut_at(hook, count):
    calls = iter(range(1, 10**6))

    def stop(*_):
        if next(calls) == count:
            raise Cut

    return callbacks.LambdaCallback(**{hook: stop})


CHILD = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_resume import callbacks, digest, every, fit, network
folder, left, sync = Path(sys.argv[2]), int(sys.argv[3]), os.fsync
def fsync(file):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(file)
os.fsync = fsync
def pace(batch, logs):
    print("step", flush=True)
    time.sleep(0.02)
model = network()
pace = callbacks.LambdaCallback(on_train_batch_end=pace)
print(digest(model, folder, fit(model, folder, pace, every(folder))))
"""


def test_ten_kills_at_random_moments(tmp_path, whole):
    """Five at moments of the clock, five inside the writing of a checkpoint."""
    here = str(Path(__file__).parent)
    moments = random.Random(11)
    for kill in range(10):
        syncs = 1 + moments.randrange(6) if kill % 2 else 0
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, here, str(tmp_path), str(syncs)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        with child.stdout as lines:
            if not syncs:
                assert lines.readline() == "step\n"
                time.sleep(moments.uniform(0.0, 0.06))
                child.send_signal(signal.SIGKILL)
            said = lines.read().split()
        assert child.wait() == -signal.SIGKILL
        assert all(line == "step" for line in said)
    numbers = [
        int(p.stem.split("-")[1]) for p in (tmp_path / "run").glob("*.safetensors")
    ]
    assert max(numbers) > 4, "the kills came before the training"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, here, str(tmp_path), "0"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.split()
    assert len(said) < EPOCHS * STEPS, "it began again"
    assert said[-1] == whole


@pytest.mark.parametrize(
    ("hook", "count", "freq"),
    [
        ("on_train_batch_begin", 1, 4),
        ("on_train_batch_end", STEPS + 1, 1),
        ("on_epoch_end", 2, 1),
        ("on_test_batch_end", 3, STEPS),
        ("on_epoch_begin", 4, "epoch"),
        ("on_train_batch_end", EPOCHS * STEPS, "auto"),
        ("on_train_end", 1, "epoch"),
    ],
)
def test_cut_off_at_every_kind_of_place(tmp_path, whole, hook, count, freq):
    with pytest.raises(Cut):
        fit(network(), tmp_path, cut_at(hook, count), every(tmp_path, freq))
    model = network()
    history = fit(model, tmp_path, every(tmp_path, freq))
    assert digest(model, tmp_path, history) == whole


def test_resume_is_a_folder(tmp_path, whole):
    with pytest.raises(Cut):
        fit(network(), tmp_path, cut_at("on_epoch_end", 3), resume=tmp_path / "run")
    model = network()
    history = fit(model, tmp_path, resume=tmp_path / "run")
    assert digest(model, tmp_path, history) == whole
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_a_finished_training_is_left_alone(tmp_path, whole):
    fit(network(), tmp_path, resume=tmp_path / "run")
    files = {p: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    model = network()
    seen = []
    note = callbacks.LambdaCallback(on_epoch_begin=lambda *_: seen.append(1))
    history = fit(model, tmp_path, note, resume=tmp_path / "run")
    assert not seen
    assert digest(model, tmp_path, history) == whole
    assert {p: p.read_bytes() for p in (tmp_path / "run").iterdir()} == files


def test_more_epochs_go_on(tmp_path, whole):
    fit(network(), tmp_path, epochs=2, resume=tmp_path / "run")
    model = network()
    history = fit(model, tmp_path, resume=tmp_path / "run")
    assert digest(model, tmp_path, history) == whole
    again = fit(model, tmp_path, epochs=EPOCHS + 1, resume=tmp_path / "run")
    assert again.epoch == list(range(EPOCHS + 1))


def test_an_early_stop_stays_one(tmp_path):
    def stop():
        return callbacks.EarlyStopping("loss", min_delta=9.0, patience=2)

    fit(network(), tmp_path, stop(), resume=tmp_path / "run")
    history = fit(network(), tmp_path, stop(), resume=tmp_path / "run", epochs=20)
    assert history.epoch == [0, 1, 2]


def test_checkpoints_go_when_the_training_is_done(tmp_path):
    backup = every(tmp_path, double_checkpoint=False, delete_checkpoint=True)
    with pytest.raises(Cut):
        fit(network(), tmp_path, cut_at("on_epoch_end", 2), backup)
    assert len(list((tmp_path / "run").iterdir())) == 1
    fit(network(), tmp_path, backup)
    assert not (tmp_path / "run").exists()


def test_steps_of_an_epoch_and_weights_of_classes(tmp_path):
    options = {"steps_per_epoch": 4, "class_weight": {0: 2.0}, "epochs": 5}
    alone, model = network(), network()
    history = fit(alone, tmp_path, **options)
    expected = digest(alone, tmp_path, history)
    with pytest.raises(Cut):
        fit(
            network(), tmp_path, cut_at("on_train_batch_end", 11), every(tmp_path, 1),
            **options,
        )  # fmt: skip
    history = fit(model, tmp_path, every(tmp_path, 1), **options)
    assert digest(model, tmp_path, history) == expected


class Indexed:
    def __len__(self):
        return 6

    def __getitem__(self, i):
        rows = slice(10 * i, 10 * i + 10)
        return X[rows], Y[rows]


class Iterated:
    def __iter__(self):
        return (Indexed()[i] for i in range(6))


@pytest.mark.parametrize("source", [Indexed, Iterated])
def test_a_model_without_an_input_shape_and_iterables(tmp_path, source):
    def model():
        fc.random.set_seed(1)
        made = fc.Sequential([fc.layers.Flatten(), fc.layers.Dense(3)])
        made.compile("adam", loss=fc.losses.SparseCategoricalCrossentropy(True))
        return made

    def trained(*more):
        made = model()
        made.fit(source(), epochs=3, verbose=0, callbacks=list(more))
        return made

    expected = trained().get_weights()
    with pytest.raises(Cut):
        trained(cut_at("on_train_batch_end", 9), every(tmp_path, 1))
    weights = trained(every(tmp_path, 1)).get_weights()
    for found, right in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, right)


def test_ctrl_c_then_on(tmp_path, whole):
    def press(batch, logs):
        if batch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    note = callbacks.LambdaCallback(on_train_batch_end=press)
    model = network()
    history = fit(model, tmp_path, note, resume=tmp_path / "run")
    assert model.optimizer.iterations == 3
    assert history.epoch == [0]
    model = network()
    history = fit(model, tmp_path, resume=tmp_path / "run")
    assert digest(model, tmp_path, history) == whole


# Damage -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(Cut):
        fit(network(), folder, cut_at("on_train_batch_end", 10), every(folder))
    return folder


@pytest.fixture
def cut(tmp_path, cut_once):
    """Two checkpoints of a training that was cut off, in ``tmp_path / "run"``."""
    shutil.copytree(cut_once, tmp_path, dirs_exist_ok=True)
    folder = tmp_path
    return sorted((folder / "run").iterdir(), key=lambda p: int(p.stem.split("-")[1]))


@pytest.mark.parametrize("how", ["changed", "truncated", "empty"])
def test_the_one_before_a_damaged_checkpoint_is_used(tmp_path, cut, whole, caplog, how):
    before, latest = cut
    data = bytearray(latest.read_bytes())
    data[-100] ^= 1
    latest.write_bytes({"changed": data, "truncated": data[:-50], "empty": b""}[how])
    model = network()
    history = fit(model, tmp_path, every(tmp_path))
    assert latest.name in caplog.text
    assert f"{before.name} is used" in caplog.text
    assert digest(model, tmp_path, history) == whole
    assert not latest.exists()


def test_two_damaged_checkpoints_are_an_error(tmp_path, cut):
    for path in cut:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="all checkpoints are damaged") as info:
        fit(network(), tmp_path, every(tmp_path))
    assert all(path.name in str(info.value) for path in cut)
    assert all(path.exists() for path in cut)


def test_another_kind_of_file_is_refused(tmp_path):
    network().save(tmp_path / "checkpoint-1.safetensors")
    with pytest.raises(FormatError, match="a training, received a model"):
        fit(network(), tmp_path, resume=tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, whole):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def full(*_):
        if full.steps == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        full.steps += 1

    full.steps = 0
    note = callbacks.LambdaCallback(on_train_batch_end=full)
    try:
        with pytest.raises(OSError, match=r"checkpoint-3\.\w+ stays") as info:
            fit(network(), tmp_path, note, every(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert info.value.errno == errno.EFBIG
    assert len(list((tmp_path / "run").iterdir())) == 2
    model = network()
    history = fit(model, tmp_path, every(tmp_path))
    assert digest(model, tmp_path, history) == whole


def test_a_folder_that_cannot_be_written(tmp_path, cut, monkeypatch):
    (tmp_path / "file").write_text("")
    model = network()
    with pytest.raises(OSError, match="the checkpoint cannot be written"):
        model.fit(X, Y, verbose=0, resume=tmp_path / "file" / "run")
    assert model.optimizer.iterations == 0

    def refused(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    data = [path.read_bytes() for path in cut]
    monkeypatch.setattr("fastconv.io.atomic._sync", refused)
    with pytest.raises(OSError, match=rf"Read-only.*{cut[-1].name} stays"):
        fit(network(), tmp_path, every(tmp_path))
    assert [path.read_bytes() for path in cut] == data


def test_what_a_killed_process_left_is_removed(tmp_path, cut):
    rest = tmp_path / "run" / ".checkpoint-9.safetensors.1.2.3.tmp"
    rest.write_bytes(b"half")
    fit(network(), tmp_path, every(tmp_path))
    assert not rest.exists()


# Another training ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"x": X[:50], "y": Y[:50]}, r"data\.num_samples: expected 48, received 40"),
        ({"x": X + 1}, r"data\.samples: expected"),
        ({"batch_size": 4}, r"data\.batch_size: expected 8, received 4"),
        ({"shuffle": False}, r"data\.shuffle: expected True, received False"),
        ({"validation_split": 0.0}, r"data\.num_samples"),
        ({"steps_per_epoch": 3}, r"steps_per_epoch: expected None, received 3"),
        ({"class_weight": {1: 2.0}}, "class_weight"),
        ({"model": {"units": 4}}, r"model\.weights\.dense/kernel.*expected 3, rec"),
        ({"model": {"rate": 0.02}}, r"optimizer\.config\.learning_rate.*0\.01.*0\.02"),
        ({"model": {"seed": 4}}, r"data\.seed: expected 3, received 4"),
    ],
)  # fmt: skip
def test_another_training_is_refused(tmp_path, cut, change, match):
    change = dict(change)
    model = network(**change.pop("model", {}))
    with pytest.raises(ArgumentError, match=match):
        fit(model, tmp_path, every(tmp_path), **change)
    assert all(path.exists() for path in cut)


FLIP = {"augment": fc.layers.RandomFlip("horizontal")}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"x": X + 1}, r"data\.data\.samples: expected"),
        ({"y": Y[::-1]}, r"data\.data\.samples: expected"),
        ({"batch_size": 4}, r"data\.data\.batch_size: expected 8, received 4"),
        ({"shuffle": False}, r"data\.data\.shuffle: expected True, received False"),
        ({"augment": fc.layers.RandomFlip("vertical")}, r"augment\[0\]\.config\.mode"),
        ({"augment": fc.layers.RandomRotation(0.1)}, r"augment\[0\]\.class_name"),
        ({"augment": [fc.layers.RandomFlip("horizontal")] * 2}, r"augment\[1\]"),
        ({"augment": None}, r"data\.augment"),
    ],
)  # fmt: skip
def test_another_training_with_augmentation_is_refused(tmp_path, change, match):
    run, options = str(tmp_path / "run"), {"batch_size": 8, "verbose": 0, **FLIP}
    network().fit(X, Y, resume=run, **options)
    x, y = change.pop("x", X), change.pop("y", Y)
    with pytest.raises(ArgumentError, match=match):
        network().fit(x, y, epochs=2, resume=run, **{**options, **change})
    again = {**options, "augment": [fc.layers.RandomFlip("horizontal")]}
    assert network().fit(X, Y, epochs=2, resume=run, **again).epoch == [0, 1]


def test_augmented_batches_in_augmented_batches_are_told_apart(tmp_path):
    def data(mode):
        flip = fc.layers.RandomFlip(mode)
        return fc.data.augment((X, Y), flip, batch_size=8, seed=3)

    run = str(tmp_path / "run")
    network().fit(data("horizontal"), resume=run, verbose=0, **FLIP)
    with pytest.raises(ArgumentError, match=r"data\.data\.augment\[0\]\.config\.mode"):
        network().fit(data("vertical"), epochs=2, resume=run, verbose=0, **FLIP)


def test_adversarial_training_goes_on(tmp_path):
    """Its batches follow from the weights, and so are no part of what it is."""

    def train(epochs, run=None, x=X, callback=None):
        model = network()
        low, high = float(X.min()) - 1, float(X.max()) + 1
        data = fc.adversarial.AdversarialBatches(
            model, x, Y, 0.1, batch_size=8, steps=1, limits=(low, high)
        )
        model.fit(data, epochs=epochs, verbose=0, resume=run, callbacks=callback)
        return b"".join(w.tobytes() for w in model.get_weights())

    run = str(tmp_path / "run")
    train(1, run)
    assert train(3, run) == train(3)
    with pytest.raises(ArgumentError, match=r"data\.samples: expected"):
        train(4, run, X + 0.5)


def test_two_backups_and_bad_arguments(tmp_path):
    with pytest.raises(ArgumentError, match="one BackupAndRestore"):
        fit(network(), tmp_path, every(tmp_path), resume=tmp_path)
    for freq in (0, -1, True, "step", 1.5):
        with pytest.raises(ArgumentError, match="save_freq"):
            callbacks.BackupAndRestore(tmp_path, freq)
    with pytest.raises(ArgumentError, match="backup_dir"):
        callbacks.BackupAndRestore("")


def test_a_log_that_was_lost_is_named(tmp_path, cut):
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(DataError, match=r"log\.csv"):
        fit(network(), tmp_path, every(tmp_path))


# State of callbacks and metrics of one's own ------------------------------------------


class Counter(callbacks.Callback):
    kept = ("seen", "array", "pair")

    def on_train_begin(self, logs=None):
        self.seen, self.array = 0, np.zeros(2, np.float32)
        self.pair = (np.float32(0.1), {})

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        self.array[1] += 0.1


def test_callbacks_of_the_user_keep_their_state(tmp_path, caplog):
    with pytest.raises(Cut):
        fit(network(), tmp_path, Counter(), cut_at("on_epoch_end", 2), every(tmp_path))
    counter = Counter()
    fit(network(), tmp_path, counter, every(tmp_path), epochs=3)
    assert counter.seen == 3 * STEPS
    expected = np.float32(0)
    for _ in range(3 * STEPS):
        expected += np.float32(0.1)
    assert counter.array.tolist() == [0.0, expected]
    assert counter.pair == (np.float32(0.1), {})
    assert isinstance(counter.pair[0], np.float32)
    fit(network(), tmp_path, every(tmp_path), epochs=4)
    assert "Counter" in caplog.text
    late = Counter()
    fit(network(), tmp_path, late, every(tmp_path), epochs=5)
    assert late.seen == STEPS


def test_a_state_that_cannot_be_kept_is_an_error(tmp_path):
    class Bad(callbacks.Callback):
        def state(self):
            return {"file": object()}

    with pytest.raises(ArgumentError, match="state of a callback"):
        fit(network(), tmp_path, Bad(), every(tmp_path))


class Largest(fc.metrics.Metric):
    def reset_state(self):
        self.inner = fc.metrics.Mean()
        self.largest = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.inner.update_state(y_pred)
        self.largest = max(self.largest, float(y_pred.max()))

    def result(self):
        return self.largest + self.inner.result()


@pytest.mark.parametrize(
    "metric",
    [
        fc.metrics.AUC, fc.metrics.MeanSquaredError, fc.metrics.R2Score,
        fc.metrics.Precision, Largest, lambda: "accuracy",
    ],
)  # fmt: skip
def test_metrics_go_on_in_the_middle_of_an_epoch(tmp_path, metric):
    target = (Y > 0).astype(np.float32)[:, None]

    def trained(*more):
        fc.random.set_seed(2)
        layers = fc.layers
        parts = [fc.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1, "sigmoid")]
        model = fc.Sequential(parts)
        model.compile("sgd", loss="binary_crossentropy", metrics=[metric()])
        return model.fit(
            X, target, batch_size=7, epochs=2, verbose=0, callbacks=list(more)
        ).history

    expected = trained()
    with pytest.raises(Cut):
        trained(cut_at("on_train_batch_end", 6), every(tmp_path, 1))
    assert trained(every(tmp_path, 1)) == expected


def test_folders_with_other_files_are_told_apart(tmp_path):
    from fastconv.training import fingerprint

    def prints(folder, names):
        for name in names:
            path = tmp_path / folder / "cat" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            fc.utils.save_img(path, np.zeros((4, 4, 3)))
        data = fc.utils.image_dataset_from_directory(tmp_path / folder)
        return fingerprint.of_data(data)

    one = prints("one", ["a.png", "b.png"])
    assert one == prints("moved", ["a.png", "b.png"])
    (other,) = fingerprint.differences(one, prints("other", ["a.png", "c.png"]), "data")
    assert other.startswith("data.files")
