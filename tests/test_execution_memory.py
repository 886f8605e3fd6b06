"""What the process takes while plans run: counts of page faults, and bytes."""

import gc
import resource
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, ops

STATM = Path("/proc/self/statm")

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="needs Linux's /proc")


def faults():
    """Page faults of this process that needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident():
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def test_a_steady_step_meets_no_page_fault():
    conv = {"padding": "same", "activation": "relu"}
    model = fc.Sequential([
        fc.Input((64, 64, 3)), layers.Conv2D(16, 3, **conv),
        layers.BatchNormalization(), layers.MaxPooling2D(2),
        layers.Conv2D(32, 3, **conv), layers.Dropout(0.1),
        layers.GlobalAveragePooling2D(), layers.Dense(10, "softmax"),
    ])  # fmt: skip
    optimizer = fc.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    x, y = np.zeros((16, 64, 64, 3), np.float32), np.zeros(16, int)
    assert model.memory(16)["arena"] > 4 << 20  # a thousand pages
    for _ in range(5):
        model.train_on_batch(x, y)
    before = faults()
    for _ in range(20):
        model.train_on_batch(x, y)
    assert faults() - before < 20  # what Python itself may take now and then


def test_a_thousand_sizes_take_little_memory():
    weights = np.ones((3, 3, 3, 8), np.float32)

    @fc.function
    def gradient(x):
        y = ops.max_pool(ops.relu(ops.conv(x, weights, padding="same")), 2)
        return fc.grad(ops.sum(ops.square(y)), x)

    rng = np.random.default_rng(6)
    sizes = rng.integers(8, 64, (1000, 2))
    gradient(np.ones((1, 64, 64, 3), np.float32))
    for height, width in sizes[:50]:
        gradient(np.ones((1, height, width, 3), np.float32))
    before = resident()
    for height, width in sizes:
        gradient(np.ones((1, height, width, 3), np.float32))
    assert resident() - before < 50e6
