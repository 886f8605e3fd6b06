"""fastconv.applications: Keras's module names, preprocess_input, decode_predictions."""

import importlib
import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import applications, errors, models

KERAS = {  # modules of keras.applications that have networks of the zoo
    "densenet": ["DenseNet121", "DenseNet169", "DenseNet201"],
    "inception_v3": ["InceptionV3"],
    "mobilenet": ["MobileNet"],
    "mobilenet_v2": ["MobileNetV2"],
    "nasnet": ["NASNetLarge", "NASNetMobile"],
    "resnet": ["ResNet50", "ResNet101", "ResNet152"],
    "resnet50": ["ResNet50"],
    "resnet_v2": ["ResNet50V2", "ResNet101V2", "ResNet152V2"],
    "vgg16": ["VGG16"],
    "vgg19": ["VGG19"],
    "xception": ["Xception"],
}


@pytest.mark.parametrize("name", KERAS)
def test_modules_of_keras(name):
    module = importlib.import_module(f"fastconv.applications.{name}")
    assert getattr(applications, name) is module
    for network in KERAS[name]:
        assert getattr(module, network) is getattr(models, network)
        assert getattr(applications, network) is getattr(models, network)
        assert models.facts(network).scaling == models.facts(KERAS[name][0]).scaling
    assert module.decode_predictions is applications.decode_predictions


def test_every_network_of_the_zoo():
    for name in models.zoo():
        assert getattr(applications, name) is getattr(models, name)


def test_images_as_networks_take_them():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3))
    resnet, xception = applications.resnet, applications.xception
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    found = resnet.preprocess_input(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (x / 255 - mean) / deviation, atol=1e-6)
    first = resnet.preprocess_input(x.transpose(0, 3, 1, 2), "channels_first")
    np.testing.assert_array_equal(first, found.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(resnet.preprocess_input(x[0]), found[0])
    np.testing.assert_allclose(
        xception.preprocess_input(x), x / 127.5 - 1, rtol=1e-6, atol=1e-6
    )
    for bad in (x[..., :1], x[0, 0]):
        with pytest.raises(errors.ShapeError, match="3 channels"):
            resnet.preprocess_input(bad)
    with pytest.raises(errors.UnknownNameError, match="data_format"):
        resnet.preprocess_input(x, "first")


def test_predictions_with_names(tmp_path, monkeypatch):
    decode = applications.decode_predictions
    model = models.MLP(classes=3)
    with pytest.raises(errors.ArgumentError, match="class_names"):
        decode([[0.2, 0.3, 0.5]], class_names=model)
    model.metadata["class_names"] = ["a", "b", "c"]
    assert decode([[0.25, 0.25, 0.5]], 2, model) == [
        [("2", "c", 0.5), ("0", "a", 0.25)]
    ]
    with pytest.raises(errors.ShapeError, match=r"\(images, 3\)"):
        decode([[0.5, 0.5]], class_names=model)
    monkeypatch.setenv("FASTCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FASTCONV_MIRROR", str(tmp_path))
    with pytest.raises(errors.DataError, match=r"imagenet_class_index\.json"):
        decode([[0.2, 0.8]])
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({"0": ["n01", "tench"], "1": ["n02", "goldfish"]}))
    assert decode(np.float32([[0.25, 0.75]]), top=1) == [[("n02", "goldfish", 0.75)]]
    for bad in ("[", "{}", '{"1": ["a", "b"]}', '{"0": 3}', "[1]"):
        path.write_text(bad)
        with pytest.raises((errors.FormatError, errors.ShapeError)):
            decode([[0.2, 0.8]])


def test_what_a_script_of_keras_does():
    from fastconv.applications.resnet50 import ResNet50, preprocess_input

    model = ResNet50(weights=None, classes=4, input_shape=(32, 32, 3))
    x = preprocess_input(np.zeros((1, 32, 32, 3)))
    names = ["north", "east", "south", "west"]
    found = fc.applications.resnet50.decode_predictions(
        model.predict(x, verbose=0), top=4, class_names=names
    )
    assert sorted(name for _, name, _ in found[0]) == sorted(names)
