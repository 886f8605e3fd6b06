"""ONNX files as models: trained, saved, exported again."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.errors import FormatError
from fastconv.weights.onnx import proto
from fastconv.weights.onnx.tensors import from_array
from fastconv.weights.onnx.wire import encode
from onnx_files import difference, message, node, value, write

RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.normal(size=shape).astype("f4")


NORM = {"n.weight": f(4), "n.bias": f(4), "n.running_mean": f(4),
        "n.running_var": np.abs(f(4)) + 0.5}  # fmt: skip
ARRAYS = {"c.weight": f(4, 3, 3, 3), **NORM, "scale": f(4, 1, 1), "fc.weight": f(2, 4),
          "fc.bias": f(2)}  # fmt: skip
NODES = [
    node("Conv", "x c.weight", "a", pads=[1, 1, 1, 1]),
    node("BatchNormalization", "a n.weight n.bias n.running_mean n.running_var", "b"),
    node("Mul", "b scale", "s"),
    node("Relu", "s", "r"),
    node("GlobalAveragePool", "r", "g"),
    node("Flatten", "g", "h"),
    node("Dropout", "h", "d"),
    node("Gemm", "d fc.weight fc.bias", "y", transB=1),
]


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "net.onnx", NODES, (1, 3, 8, 8), ARRAYS)


def test_layers_and_names(path):
    model = fc.onnx.load(path)
    kinds = {layer.name: type(layer) for layer in model.layers}
    assert kinds["c"] is layers.Conv2D
    assert kinds["n"] is layers.BatchNormalization
    assert kinds["fc"] is layers.Dense
    assert layers.Dropout in kinds.values()
    assert model.input_shape == (None, 8, 8, 3)
    mean = model.get_layer("n").moving_mean.value
    np.testing.assert_array_equal(mean, NORM["n.running_mean"])
    assert [w.name for w in model.trainable_weights] == [
        "c/kernel", "n/gamma", "n/beta", "scale/weight", "fc/kernel", "fc/bias",
    ]  # fmt: skip


def test_fine_tuning_and_export_again(path, tmp_path):
    model = fc.onnx.load(path)
    x = f(32, 8, 8, 3)
    labels = np.arange(32) % 2
    x[1::2, :, :, 0] += 3
    before = {w.name: w.numpy() for w in model.weights}
    model.compile(
        "adam", fc.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.optimizer.learning_rate = 0.1
    loss = model.evaluate(x, labels, verbose=0)[0]
    model.fit(x, labels, epochs=40, verbose=0)
    assert model.evaluate(x, labels, verbose=0)[0] < 0.5 * loss
    assert all((before[w.name] != w.value).any() for w in model.weights)
    model.export(tmp_path / "again.onnx")
    again = fc.onnx.load(tmp_path / "again.onnx")
    y = model.predict(x, verbose=0)
    assert difference(again.predict(x, verbose=0), y) < 1e-5
    assert [layer.name for layer in again.layers if layer.weights] == [
        layer.name for layer in model.layers if layer.weights
    ]


def test_saved_and_loaded(path, tmp_path):
    model = fc.load(path)
    model.save(tmp_path / "model.safetensors")
    again = fc.load_model(tmp_path / "model.safetensors")
    x = f(2, 8, 8, 3)
    np.testing.assert_array_equal(
        again.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def test_load_knows_the_file_without_its_suffix(path):
    other = path.rename(path.with_suffix(".bin"))
    assert fc.load(other).input_shape == (None, 8, 8, 3)


def test_load_weights_by_name(path):
    model = fc.Sequential([
        fc.Input((8, 8, 3)),
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="c"),
        layers.BatchNormalization(name="n"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2, name="fc"),
    ])  # fmt: skip
    with pytest.raises(FormatError, match="'scale' is not in the model"):
        model.load_weights(path)
    model.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(
        model.get_layer("c").kernel.value, ARRAYS["c.weight"].transpose(2, 3, 1, 0)
    )


def test_channels_last_files_stay_so(tmp_path):
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
        node("Conv", "a w", "b"),
        node("Transpose", "b", "y", perm=[0, 2, 3, 1]),
    ]
    path = write(tmp_path / "a.onnx", nodes, (0, 8, 9, 3), {"w": f(4, 3, 3, 3)})
    model = fc.onnx.load(path)
    assert model.input_shape == (None, 8, 9, 3)
    assert model.output_shape == (None, 6, 7, 4)
    assert len(model.layers) == 1


def test_open_sizes_are_given(tmp_path):
    nodes = [node("Shape", "x", "s"), node("Conv", "x w", "a"),
             node("Resize", "a - f", "b"), node("Flatten", "b", "y")]  # fmt: skip
    arrays = {"w": f(2, 3, 3, 3), "f": np.array([1, 1, 2, 2], "f4")}
    path = write(tmp_path / "a.onnx", nodes[1:], (0, 3, 0, 0), arrays)
    with pytest.raises(FormatError, match="input_shape"):
        fc.onnx.load(path)
    assert fc.onnx.load(path, input_shape=(6, 5, 3)).output_shape == (None, 2 * 8 * 6)


def test_constants_are_not_trained(tmp_path):
    nodes = [node("Constant", "", "mean", value=f(3, 1, 1)), node("Sub", "x mean", "a"),
             node("Mul", "a w", "y")]  # fmt: skip
    path = write(tmp_path / "a.onnx", nodes, arrays={"w": f(3, 1, 1)})
    assert [w.shape for w in fc.onnx.load(path).weights] == [(3,)]


def test_halves_and_doubles_become_float32(tmp_path):
    arrays = {"a": f(3, 1, 1).astype("f2"), "b": f(3, 1, 1).astype("f8")}
    nodes = [node("Add", "x a", "c"), node("Cast", "c", "d", to=11),
             node("Mul", "d b", "y")]  # fmt: skip
    model = fc.onnx.load(write(tmp_path / "a.onnx", nodes, arrays=arrays))
    assert {w.dtype for w in model.weights} == {"float32"}
    assert model.predict(f(1, 8, 8, 3), verbose=0).dtype == np.float32


def test_arrays_of_another_file(tmp_path):
    kernel = f(4, 3, 3, 3)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(16) + kernel.tobytes())
    tensor = from_array(kernel, "w")
    tensor.raw_data, tensor.data_location = b"", 1
    said = {"location": "data/w.bin", "offset": "16", "length": str(kernel.nbytes)}
    tensor.external_data = [proto.Entry(key=k, value=v) for k, v in said.items()]
    path = write(tmp_path / "a.onnx", [node("Conv", "x w", "y")], arrays={"w": tensor})
    np.testing.assert_array_equal(
        fc.onnx.load(path).weights[0].value, kernel.transpose(2, 3, 1, 0)
    )


def test_numbers_one_by_one(tmp_path):
    dims = [3, 1, 1]
    floats = proto.Tensor(name="w", data_type=1, dims=dims, float_data=[1.0, 2.0, 3.0])
    halves = proto.Tensor(
        name="v", data_type=10, dims=dims,
        int32_data=np.array([1, 2, 3], "f2").view("u2").tolist(),
    )  # fmt: skip
    nodes = [node("Mul", "x w", "a"), node("Add", "a v", "y")]
    path = write(tmp_path / "a.onnx", nodes, arrays={"w": floats, "v": halves})
    y = fc.onnx.load(path).predict(np.ones((1, 8, 8, 3), "f4"), verbose=0)
    np.testing.assert_array_equal(y[0, 0, 0], [2, 4, 6])


def test_unsupported_operators_are_all_listed(tmp_path):
    nodes = [node("LSTM", "x", "a", "first"), node("NonZero", "a", "b"),
             node("Own", "b", "c", domain="com.x"),
             node("LSTM", "c", "y", "second")]  # fmt: skip
    path = write(tmp_path / "a.onnx", nodes)
    listed = r"LSTM \(node first, second\).*NonZero \(node 1\).*com.x.Own"
    with pytest.raises(FormatError, match=listed):
        fc.onnx.load(path)


def test_several_inputs(tmp_path):
    made = message([node("Add", "x z", "y")], (0, 4))
    made.graph.input.append(value("z", (0, 4)))
    path = tmp_path / "a.onnx"
    path.write_bytes(encode(made))
    model = fc.onnx.load(path)
    y = model.predict([np.ones((2, 4), "f4"), np.ones((2, 4), "f4")], verbose=0)
    np.testing.assert_array_equal(y, np.full((2, 4), 2.0))


def test_names_of_weights_that_have_only_numbers(tmp_path):
    """PyTorch's folded and shared weights: the path of the node tells the layer."""
    paths = ["/layer1/layer1.0/conv1/Conv", "/a/a.1/down/down.0/Conv", "Conv_7"]
    nodes = [node("Conv", f"{'xab'[i]} onnx::Conv_12", "aby"[i], name)
             for i, name in enumerate(paths)]  # fmt: skip
    arrays = {"onnx::Conv_12": f(3, 3, 1, 1)}
    model = fc.onnx.load(write(tmp_path / "a.onnx", nodes, arrays=arrays))
    names = ["layer1.0.conv1", "a.1.down.0", "Conv_7"]
    assert [layer.name for layer in model.layers] == names
