"""Models as ONNX files: what stands in them, what they compute, and what is refused."""

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.errors import ArgumentError, UnknownNameError
from fastconv.weights.onnx import reading
from onnx_files import difference, first, last, runtime

RNG = np.random.default_rng(0)


def small(name):
    """A network of the zoo at a small size, with statistics as after a training."""
    make = getattr(fc.models, name)
    size = {
        "GoogLeNet": 64, "SqueezeNet1_1": 64, "MobileNetV2": 32, "AlexNet": 67,
        "NASNetMobile": 32, "VGG11BN": 32, "InceptionV3": 75, "Xception": 71,
    }.get(name)  # fmt: skip
    if size:
        model = make(
            weights=None, input_shape=(size, size, 3), classes=5,
            classifier_activation=None,
        )  # fmt: skip
    else:
        model = make()
    return settle(model)


def settle(model):
    for weight in model.weights:
        low = 0.5 if weight.name.endswith("variance") else -0.1
        if weight.name.endswith(("bias", "beta", "mean", "variance")):
            weight.assign(RNG.uniform(low, low + 0.6, weight.shape).astype("f4"))
    return model


def images(model, count=2):
    return RNG.normal(size=(count, *model.input_shape[1:])).astype("f4")


SHOWN = ("LeNet5", "MLP", "SmallNet", "ResNet20", "GoogLeNet", "MobileNetV2",
         "SqueezeNet1_1", "AlexNet")  # fmt: skip


@pytest.fixture(scope="module", params=SHOWN)
def exported(request, tmp_path_factory):
    model = small(request.param)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model.export(path)
    return model, path


def test_of_the_zoo_and_back(exported):
    model, path = exported
    again = fc.onnx.load(path)
    x = images(model)
    y = model.predict(x, verbose=0)
    assert difference(again.predict(x, verbose=0), y) < 1e-5
    assert again.count_params() == model.count_params()
    assert again.metadata.items() <= model.metadata.items()
    assert again.metadata["network"] == model.metadata["network"]
    assert [w.size for w in again.trainable_weights] == [
        w.size for w in model.trainable_weights
    ]


def test_of_the_zoo_without_transposes(exported):
    """Layouts meet at the borders only."""
    contents = reading.read(exported[1])
    assert not [n for n in contents.graph.node if n.op_type == "Transpose"]


def test_of_the_zoo_in_onnx_runtime(exported):
    model, path = exported
    x = images(model, 3)
    assert difference(runtime(path, first(x)), model.predict(x, verbose=0)) < 1e-4


def test_of_the_zoo_is_valid(exported):
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(str(exported[1]), full_check=True)


def test_weights_have_the_names_and_shapes_of_a_state_dict(tmp_path):
    model = small("VGG11BN")
    model.export(tmp_path / "a.onnx")
    model.save_weights(tmp_path / "a.safetensors", naming="torchvision")
    found = reading.read(tmp_path / "a.onnx").arrays
    from safetensors.numpy import load_file

    expected = load_file(tmp_path / "a.safetensors")
    assert {k for k, v in found.items() if v.dtype.kind == "f"} == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    other = small("VGG11BN")
    other.load_weights(tmp_path / "a.onnx")
    x = images(model)
    np.testing.assert_array_equal(
        other.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def test_weights_argument_takes_a_file(tmp_path):
    model = small("MobileNetV2")
    model.export(tmp_path / "a.onnx")
    other = fc.models.MobileNetV2(
        weights=tmp_path / "a.onnx", input_shape=(32, 32, 3), classes=5,
        classifier_activation=None,
    )  # fmt: skip
    x = images(model)
    np.testing.assert_array_equal(
        other.predict(x, verbose=0), model.predict(x, verbose=0)
    )


# Layers beyond the zoo


def branches():
    """Many kinds of layers, in one network."""
    x = fc.Input((8, 8, 6))
    a = layers.Conv2D(8, 3, padding="same", activation="silu")(x)
    a = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(a)
    a = layers.GroupNormalization(4)(a)
    a = layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="gelu")(a)
    a = layers.LayerNormalization()(a)
    a = layers.AveragePooling2D(2)(layers.LeakyReLU()(a))
    b = layers.UpSampling2D(2, interpolation="bilinear")(x)
    b = layers.ZeroPadding2D(((1, 0), (0, 2)))(layers.MaxPooling2D(2)(b))
    b = layers.Cropping2D(((0, 1), (1, 1)))(layers.LocalResponseNormalization()(b))
    gate = layers.GlobalMaxPooling2D(keepdims=True)(b)
    b = layers.Multiply()([b, layers.Dense(6, activation="hard_sigmoid")(gate)])
    y = layers.Concatenate()([a, b, layers.SeparableConv2D(4, 3, padding="same")(x)])
    y = fc.ops.concatenate([fc.ops.max(y, (1, 2)), fc.ops.mean(y, (1, 2))])
    y = layers.Dropout(0.5)(layers.Dense(7, activation="elu")(y))
    return fc.Model(x, layers.Dense(3, activation="softmax")(y))


def sequences():
    x = fc.Input((12, 4))
    y = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu6")(x)
    y = layers.MaxPooling1D(2)(layers.UpSampling1D(2)(y))
    y = fc.ops.matmul(fc.ops.softmax(fc.ops.matmul(y, y, transpose_b=True)), y)
    y = layers.Reshape((6, 12))(y + layers.Dense(6)(y) ** 2)
    y = fc.ops.where(fc.ops.greater(y, 0.1), fc.ops.sqrt(fc.ops.abs(y)), -y[:, ::-1])
    return fc.Model(x, layers.Flatten()(layers.Permute((2, 1))(y)))


def volumes():
    x = fc.Input((4, 5, 6, 2))
    y = layers.Conv3D(4, 2, activation="tanh")(x)
    y = layers.BatchNormalization()(layers.Conv3DTranspose(3, 2)(y))
    return fc.Model(x, layers.GlobalAveragePooling3D()(layers.AveragePooling3D(2)(y)))


def two_of_each():
    a, b = fc.Input((6, 6, 3), name="left"), fc.Input((4,), name="right")
    shared = layers.Conv2D(4, 3, name="shared")
    y = shared(a) * layers.Dense(4)(b)[:, None, None, :]
    return fc.Model([a, b], [y, fc.ops.sum(y, 3), layers.Flatten()(shared(a))])


@pytest.mark.parametrize("make", [branches, sequences, volumes])
@pytest.mark.parametrize("opset", [17, 25])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_of_layers(make, opset, data_format, tmp_path):
    model = settle(make())
    path = tmp_path / "model.onnx"
    fc.onnx.export(model, path, opset=opset, data_format=data_format)
    x = images(model, 3)
    y = model.predict(x, verbose=0)
    if data_format == "channels_first":
        again = fc.onnx.load(path)
        assert difference(again.predict(x, verbose=0), y) < 1e-5
        x, y = first(x), first(y)
    pytest.importorskip("onnx").checker.check_model(str(path), full_check=True)
    assert difference(runtime(path, x), y) < 1e-4


def test_several_inputs_and_outputs(tmp_path):
    model = two_of_each()
    model.export(tmp_path / "a.onnx")
    contents = reading.read(tmp_path / "a.onnx")
    assert [v.name for v in contents.graph.input] == ["left", "right"]
    again = fc.onnx.load(tmp_path / "a.onnx")
    given = [RNG.normal(size=(2, *s[1:])).astype("f4") for s in model.input_shape]
    expected = model.predict(given, verbose=0)
    for ours, theirs in zip(expected, again.predict(given, verbose=0), strict=True):
        assert difference(theirs, ours) < 1e-6
    y = runtime(tmp_path / "a.onnx", *map(first, given))
    assert difference(last(y), expected[0]) < 1e-5


class Own(fc.Model):
    """A class of the user, whose call makes arrays of the size of its input."""

    def __init__(self):
        super().__init__()
        self.blocks = [layers.Dense(8), layers.Dense(8)]

    def call(self, x):
        for block in self.blocks:
            x = fc.ops.tanh(block(x)) + fc.ops.ones_like(x)
        more = fc.ops.zeros((x.shape[0], 2))
        return fc.ops.concatenate([x, more])


def test_a_class_of_the_user(tmp_path):
    model = Own()
    x = RNG.normal(size=(5, 8)).astype("f4")
    model.build((None, 8))
    model.export(tmp_path / "a.onnx")
    assert "blocks.0.weight" in reading.read(tmp_path / "a.onnx").arrays
    y = model.predict(x, verbose=0)
    assert difference(runtime(tmp_path / "a.onnx", x), y) < 1e-5


def test_rows_of_a_sequence_stay_one(tmp_path):
    """Dense layers on sequences are products, and come back as dense layers."""
    x = fc.Input((5, 4))
    y = layers.Dense(3, name="b")(layers.Dense(6, activation="relu", name="a")(x))
    fc.Model(x, y).export(tmp_path / "a.onnx")
    nodes = reading.read(tmp_path / "a.onnx").graph.node
    assert not [n for n in nodes if n.op_type == "Reshape"]
    again = fc.onnx.load(tmp_path / "a.onnx")
    names = ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    assert [w.name for w in again.weights] == names


# What is refused


def test_ops_without_a_form_are_all_named(tmp_path):
    x = fc.Input((4,))
    y = layers.Lambda(
        lambda x: fc.ops.callback(np.copy, x, (x.shape, x.dtype)), name="own"
    )(x)
    y = layers.Lambda(
        lambda x: x + fc.ops.random_normal(x.shape, np.zeros(2, np.int64)), name="noise"
    )(y)
    with pytest.raises(ArgumentError, match=r"'own'.*'callback'.*'noise'.*'random'"):
        fc.Model(x, y).export(tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"opset": 12}, ArgumentError, "from 13"),
        ({"opset": 99}, ArgumentError, "99"),
        ({"opset": 18.5}, ArgumentError, "18"),
        ({"data_format": "NCHW"}, UnknownNameError, "channels_first"),
        ({"format": "tflite"}, UnknownNameError, "plan"),
    ],
)
def test_arguments(options, error, message, tmp_path):
    model = fc.Sequential([fc.Input((2,)), layers.Dense(3)])
    with pytest.raises(error, match=message):
        model.export(tmp_path / "a.onnx", **options)


def test_models_without_sizes(tmp_path):
    with pytest.raises(ArgumentError, match="build"):
        fc.Sequential([layers.Dense(3)]).export(tmp_path / "a.onnx")
    open_ = fc.Sequential([fc.Input((None, None, 3)), layers.Conv2D(2, 3)])
    with pytest.raises(ArgumentError, match="fixed sizes"):
        open_.export(tmp_path / "a.onnx")
    x = fc.Input((4,))
    whole = fc.Model(x, fc.ops.sum(x, 0) / 2 + x[-1:])
    with pytest.raises(ArgumentError, match="size of the batch"):
        whole.export(tmp_path / "a.onnx")


def test_older_operators_that_lack_a_norm(tmp_path):
    model = fc.Sequential([fc.Input((4,)), layers.LayerNormalization(name="norm")])
    with pytest.raises(ArgumentError, match=r"'norm'.*opset 17"):
        model.export(tmp_path / "a.onnx", opset=16)


def test_metadata_travel(tmp_path):
    model = small("LeNet5")
    model.metadata |= {"mean": [0.1], "class_names": list("0123456789")}
    model.metadata["own"] = {"a": 1}
    model.export(tmp_path / "a.onnx")
    again = fc.load(tmp_path / "a.onnx")
    assert again.metadata["mean"] == [0.1]
    assert again.metadata["class_names"] == list("0123456789")
    assert json.dumps(model.metadata["own"]).encode() in (
        tmp_path / "a.onnx"
    ).read_bytes()
