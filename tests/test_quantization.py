"""Models with integers instead of floats: what they compute, and that they last."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.errors import (
    ArgumentError,
    DataError,
    FormatError,
    ShapeError,
    UnknownNameError,
)
from fastconv.quantization.calibration import METHODS, ranges, scale_of
from fastconv.training import load_model, plan_report

RNG = np.random.default_rng(0)
INTEGER_OPS = {
    "quantize", "dequantize", "requantize", "quantized_conv", "quantized_average_pool",
    "max_pool", "concat", "reshape", "pad", "slice", "transpose",
}  # fmt: skip


def images(count, *shape):
    """Smooth random images, as convolutions find them in pictures."""
    x = RNG.standard_normal((count, *shape)).astype(np.float32)
    for axis in range(1, len(shape)):
        x = (x + np.roll(x, 1, axis)) / 2
    return x


def warmed(model):
    """The model with statistics as training leaves them."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                noise = RNG.uniform(0.5, 1.5, weight.shape).astype(np.float32)
                negative = "mean" in weight.name or "beta" in weight.name
                weight.assign(noise - 1 if negative else noise)
    return model


def residual():
    x = fc.Input((12, 12, 3))
    y = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    z = layers.Conv2D(16, 1, use_bias=False)(y)
    z = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(z))
    z = layers.DepthwiseConv2D(3, padding="same")(z)
    z = layers.BatchNormalization()(z)
    y = layers.ReLU()(layers.Add()([y, z]))
    return fc.Model(x, layers.Dense(5)(layers.GlobalAveragePooling2D()(y)))


def branches():
    x = fc.Input((12, 12, 3))
    y = layers.Conv2D(8, 3, activation="relu", padding="same")(x)
    a = layers.Conv2D(8, 1)(y)
    b = layers.MaxPooling2D(3, strides=1, padding="same")(y)
    c = layers.AveragePooling2D(3, strides=1, padding="same")(y)
    y = layers.ReLU()(layers.BatchNormalization()(layers.Concatenate()([a, b, c])))
    y = layers.ZeroPadding2D(1)(y)
    y = layers.Conv2D(8, 3, groups=2)(y)
    y = layers.Add()([y, a])
    y = layers.Conv2D(4, 2, strides=2)(y)
    return fc.Model(x, layers.Dense(3)(layers.Flatten()(y)))


def floats_between():
    x = fc.Input((12, 12, 3))
    y = layers.Conv2D(8, 3, activation="swish")(x)
    y = layers.Conv2DTranspose(8, 2, strides=2)(y)
    y = layers.Conv2D(4, 3, activation="sigmoid")(y)
    return fc.Model(x, layers.Softmax()(layers.Dense(3)(layers.Flatten()(y))))


def lines():
    return fc.Sequential([
        fc.Input((30, 4)), layers.Conv1D(8, 5, activation="relu"),
        layers.MaxPooling1D(2), layers.Flatten(), layers.Dense(6, activation="relu"),
        layers.Dense(2),
    ])  # fmt: skip


MODELS = {m.__name__: m for m in (residual, branches, floats_between, lines)}


@pytest.fixture(scope="module", params=MODELS)
def pair(request):
    """A model, its quantised form, and images that it was not calibrated with."""
    fc.random.set_seed(0)  # the same ones whichever tests run before
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    model = warmed(MODELS[request.param]())
    shape = model.input_shape[1:]
    return model, fc.quantize(model, images(64, *shape)), images(50, *shape)


def test_results_stay(pair):
    model, small, x = pair
    exact, found = (m.predict(x, verbose=0) for m in (model, small))
    assert found.dtype == np.float32
    error = np.sqrt(np.mean((exact - found) ** 2) / np.var(exact))
    assert error < 0.06, error


def steps(model, batch=2):
    return plan_report.plan(model, batch, training=False).report()


def test_only_bytes_in_memory():
    model = warmed(residual())
    small = fc.quantize(model, images(32, 12, 12, 3))
    found = steps(small)
    assert {step.op for step in found} <= INTEGER_OPS
    assert [s.op for s in found].count("quantize") == 1  # the images
    assert [s.op for s in found].count("dequantize") == 0  # the last product does it
    assert [s.op for s in found].count("requantize") == 0  # the sum is in a convolution
    floats, integers = (plan_report.plan(m, 8, training=False) for m in (model, small))
    assert integers.arena_bytes < 0.4 * floats.arena_bytes
    assert small.count_params() >= sum(w.size for w in model.trainable_weights) * 0.8


def test_a_sum_and_its_clip_are_one_step():
    x = fc.Input((8, 8, 4))
    a, b = (layers.Conv2D(6, 3, padding="same")(x) for _ in range(2))
    y = layers.ReLU()(layers.Add()([layers.MaxPooling2D(2)(t) for t in (a, b)]))
    model = fc.Model(x, layers.Conv2D(2, 1)(y))
    images_ = images(16, 8, 8, 4)
    small = fc.quantize(model, images_)
    assert [s.op for s in steps(small)].count("requantize") == 1
    exact, found = (m.predict(images_, verbose=0) for m in (model, small))
    np.testing.assert_allclose(found, exact, atol=0.05 * np.ptp(exact))


def test_labels_are_those_of_the_layers():
    model = warmed(residual())
    names = {layer.name for layer in model.layers}
    small = fc.quantize(model, images(8, 12, 12, 3))
    for step in steps(small):
        assert step.layer.split("/")[-1] in names or step.op == "quantize", step


def test_the_batch_and_the_threads_do_not_matter(pair, threads):
    _, small, x = pair
    whole = small.predict(x, batch_size=50, verbose=0)
    for size in (1, 7):
        again = small.predict(x, batch_size=size, verbose=0)
        assert again.tobytes() == whole.tobytes()
    threads(lambda: small.predict(x, verbose=0))


def test_the_cpu_gives_what_the_reference_gives(pair):
    _, small, x = pair
    found = fc.function(small, device="reference")(x[:2])
    np.testing.assert_allclose(small.predict(x[:2], verbose=0), found, atol=1e-5)


def test_save_and_load(pair, tmp_path):
    _, small, x = pair
    path = tmp_path / "small.safetensors"
    small.metadata["class_names"] = ["a", "b"]
    small.save(path)
    again = load_model(path)
    assert again.metadata == small.metadata
    expected = small.predict(x, verbose=0).tobytes()
    assert again.predict(x, verbose=0).tobytes() == expected
    assert copy.deepcopy(small).predict(x, verbose=0).tobytes() == expected
    assert {w.dtype for w in again.weights} >= {"int8", "int32", "float32"}


def test_weights_take_a_byte(tmp_path):
    model = fc.Sequential([fc.Input((8, 8, 64)), layers.Conv2D(256, 3)])
    small = fc.quantize(model, images(4, 8, 8, 64))
    for m, name in ((model, "model"), (small, "small")):
        m.save(tmp_path / name)
    sizes = [(tmp_path / name).stat().st_size for name in ("model", "small")]
    assert sizes[1] < 0.3 * sizes[0]


def test_new_weights_are_used_at_once():
    x = images(8, 30, 4)
    small = fc.quantize(lines(), x)
    kept, expected = small.get_weights(), small.predict(x, verbose=0)
    small.set_weights([np.zeros_like(w) for w in kept])
    assert not small.predict(x, verbose=0).any()
    small.set_weights(kept)
    np.testing.assert_array_equal(small.predict(x, verbose=0), expected)


def test_a_plan_of_a_quantised_model(pair, tmp_path):
    _, small, _ = pair
    small.export(tmp_path / "small.plan", batch_size=4)
    assert (tmp_path / "small.plan").stat().st_size > 100


@pytest.mark.parametrize("method", METHODS)
def test_methods(method):
    model = warmed(branches())
    small = fc.quantize(model, images(64, 12, 12, 3), method=method)
    x = images(20, 12, 12, 3)
    exact, found = (m.predict(x, verbose=0) for m in (model, small))
    assert np.sqrt(np.mean((exact - found) ** 2) / np.var(exact)) < 0.1


def test_evaluate_keeps_loss_and_metrics():
    model = lines()
    model.compile("sgd", fc.losses.MeanSquaredError(), metrics=["mae"])
    x, y = images(40, 30, 4), RNG.standard_normal((40, 2)).astype(np.float32)
    small = fc.quantize(model, x)
    before, after = (m.evaluate(x, y, verbose=0, return_dict=True)
                     for m in (model, small))  # fmt: skip
    assert before.keys() == after.keys()
    assert after["loss"] == pytest.approx(before["loss"], rel=0.05)


def test_accuracy_of_a_trained_network():
    (x, y), (x_test, y_test) = fc.datasets.digits.load_data()
    x, x_test = (v.astype(np.float32) / 255 for v in (x, x_test))
    fc.utils.set_random_seed(3)
    model = fc.Sequential([
        fc.Input(x.shape[1:]), layers.Conv2D(16, 5, strides=2, use_bias=False),
        layers.BatchNormalization(momentum=0.9), layers.ReLU(), layers.MaxPooling2D(2),
        layers.Conv2D(32, 3, activation="relu"), layers.Flatten(), layers.Dense(10),
    ])  # fmt: skip
    loss = fc.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(x, y, epochs=3, verbose=0, sanity=False)
    small = fc.quantize(model, x[:256])
    before, after = (m.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
                     for m in (model, small))  # fmt: skip
    assert before > 0.9
    assert abs(before - after) <= 0.01


def test_training_is_refused():
    small = fc.quantize(lines(), images(8, 30, 4))
    small.compile("sgd", "mse")
    with pytest.raises(ArgumentError, match="cannot be trained; train the model"):
        small.fit(images(8, 30, 4), np.zeros((8, 2)), verbose=0, sanity=False)


def test_a_class_of_the_user_and_open_sizes():
    class Own(fc.Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(6, 3, activation="relu")
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(fc.ops.mean(self.conv(x), axis=(1, 2)))

    model = Own()
    model.build((None, 9, 9, 1))
    data = images(16, 9, 9, 1)
    small, x = fc.quantize(model, data), data[:5]
    exact, found = (m.predict(x, verbose=0) for m in (model, small))
    np.testing.assert_allclose(found, exact, atol=0.05 * np.ptp(exact))
    anywhere = fc.Sequential([fc.Input((None, None, 1)), layers.Conv2D(3, 3)])
    assert fc.quantize(anywhere, x).output_shape == (None, 7, 7, 3)


def test_several_inputs_and_outputs():
    a, b = fc.Input((8, 8, 2), name="a"), fc.Input((8, 8, 2), name="b")
    conv = layers.Conv2D(4, 3, activation="relu")
    y = layers.Add()([conv(a), conv(b)])
    model = fc.Model([a, b], [layers.Conv2D(2, 1)(y), layers.Flatten()(y)])
    x = [images(6, 8, 8, 2), images(6, 8, 8, 2)]
    exact = model.predict(x, verbose=0)
    for data in (x, {"a": x[0], "b": x[1]}):
        found = fc.quantize(model, data).predict(x, verbose=0)
        for e, f in zip(exact, found, strict=True):
            np.testing.assert_allclose(f, e, atol=0.05 * np.ptp(e))


# Ranges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "zero"),
    [(0, 2.55, 0), (-1, 1.55, 100), (0.5, 2.55, 0), (-2.55, -1, 255), (0, 0, 0)],
)
def test_a_scale_hits_zero(low, high, zero):
    scale, found = scale_of((low, high))
    assert found == zero
    assert scale == pytest.approx(0.01 if high or low else 1.0)


def test_ranges_leave_outliers_out():
    x = RNG.standard_normal(200_000).astype(np.float32)
    x[0] = 40
    found = {m: ranges(lambda b: [b], np.split(x, 4), m)[0] for m in METHODS}
    assert found["minmax"] == (x.min(), x.max())
    assert found["percentile"][1] < 10
    assert 3 < found["mse"][1] < 35


def test_ranges_of_bad_data():
    with pytest.raises(DataError, match="received none"):
        ranges(lambda b: [b], [], "minmax")
    with pytest.raises(DataError, match="NaN or infinite"):
        ranges(lambda b: [b], [np.array([1, np.nan])], "minmax")


X = np.zeros((4, 30, 4), np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: fc.quantize(lines(), X, "best"), UnknownNameError, "minmax"),
        (lambda: fc.quantize("lines", X), ArgumentError, "expected a model"),
        (lambda: fc.quantize(fc.Sequential([layers.Dense(3)]), X), ArgumentError,
         "whose inputs are known"),
        (lambda: fc.quantize(lines(), X[..., :2]), ShapeError, "expected data"),
        (lambda: fc.quantize(lines(), X + np.float32("inf")), DataError, "infinite"),
        (lambda: fc.quantize(fc.Sequential([fc.Input((3,)), layers.ReLU()]),
                             np.zeros((2, 3))), ArgumentError, "no convolution"),
    ],
)  # fmt: skip
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p["nodes"].clear(),
        lambda p: p["nodes"][-1].update(op="no_op"),
        lambda p: p["nodes"][-1].update(reads=[[99, 0]]),
        lambda p: p["nodes"][-1].update(attrs={"struct": "Plan", "fields": {}}),
        lambda p: p.update(outputs=[[0, 7]]),
    ],
)
def test_damaged_programs(damage):
    small = fc.quantize(lines(), images(8, 30, 4))
    data = json.loads(small.to_json())
    config = next(c for c in configs(data) if "program" in c)
    damage(config["program"])
    with pytest.raises(FormatError):
        fc.training.model_from_json(json.dumps(data))


def configs(value):
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from configs(item)
    elif isinstance(value, list):
        for item in value:
            yield from configs(item)


# ONNX ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_onnx_runtime_computes_the_same(pair, tmp_path, data_format):
    ort = pytest.importorskip("onnxruntime")
    _, small, x = pair
    path = tmp_path / "small.onnx"
    small.export(path, data_format=data_format)
    providers = ["CPUExecutionProvider"]
    session = ort.InferenceSession(path.read_bytes(), providers=providers)
    first = data_format == "channels_first"
    given = np.moveaxis(x, -1, 1) if first else x
    (found,) = session.run(None, {session.get_inputs()[0].name: given})
    expected = small.predict(x, verbose=0)
    error = np.abs(found - expected)
    assert np.median(error) < 1e-3 * np.ptp(expected)
    assert error.max() < 0.05 * np.ptp(expected)


def test_onnx_holds_bytes(tmp_path):
    onnx = pytest.importorskip("onnx")
    small = fc.quantize(warmed(residual()), images(8, 12, 12, 3))
    small.export(tmp_path / "small.onnx")
    model = onnx.load(tmp_path / "small.onnx")
    onnx.checker.check_model(model, full_check=True)
    ops = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= ops
    kernels = [t for t in model.graph.initializer if len(t.dims) >= 3]
    assert {t.data_type for t in kernels} == {onnx.TensorProto.INT8}
