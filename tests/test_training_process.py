"""Training in processes of its own: determinism, Ctrl-C, fork, memory."""

import json
import os
import signal
import subprocess
import sys

import pytest

TRAIN = """
import hashlib, os, sys, numpy as np, fastconv as fc
fc.utils.set_random_seed(7)
(x, y), _ = fc.datasets.digits.load_data()
x = x[:256, ::2, ::2] / 255
model = fc.Sequential([
    fc.Input((16, 16, 1)),
    fc.layers.Conv2D(8, 3, activation="relu"),
    fc.layers.BatchNormalization(),
    fc.layers.MaxPooling2D(2),
    fc.layers.Flatten(),
    fc.layers.Dropout(0.3),
    fc.layers.Dense(10, activation="softmax"),
])
model.compile(fc.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
"""
DIGEST = """
history = model.fit(x, y[:256], epochs=2, batch_size=48, verbose=0)
print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest())
"""
INTERRUPTED = """
class Ready(fc.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            print("ready", flush=True)
import json, logging, signal
logging.basicConfig()
history = model.fit(x, y[:256], epochs=100000, verbose=0, callbacks=[Ready()])
steps = model.optimizer.iterations
print(json.dumps({
    "epochs": len(history.epoch),
    "losses": len(history.history["loss"]),
    "consistent": bool(model._seed_and_step.value[1] == steps),
    "finite": bool(np.isfinite(model.predict(x[:4], verbose=0)).all()),
    "handler": signal.getsignal(2) is signal.default_int_handler,
}))
"""
FORKED = """
model.fit(x, y[:256], verbose=0)
expected = model.predict(x, verbose=0)
child = os.fork()
if child == 0:
    try:
        same = np.array_equal(model.predict(x, verbose=0), expected)
        model.fit(x, y[:256], verbose=0)
    except BaseException:
        os._exit(2)
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
MEMORY = """
import json, numpy as np, fastconv as fc
def peak():
    with open("/proc/self/status") as file:
        return next(int(l.split()[1]) * 1024 for l in file if l.startswith("VmHWM"))
def build(size, filters):
    model = fc.Sequential([
        fc.Input((size, size, 3)),
        fc.layers.Conv2D(filters, 3, padding="same", activation="relu"),
        fc.layers.Conv2D(filters, 3, padding="same", activation="relu"),
        fc.layers.BatchNormalization(),
        fc.layers.MaxPooling2D(2),
        fc.layers.Conv2D(filters, 3, padding="same", activation="relu"),
        fc.layers.GlobalAveragePooling2D(),
        fc.layers.Dense(10, activation="softmax"),
    ])
    optimizer = fc.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model
def step(model, size, batch):
    x = np.ones((batch, size, size, 3), np.float32)
    model.train_on_batch(x, np.zeros(batch, np.int64))
step(build(8, 4), 8, 2)
before = peak()
model = build(128, 32)
predicted = model.memory(batch_size=24)["total"]
step(model, 128, 24)
print(json.dumps([predicted, peak() - before]))
"""


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_same_bytes_for_any_number_of_threads_and_every_run():
    found = {run(TRAIN + DIGEST, OMP_NUM_THREADS=n) for n in ("1", "2", "2")}
    assert len(found) == 1


def start(code):
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_first_control_c_ends_the_training_in_order():
    child = start(TRAIN + INTERRUPTED)
    child.send_signal(signal.SIGINT)
    out, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    assert "stopped by Ctrl-C" in error
    found = json.loads(out.strip().splitlines()[-1])
    assert found.pop("epochs") == found.pop("losses") >= 1
    assert found == {"consistent": True, "finite": True, "handler": True}


def test_second_control_c_raises():
    endless = INTERRUPTED.replace(
        'print("ready", flush=True)',
        'print("ready", flush=True); import time; time.sleep(60)',
    )
    child = start(TRAIN + endless)
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.5)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=120)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in error


def test_fork_after_fit():
    assert run(TRAIN + FORKED) == "0"


def test_memory_is_as_predicted():
    predicted, measured = json.loads(run(MEMORY))
    assert predicted > 100e6
    assert measured == pytest.approx(predicted, rel=0.05)
