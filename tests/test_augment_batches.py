"""Augmentation of data sets and in models: repeatable, and where it belongs."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv as fc
from fastconv import _core, data, layers
from fastconv.data.augmented import Pipeline
from fastconv.errors import ArgumentError, DataError, ShapeError
from layer_cases import AUGMENTATION
from test_augment_geometry import images

STEPS = [
    lambda: layers.RandomCrop(8, 9, padding=2), lambda: layers.RandomFlip("horizontal"),
    lambda: layers.RandomRotation(0.1), lambda: layers.RandomColorJitter(
        (0, 255), 0.2, 0.2, (0.3, 0.7), 0.2),
    lambda: layers.RandomGaussianBlur(0.8), lambda: layers.RandomGaussianNoise(9.0),
    layers.RandomErasing, lambda: layers.RandAugment(factor=0.7),
]  # fmt: skip


def everything():
    return [make() for make in STEPS]


def by_sample(batches, epoch=0, **kwargs):
    """The images of an epoch by their label, which is their number."""
    return {
        int(label): image
        for x, y, _ in batches.batches(epoch, **kwargs)
        for image, label in zip(x, y, strict=True)
    }


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_image_follows_from_seed_epoch_and_sample(dtype):
    x, y = images(23, 8, 9, 3, dtype=dtype), np.arange(23)
    if dtype == "float32":
        x = x * 50 + 100
    first = by_sample(data.augment((x, y), everything(), 23, False, seed=4), 2)
    for size, shuffle in ((1, True), (5, True), (7, False), (23, True)):
        other = data.augment((x, y), everything(), size, shuffle, seed=4)
        found = by_sample(other, 2)
        assert all(np.array_equal(first[i], found[i]) for i in range(23))
    batches = data.augment((x, y), everything(), 5, seed=4)
    assert not np.array_equal(by_sample(batches, 1)[0], first[0])
    again = by_sample(data.augment((x, y), everything(), 5, seed=5), 2)
    assert sum(np.array_equal(first[i], again[i]) for i in range(23)) < 3
    late = by_sample(batches, 2, start=3)
    assert len(late) == 8
    assert all(np.array_equal(first[i], image) for i, image in late.items())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_number_of_threads(dtype):
    x = (images(300, 8, 9, 3, dtype="uint8") * 1e-3).astype(dtype)
    if dtype == "float32":
        x *= np.float32(1e-38)  # half of the values are too small for normal numbers
    results = []
    try:
        for threads in (1, 2, 3):
            _core.set_thread_count(threads)
            moved = Pipeline([layers.RandomRotation(0.1), layers.RandomZoom(0.3)])(x)
            results.append((moved, Pipeline(everything())(x)))
    finally:
        _core.set_thread_count(0)
    for one, other in zip(results[0], results[1], strict=True):
        assert one.tobytes() == other.tobytes()
    for one, other in zip(results[0], results[2], strict=True):
        assert one.tobytes() == other.tobytes()


def test_several_python_threads_at_once():
    x = images(64, 8, 9, 3, dtype="uint8")
    pipeline = Pipeline(everything())
    expected = [pipeline(x, epoch=e) for e in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda e: pipeline(x, epoch=e), range(8)))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_large_numbers_are_told_apart():
    x = np.tile(images(1, 9, 9, 1), (4, 1, 1, 1))
    noise = Pipeline([layers.RandomGaussianNoise(1.0)])
    y = noise(x, [1, 1 + (1 << 32), 2, 1 << 40])
    assert len(np.unique(y.reshape(4, -1), axis=0)) == 4
    streams = [noise(x[:1], stream=s) for s in (0, 1, 2)]
    assert len(np.unique(np.concatenate(streams), axis=0)) == 3


def test_batches_of_others():
    """Any source of batches: rows are told apart by batch and place."""
    x = np.tile(images(1, 6, 6, 1), (8, 1, 1, 1))

    class Source:
        def __iter__(self):
            return iter([(x[:5], np.arange(5)), (x[5:], np.arange(3))])

    batches = data.augment(Source(), [layers.RandomGaussianNoise(1.0)], seed=1)
    assert batches.num_samples is None
    first, second = ([b[0] for b in batches.batches(0)] for _ in range(2))
    assert [len(b) for b in first] == [5, 3]
    joined = np.concatenate(first)
    np.testing.assert_array_equal(joined, np.concatenate(second))
    assert len(np.unique(joined.reshape(8, -1), axis=0)) == 8
    [(late, _, _)] = batches.batches(0, start=1)
    np.testing.assert_array_equal(late, first[1])


def test_choices_are_equally_likely():
    """RandAugment at its weakest, told apart by what each of its steps does."""
    steps = layers.RandAugment((0, 1), num_ops=1, factor=1.0).steps()
    assert steps[0].size == [14, 1]
    x = np.clip(images(1, 20, 31, 3) * 0.1 + 0.4, 0.2, 0.7)
    results = {}
    for number, step in enumerate(steps[1:]):
        made = Pipeline([_Native([step])])(np.tile(x, (40, 1, 1, 1)))
        for image in np.unique(made, axis=0):
            results.setdefault(image.tobytes(), number)
    found = Pipeline([layers.RandAugment((0, 1), 1, 1.0)])(np.tile(x, (4200, 1, 1, 1)))
    counts = Counter(results[image.tobytes()] for image in found)
    assert len(counts) == 14
    assert all(abs(n - 300) < 5 * 300**0.5 for n in counts.values()), counts


def test_number_of_choices():
    x = images(3, 5, 5, 3)
    none = Pipeline([layers.RandAugment(num_ops=0), layers.RandomFlip("vertical")])
    flip = Pipeline([_Native([_core.AugmentStep(_core.AugmentKind.identity)] * 15),
                     layers.RandomFlip("vertical")])  # fmt: skip
    np.testing.assert_array_equal(none(x), flip(x))


class _Native:
    def __init__(self, steps):
        self.given = steps

    def augment_steps(self, training=True):
        return self.given


def one_hot(n, classes=5):
    return data.to_categorical(np.arange(n) % classes, classes)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_mixup(dtype):
    x, y = images(40, 5, 6, 3, dtype=dtype), np.eye(40, dtype=np.float32)
    batches = data.augment((x, y), [layers.MixUp(1.0)], 40, shuffle=False, seed=2)
    [(mixed, labels, _)] = batches.batches(0)
    assert mixed.dtype == x.dtype
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
    assert (np.count_nonzero(labels, axis=1) <= 2).all()
    expected = np.tensordot(labels.astype(np.float64), x.astype(np.float64), 1)
    atol = 0.5001 if dtype == "uint8" else 1e-5
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=atol)
    assert 0.3 < np.diag(labels).mean() < 0.7
    [(again, _, _)] = batches.batches(0)
    [(other, _, _)] = batches.batches(1)
    np.testing.assert_array_equal(mixed, again)
    assert not np.array_equal(mixed, other)


@pytest.mark.parametrize("size", [(1, 1, 1), (8, 8, 3), (5, 12, 1)])
def test_cutmix(size):
    x = np.zeros((50, *size), np.uint8)
    x += np.arange(50, dtype=np.uint8)[:, None, None, None]  # an image is its number
    y = np.eye(50, dtype=np.float32)
    batches = data.augment((x, y), layers.CutMix(), 50, shuffle=False)
    [(mixed, labels, _)] = batches.batches(0)
    places = set()
    for i in range(50):
        shares = np.bincount(mixed[i].ravel(), minlength=50) / mixed[i].size
        np.testing.assert_allclose(labels[i], shares, atol=1e-6)
        rows, columns, _ = np.nonzero(mixed[i] != i)
        if len(rows):
            box = mixed[
                i, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
            ]
            assert (box != i).all()
            places.add((rows.min(), columns.min()))
    assert len(places) > 5 or size == (1, 1, 1)


def test_mixing_is_last_and_needs_shares():
    x = images(4, 5, 5, 1)
    with pytest.raises(ArgumentError, match="mixing steps last"):
        data.augment(x, [layers.MixUp(), layers.RandomFlip()])
    with pytest.raises(DataError, match="to_categorical"):
        next(data.augment((x, np.arange(4)), [layers.MixUp()]).batches())
    with pytest.raises(DataError, match="received none"):
        next(data.augment(x, [layers.CutMix()]).batches())
    with pytest.raises(ArgumentError, match="above 0"):
        layers.MixUp(0.0)
    calm = data.augment((x, np.arange(4)), [layers.MixUp()], training=False)
    [(same, _, _)] = calm.batches()
    np.testing.assert_array_equal(same, x)


def test_bad_data():
    flip = [layers.RandomFlip()]
    with pytest.raises(ArgumentError, match="one array of images"):
        next(data.augment([np.zeros((2, 3, 3, 1))] * 2, flip).batches())
    with pytest.raises(ArgumentError, match="tuple of 4"):
        data.augment((1, 2, 3, 4), flip)
    with pytest.raises(ArgumentError, match="seed"):
        data.augment(np.zeros((2, 3, 3, 1)), flip, seed=-1)
    with pytest.raises(ShapeError, match="H, W, C"):
        next(data.augment(np.zeros((2, 3)), flip).batches())


# In models


def network(*first):
    fc.random.set_seed(3)
    model = fc.Sequential([
        fc.Input((8, 8, 1)), *first, layers.Flatten(), layers.Dropout(0.2),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    model.compile(fc.optimizers.SGD(0.05), "categorical_crossentropy")
    return model


def stripes(n=96):
    """Vertical stripes, whose class says how wide they are: a flip keeps it."""
    columns = np.arange(8)
    kinds = np.stack([columns % 2, columns // 2 % 2, columns // 4 % 2])
    y = np.arange(n) % 3
    x = np.broadcast_to(kinds[y][:, None, :, None], (n, 8, 8, 1)).astype(np.float32)
    return x + 0.1 * images(n, 8, 8, 1), data.to_categorical(y, 3)


def trained(way, threads):
    x, y = stripes()
    steps = [layers.RandomTranslation(0.2, 0.0), layers.RandomGaussianNoise(0.1)]
    model = network(*(steps if way == "layers" else ()))
    _core.set_thread_count(threads)
    try:
        if way == "data":
            model.fit(data.augment((x, y), steps, 16), epochs=15, verbose=0)
        else:
            more = {"augment": steps} if way == "fit" else {}
            model.fit(x, y, 16, epochs=15, verbose=0, **more)
    finally:
        _core.set_thread_count(0)
    return model


@pytest.mark.parametrize("way", ["layers", "fit", "data"])
def test_training_repeats_and_learns(way):
    model, other = (trained(way, threads) for threads in (1, 2))
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        assert one.tobytes() == two.tobytes()
    x, y = stripes()
    accuracy = (model.predict(x, verbose=0).argmax(1) == y.argmax(1)).mean()
    assert accuracy > 0.9


def test_layers_change_images_in_training_alone(tmp_path):
    model = network(
        layers.RandomBrightness(0.5, (0, 1)), layers.RandomCrop(8, 8, padding=2)
    )
    x, y = stripes(12)
    plain = network()
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), plain.predict(x, verbose=0)
    )
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "model.fastconv")
    copy = fc.load_model(tmp_path / "model.fastconv")
    np.testing.assert_array_equal(
        copy.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    model.fit(x, y, epochs=1, verbose=0)
    copy.fit(x, y, epochs=1, verbose=0)
    for a, b in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_on_arrays():
    x = images(20, 6, 6, 3)
    layer = layers.RandomFlip("horizontal", seed=1)
    first, second = layer(x), layer(x)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer(x, training=False), x)
    turned = layers.RandomZoom((0.5, 0.5), data_format="channels_first")(
        np.moveaxis(x, 3, 1)
    )
    straight = layers.RandomZoom((0.5, 0.5))(x)
    np.testing.assert_array_equal(np.moveaxis(turned, 1, 3), straight)
    assert layer(images(2, 3, 3, 1, dtype="uint8")).dtype == np.float32


@pytest.mark.parametrize("case", AUGMENTATION, ids=str)
def test_a_copy_by_its_config_does_the_same(case):
    x = images(9, *case.input) * 40 + 120
    layer = case.make()
    copy = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    y = Pipeline([layer])(x)
    np.testing.assert_array_equal(Pipeline([copy])(x), y)
    assert y.shape[1:] != x.shape[1:] or not np.array_equal(x, y)


def test_functional_model_and_two_layers_of_a_kind():
    inputs = fc.Input((6, 6, 1))
    noise = [layers.RandomGaussianNoise(1.0) for _ in range(2)]
    model = fc.Model(inputs, [layer(inputs) for layer in noise])
    a, b = model(np.zeros((2, 6, 6, 1), np.float32), training=True)
    assert not np.array_equal(a, b)


def test_fit_refuses_what_evaluation_would_miss():
    x, y = stripes(6)
    with pytest.raises(ArgumentError, match=r"Rescaling.*put it into the model"):
        network().fit(x, y, augment=[layers.Rescaling(0.5)], verbose=0)


@pytest.mark.parametrize("source", ["arrays", "batches"])
def test_fit_refuses_another_size_than_that_of_evaluation(source):
    x, y = stripes(6)
    size = x.shape[1] - 2
    model = fc.Sequential([layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    given = (x, y) if source == "arrays" else (iter([(x, y)]),)
    with pytest.raises(ArgumentError, match=r"keep the size .* put the crop into the"):
        model.fit(*given, augment=layers.RandomCrop(size, size), verbose=0)
    assert model.optimizer.iterations == 0
    same = layers.RandomCrop(x.shape[1], x.shape[2], padding=2)
    network().fit(x, y, augment=same, verbose=0)


def test_a_spread_is_of_changed_samples_at_equal_distances():
    x, y = images(10, 4, 4, 1), np.arange(10)
    changed = data.augment((x, y), layers.Rescaling(2.0), batch_size=3)
    found, labels, _ = changed.spread(4)
    np.testing.assert_array_equal(labels, [0, 2, 5, 7])
    np.testing.assert_allclose(found, 2 * x[labels], rtol=1e-6)
    np.testing.assert_array_equal(changed.parts[0], x)
    assert data.augment(iter([(x, y)]), layers.RandomFlip()).parts is None


def test_mixing_in_a_call_without_training():
    x, y = images(3, 4, 4, 1), one_hot(3)
    same = layers.CutMix()({"images": x, "labels": y}, training=False)
    np.testing.assert_array_equal(same["images"], x)
    with pytest.raises(ArgumentError, match="dict of images and labels"):
        layers.CutMix()(x)


# ImageDataGenerator


def generator(**arguments):
    return fc.preprocessing.image.ImageDataGenerator(**arguments)


def test_generator_is_its_layers():
    x, y = images(10, 9, 8, 3, dtype="uint8"), np.arange(10)
    made = generator(rotation_range=36, width_shift_range=0.1, horizontal_flip=True,
                     zoom_range=[0.8, 1.3], fill_mode="reflect",
                     rescale=0.5)  # fmt: skip
    steps = [
        layers.RandomRotation(0.1), layers.RandomTranslation(0.0, 0.1),
        layers.RandomZoom((-0.2, 0.3), (-0.2, 0.3)), layers.RandomFlip("horizontal"),
        layers.Rescaling(0.5),
    ]  # fmt: skip
    flow = made.flow(x, y, batch_size=4, seed=7)
    expected = data.augment((x, y), steps, 4, seed=7)
    for epoch in range(2):
        for images_, labels, _ in expected.batches(epoch):
            found, numbers = next(flow)
            np.testing.assert_allclose(found, images_, rtol=1e-6, atol=1e-4)
            np.testing.assert_array_equal(numbers, labels)


def test_generator_statistics_and_subsets():
    x = images(10, 4, 4, 3) * 3 + 7
    made = generator(featurewise_center=True, featurewise_std_normalization=True,
                     validation_split=0.3)  # fmt: skip
    with pytest.raises(ArgumentError, match=r"call fit\(x\)"):
        made.flow(x)
    made.fit(x)
    y = next(made.flow(x, batch_size=10))
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-5)
    parts = [made.flow(x, shuffle=False, subset=s) for s in ("training", "validation")]
    assert [p.num_samples for p in parts] == [7, 3]
    with pytest.raises(ArgumentError, match="subset"):
        generator().flow(x, subset="validation")
    with pytest.raises(ArgumentError, match="zoom_range"):
        generator(zoom_range=(1, 2, 3))


def test_generator_brightness():
    x = np.full((20, 2, 2, 1), 100, np.uint8)
    y = next(generator(brightness_range=(0.5, 1.5)).flow(x, batch_size=20))
    assert 50 <= y.min() < 80
    assert 120 < y.max() <= 150


def test_generator_trains():
    x, y = stripes()
    model = network()
    flow = generator(height_shift_range=0.2).flow(x, y, batch_size=16)
    with pytest.warns(DeprecationWarning, match="fit_generator"):
        history = model.fit_generator(flow, steps_per_epoch=4, epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3


def test_generator_reads_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for kind, value in (("cat", 10), ("dog", 200)):
        (tmp_path / kind).mkdir()
        for i in range(3):
            pixels = np.full((6, 5, 3), value, np.uint8)
            image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    made = generator(rescale=0.1, horizontal_flip=True)
    flow = made.flow_from_directory(tmp_path, (4, 4), class_mode="binary", batch_size=6)
    assert flow.class_indices == {"cat": 0, "dog": 1}
    x, y = next(flow)
    np.testing.assert_allclose(
        x, np.where(y, 20.0, 1.0)[..., None, None] + 0 * x, rtol=1e-5
    )
    with pytest.raises(ArgumentError, match="class_mode"):
        made.flow_from_directory(tmp_path, class_mode="int")
