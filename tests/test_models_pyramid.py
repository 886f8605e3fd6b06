"""features_only: maps of each size, as timm's features_only=True gives them."""

from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from fastconv import config, errors, models
from fastconv.layers import base
from fastconv.models.network import Network

NETWORKS = [n for n in models.zoo() if isinstance(getattr(models, n), Network)]
CHANNELS = {  # what timm's feature_info says of networks that are the same there
    "ResNet18": [64, 64, 128, 256, 512],
    "ResNet50": [64, 256, 512, 1024, 2048],
    "DenseNet121": [64, 256, 512, 1024, 1024],
    "MobileNetV2": [16, 24, 32, 96, 320],
    "InceptionV3": [64, 192, 288, 768, 2048],
    "NASNetLarge": [96, 168, 1008, 2016, 4032],
    "Xception": [64, 128, 256, 728, 2048],
    "VGG16": [64, 128, 256, 512, 512, 512],
}


@pytest.fixture
def empty(monkeypatch):
    """Weights are zeros: a network with 140 million of them costs nothing."""
    zeros = SimpleNamespace(get=lambda _: lambda shape: np.zeros(shape, np.float32))
    monkeypatch.setattr(base, "initializers", zeros)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", NETWORKS)
def test_levels_of_every_network(name):
    model = getattr(models, name)(weights=None, features_only=True)
    facts = model.metadata["features"]
    reductions = [level["reduction"] for level in facts]
    assert reductions == [reductions[0] << i for i in range(len(facts))]
    maps = model(fc.Input((256, 256, 3)))
    for level, made in zip(facts, maps, strict=True):
        assert made.shape[-1] == level["channels"]
        # Windows that are not padded lose some of the border.
        assert 0.7 < made.shape[1] * level["reduction"] / 256 < 1.01
    if name in CHANNELS:
        assert [level["channels"] for level in facts] == CHANNELS[name]


def test_a_choice_of_levels_with_the_weights_of_the_whole(tmp_path):
    whole = models.ResNet18(weights=None, input_shape=(64, 64, 3), classes=5)
    whole.save_weights(tmp_path / "whole.safetensors")
    pyramid = models.ResNet18(
        weights=tmp_path / "whole.safetensors", features_only=True, out_indices=(1, -2)
    )
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("f")
    found = pyramid.predict(x, verbose=0)
    names = [level["layer"] for level in pyramid.metadata["features"]]
    assert names == ["layer1.1.relu", "layer3.1.relu"]
    outputs = [whole.get_layer(name).output for name in names]
    expected = fc.Model(whole.input, outputs).predict(x, verbose=0)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(pyramid.layers) < len(whole.layers) - 10  # what is not needed is away


def test_pooled_levels_and_channels_first():
    vectors = models.ResNet20(weights=None, features_only=True, pooling="avg")
    assert vectors.output_shape == [(None, 16), (None, 32), (None, 64)]
    config.set_image_data_format("channels_first")
    try:
        first = models.ResNet20(features_only=True, input_shape=(3, 32, 32))
    finally:
        config.set_image_data_format("channels_last")
    assert first.output_shape[1] == (None, 32, 16, 16)


def test_levels_that_follow_from_options():
    model = models.DenseNetCIFAR(features_only=True, depth=40, out_indices=[0])
    assert model.metadata["features"] == [
        {"layer": "features.denseblock1.denselayer6", "reduction": 1, "channels": 96}
    ]


@pytest.mark.parametrize("given", [(5,), [], 3, (-6, 0), ("a",)])
def test_levels_that_are_not_there(given):
    with pytest.raises(errors.ArgumentError, match=r"levels in 0 \.\. 4"):
        models.ResNet18(weights=None, features_only=True, out_indices=given)
