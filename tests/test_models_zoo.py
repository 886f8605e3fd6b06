"""The zoo: figures of the papers, sizes of layers, arguments, what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from fastconv import cli, config, errors, models
from fastconv.layers import base
from fastconv.models.network import Network
from fastconv.training.summary import multiply_adds

TABLE = Path(__file__).parents[1] / "docs" / "zoo.md"
NETWORKS = [n for n in models.zoo() if isinstance(getattr(models, n), Network)]


@pytest.fixture
def empty(monkeypatch):
    """Weights are zeros: a network with 140 million of them costs nothing."""
    zeros = SimpleNamespace(get=lambda _: lambda shape: np.zeros(shape, np.float32))
    monkeypatch.setattr(base, "initializers", zeros)


def trainable(model):
    return sum(weight.size for weight in model.trainable_weights)


def sizes(model, *names):
    return [model.get_layer(name).output.shape[1:] for name in names]


# Figures


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_operations(name):
    network = getattr(models, name)
    model = network(weights=None)
    facts = network.facts
    assert trainable(model) == facts.parameters
    assert round(multiply_adds(model) / 1e9, 3) == facts.multiply_adds
    assert model.input_shape == (None, network.image, network.image, network.channels)
    assert model.output_shape == (None, network.classes)
    assert models.get(model.metadata["network"]) is network


def test_networks_of_the_course():
    lenet = models.LeNet5(variant="paper", output="rbf")
    assert lenet.count_params() == models.facts("LeNet5").parameters == 60_000
    products = 28 * 28 * 6 * 25 + 100 * 16 * 6 * 25 + 48_000 + 120 * 84 + 840
    assert multiply_adds(models.LeNet5()) == products
    assert models.facts("LeNet5").multiply_adds == round(products / 1e9, 6)
    mlp, small = models.MLP(), models.SmallNet()
    assert trainable(mlp) == models.facts("MLP").parameters == 784 * 128 + 128 + 1290
    assert trainable(small) == models.facts("SmallNet").parameters
    assert multiply_adds(mlp) == 784 * 128 + 1280
    assert multiply_adds(small) == 30 * 30 * 32 * 27 + 7200 * 512 + 5120
    assert {m.metadata["network"] for m in (lenet, mlp, small)} == {
        "lenet5", "mlp", "smallnet",
    }  # fmt: skip


@pytest.mark.usefixtures("empty")
def test_layers_of_alexnet_and_zfnet():
    alexnet, zfnet = models.AlexNet(weights=None), models.ZFNet(weights=None)
    convolutions = [f"conv{i}" for i in range(1, 6)]
    assert sizes(alexnet, *convolutions, "pool5") == [
        (55, 55, 96), (27, 27, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256),
        (6, 6, 256),
    ]  # fmt: skip
    assert [alexnet.get_layer(n).groups for n in convolutions] == [1, 2, 1, 2, 2]
    assert sizes(zfnet, *convolutions, "pool5") == [
        (110, 110, 96), (26, 26, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256),
        (6, 6, 256),
    ]  # fmt: skip
    for model in (alexnet, zfnet):
        assert sizes(model, "classifier.1", "classifier.4") == [(4096,), (4096,)]


@pytest.mark.usefixtures("empty")
def test_stages_of_the_tables():
    cases = {
        "ResNet50": {"layer1.2.relu": (56, 256), "layer4.2.relu": (7, 2048)},
        "ResNet50V2": {"conv2_block3_out": (28, 256), "post_relu": (7, 2048)},
        "GoogLeNet": {"inception3b": (28, 480), "inception4e": (14, 832)},
        "DenseNet121": {"features.transition3.pool": (7, 512)},
        "Xception": {"block4_add": (19, 728), "block14_sepconv2_act": (10, 2048)},
        "NASNetLarge": {"normal_concat_5": (42, 1008), "normal_concat_18": (11, 4032)},
        "MobileNet": {"conv_pw_11_relu": (14, 512), "conv_pw_13_relu": (7, 1024)},
        "PyramidNet110": {"layer3.17.add": (8, 64)},
    }
    for name, expected in cases.items():
        model = getattr(models, name)(weights=None)
        for layer, (side, maps) in expected.items():
            assert sizes(model, layer) == [(side, side, maps)], (name, layer)


def test_width_multipliers():
    narrow = models.MobileNet(weights=None, alpha=0.25)
    assert (narrow.count_params(), trainable(narrow)) == (475_544, 470_072)  # Keras's
    wide = models.MobileNetV2(weights=None, alpha=1.4, include_top=False)
    assert wide.output_shape[-1] == 1792
    with pytest.raises(errors.ArgumentError, match="its own: alpha"):
        models.MobileNetV2(weights=None, beta=1.4)


@pytest.mark.usefixtures("empty")
def test_layers_of_unet():
    unet = models.UNet()
    facts = models.facts("UNet")
    assert trainable(unet) == facts.parameters
    assert round(multiply_adds(unet) / 1e9, 3) == facts.multiply_adds
    assert sizes(unet, "down4.conv2", "up3.conv0", "up3.concat", "predictions") == [
        (16, 16, 1024), (32, 32, 512), (32, 32, 1024), (256, 256, 2),
    ]  # fmt: skip
    any_size = models.UNet((None, None, 3), classes=5, maps=(4, 8, 16))
    assert any_size(fc.Input((12, 20, 3))).shape == (None, 12, 20, 5)
    with pytest.raises(errors.ShapeError, match=r"multiples of 16 .* \(256, 250, 1\)"):
        models.UNet((256, 250, 1))
    with pytest.raises(errors.ArgumentError, match="two levels"):
        models.UNet(maps=(64,))


# Images of any size


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_without_the_top(name):
    network = getattr(models, name)
    model = network(include_top=False, weights=None)
    assert model.output_shape[:3] == (None, None, None)
    image = fc.Input((97, 131, network.channels))
    rows, columns, maps = model(image).shape[1:]
    assert maps == model.output_shape[-1]
    assert 1 <= rows < columns
    side = network.smallest
    least = network(include_top=False, weights=None, input_shape=(side, side, 3))
    assert min(least.output_shape[1:]) >= 1


def test_an_odd_size_is_computed():
    for network in (models.MobileNet, models.SqueezeNet1_1, models.ResNet20):
        model = network(include_top=False, weights=None, pooling="avg")
        assert model.predict(np.ones((1, 97, 131, 3)), verbose=0).shape[0] == 1


# Arguments


def test_a_top_of_ones_own():
    model = models.ResNet18(
        weights=None, classes=7, input_shape=(64, 40, 1), classifier_activation=None
    )
    assert model.input_shape == (None, 64, 40, 1)
    assert model.output_shape == (None, 7)
    assert model.get_layer("fc").activation is fc.activations.linear


def test_a_tensor_of_another_model():
    image = fc.Input((40, 40, 3), name="mine")
    model = models.ResNet20(
        include_top=False, input_tensor=image / 255.0, pooling="max", name="base"
    )
    assert model.inputs == [image]
    assert (model.name, model.output_shape) == ("base", (None, 64))


def test_auxiliary_classifiers():
    model = models.GoogLeNet(weights=None, classes=5, auxiliary=True)
    assert model.output_shape == [(None, 5)] * 3
    base = models.GoogLeNet(include_top=False, weights=None, auxiliary=True)
    assert base.output_shape == (None, None, None, 1024)


def test_channels_first():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 33, 40)).astype("f")
    last = models.ResNet20(include_top=False, input_shape=(33, 40, 3))
    config.set_image_data_format("channels_first")
    try:
        first = models.ResNet20(include_top=False, input_shape=(3, 33, 40))
        full = models.ResNet20()
        with pytest.raises(errors.ShapeError, match="channels, height, width"):
            models.ResNet20(input_shape=(3, 5, 40))
        assert config.image_data_format() == "channels_first"
    finally:
        config.set_image_data_format("channels_last")
    assert full.input_shape == (None, 3, 32, 32)
    assert first.output_shape == (None, 64, 9, 10)
    first.set_weights(last.get_weights())
    found = first.predict(x, verbose=0)
    expected = last.predict(x.transpose(0, 2, 3, 1), verbose=0).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"input_shape": (31, 64, 3)}, errors.ShapeError, ">= 32"),
        ({"input_shape": (64, 64)}, errors.ShapeError, "height, width, channels"),
        ({"input_shape": (64, 64, None)}, errors.ShapeError, "channels"),
        ({"input_shape": (None, None, 3)}, errors.ShapeError, "include_top=False"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, errors.ArgumentError, "Input"),
        ({"pooling": "median"}, errors.UnknownNameError, "pooling"),
        ({"classes": 0}, errors.ArgumentError, "integer >= 1"),
        ({"classes": 2.5}, errors.ArgumentError, "integer >= 1"),
        ({"weights": "imagenet", "classes": 5}, errors.ArgumentError, "1000"),
        ({"weights": "no/such/file"}, errors.ArgumentError, "no file"),
        ({"width": 2}, errors.ArgumentError, "its own: none"),
    ],
)
def test_bad_arguments(given, error, text):
    with pytest.raises(error, match=text) as seen:
        models.ResNet18(**{"weights": None, **given})
    if "pooling" not in given:
        assert "resnet18" in str(seen.value)


# Weights and metadata


def test_weights_from_files(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_CACHE", str(tmp_path))
    base = models.SqueezeNet1_1(include_top=False, weights=None)
    path = tmp_path / "weights" / "squeezenet1_1_notop.safetensors"
    path.parent.mkdir()
    base.save_weights(path)
    for weights in ("default", "imagenet", path, str(path)):
        found = models.SqueezeNet1_1(include_top=False, weights=weights)
        for ours, theirs in zip(found.get_weights(), base.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(errors.ArgumentError, match="weights=None") as seen:
        models.SqueezeNet1_1()
    assert str(path.with_name("squeezenet1_1.safetensors")) in str(seen.value)


@pytest.mark.parametrize("name", ["MobileNet", "NASNetMobile", "ResNet20"])
def test_save_and_load(name, tmp_path):
    network = getattr(models, name)
    model = network(weights=None, input_shape=(64, 64, 3), classes=3)
    model.metadata["class_names"] = ["a", "b", "c"]
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = fc.models.load_model(path)
    assert loaded.metadata == model.metadata
    assert loaded.metadata["mean"] == list(network.facts.scaling.mean)
    x = np.random.default_rng(0).normal(size=(1, 64, 64, 3))
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def test_summary_tells_what_is_published():
    lines = []
    models.MobileNetV2(weights=None).summary(print_fn=lines.append)
    for text in (
        "3,504,872 (torchvision: 3,504,872)", "0.301 (torchvision: 0.301)",
        "top-1 71.878 %, top-5 90.286 % on ImageNet", "[0.485, 0.456, 0.406]",
    ):  # fmt: skip
        assert text in lines[0]


def test_metadata_of_an_unknown_network_are_not_shown():
    model = models.ResNet20()
    model.metadata = {"network": "another", "note": [1]}
    lines = []
    model.summary(print_fn=lines.append)
    assert "Network" not in lines[0]


# Names


def test_names():
    assert {"lenet", "resnet50", "vgg16bn", "nasnetlarge"} <= set(models.names())
    assert models.get("VGG-16-BN") is models.VGG16BN
    assert models.get("squeezenet1.1") is models.SqueezeNet1_1
    assert repr(models.ResNet50) == "<network resnet50>"
    with pytest.raises(errors.UnknownNameError, match="resnet50"):
        models.facts("resnet5")


def test_the_command_lists_all(capsys):
    assert cli.main(["models", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)["models"]
    assert [entry["name"] for entry in found] == models.zoo()
    assert found[models.zoo().index("ResNet50")]["parameters"] == 25_557_032
    assert len(lines) == 1 + len(found)


def test_commands_build_networks(capsys):
    assert cli.main(["summary", "resnet20", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["trainable_parameters"] == models.ResNet20.facts.parameters


@pytest.mark.skipif(not TABLE.exists(), reason="needs the source tree")
def test_the_table_has_the_figures_of_the_networks():
    lines = TABLE.read_text(encoding="utf-8").partition("|---|")[2].splitlines()[1:]
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines}
    assert cells
    assert set(cells) <= set(models.zoo())
    for name, (_, reference, ours, theirs, *_) in cells.items():
        facts = models.facts(name)
        assert (reference, theirs) == (facts.reference, f"{facts.parameters:,}")
        assert ours == theirs or name == "LeNet5"
