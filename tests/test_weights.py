"""Weights of other libraries: files written by hand, and by PyTorch and Keras."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastconv as fc
import weight_files as w
from fastconv import errors, layers
from fastconv.weights import published
from fastconv.weights.timm_names import as_torchvision

RNG = np.random.default_rng(3)
VALUES = RNG.normal(size=6).astype("f4")
GOOD = VALUES.reshape(2, 3)


def dense(name="a"):
    return fc.Sequential([fc.Input((3,)), layers.Dense(2, use_bias=False, name=name)])


def mixed(names=True):
    """Layers whose orders differ in PyTorch: groups, depthwise, a dense after maps."""
    name = (lambda text: {"name": text}) if names else (lambda _: {})
    return fc.Sequential([
        fc.Input((7, 6, 4)),
        layers.Conv2D(6, (3, 2), groups=2, **name("c1")),
        layers.BatchNormalization(**name("b1")),
        layers.DepthwiseConv2D(3, depth_multiplier=2, **name("d1")),
        layers.Flatten(**name("f1")),
        layers.Dense(5, **name("e1")),
    ])  # fmt: skip


def randomize(model):
    for weight in model.weights:
        weight.assign(RNG.uniform(0.1, 1, weight.shape).astype("f4"))
    return model


def same(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
    )


# Files by hand


@pytest.mark.parametrize("write", [w.pth, w.legacy])
def test_state_dict(write, tmp_path):
    state = {"epoch": 3, "state_dict": {"module.a.weight": w.Tensor(GOOD, "0")}}
    model = dense()
    model.load_weights(write(tmp_path / "x.pth", state, {"0": VALUES}))
    np.testing.assert_array_equal(model.get_weights()[0], GOOD.T)


def test_strided_tensors_share_a_storage(tmp_path):
    storage = np.arange(20, dtype="f4")
    one = w.Tensor(storage[7:13].reshape(3, 2).T, "0", offset=7, count=20)
    two = w.Tensor(storage[:2], "0", count=20)
    path = w.pth(tmp_path / "x.pth", {"a.weight": one, "a.bias": two}, {"0": storage})
    model = fc.Sequential([fc.Input((3,)), layers.Dense(2, name="a")])
    model.load_weights(path)
    kernel, bias = model.get_weights()
    np.testing.assert_array_equal(kernel, storage[7:13].reshape(3, 2))
    np.testing.assert_array_equal(bias, [0, 1])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("DoubleStorage", VALUES.astype("f8")),
        ("HalfStorage", VALUES.astype("f2")),
        ("BFloat16Storage", (VALUES.view("u4") >> 16).astype("u2")),
    ],
)
def test_other_precisions(kind, values, tmp_path):
    tensor = w.Tensor(values.reshape(2, 3), "0", kind)
    model = dense()
    model.load_weights(w.pth(tmp_path / "x.pth", {"a.weight": tensor}, {"0": values}))
    np.testing.assert_allclose(model.get_weights()[0], GOOD.T, rtol=1e-2)


def test_integers_are_no_weights(tmp_path):
    values = np.arange(6)
    tensor = w.Tensor(values.reshape(2, 3), "0", "LongStorage")
    path = w.pth(tmp_path / "x.pth", {"a.weight": tensor}, {"0": values})
    with pytest.raises(errors.FormatError, match="expected float32"):
        dense().load_weights(path)


def test_safetensors_in_bfloat16(tmp_path):
    body = (VALUES.view("u4") >> 16).astype("u2").tobytes()
    header = {"a.weight": w.entry([2, 3], 0, 12, "BF16"), "__metadata__": {"a": "b"}}
    model = dense()
    model.load_weights(w.safetensors(tmp_path / "x.safetensors", header, body))
    np.testing.assert_allclose(model.get_weights()[0], GOOD.T, rtol=1e-2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save, tmp_path):
    save(tmp_path / "x.npz", **{"a/kernel": np.asfortranarray(GOOD.T)})
    model = dense()
    model.load_weights(tmp_path / "x.npz")
    np.testing.assert_array_equal(model.get_weights()[0], GOOD.T)


def test_names_that_differ_are_listed(tmp_path):
    model = fc.Sequential([fc.Input((3,)), layers.Dense(2, name="a")])
    before = model.get_weights()
    save_file({"a.weight": GOOD, "b.weight": GOOD}, tmp_path / "x.safetensors")
    with pytest.raises(errors.FormatError) as seen:
        model.load_weights(tmp_path / "x.safetensors")
    assert "'a.bias' is missing" in str(seen.value)
    assert "'b.weight' is not in the model" in str(seen.value)
    assert all(map(np.array_equal, model.get_weights(), before))
    model.load_weights(tmp_path / "x.safetensors", skip_mismatch=True)
    np.testing.assert_array_equal(model.get_weights()[0], GOOD.T)


def test_order_where_no_name_is_known(tmp_path):
    model = dense("mine")
    tensor = w.Tensor(GOOD, "0")
    model.load_weights(w.pth(tmp_path / "x.pth", {"0.weight": tensor}, {"0": VALUES}))
    np.testing.assert_array_equal(model.get_weights()[0], GOOD.T)
    tensor = w.Tensor(GOOD.reshape(6, 1), "0")  # as many values, another shape
    path = w.pth(tmp_path / "y.pth", {"0.weight": tensor}, {"0": VALUES})
    with pytest.raises(errors.FormatError, match="is missing"):
        model.load_weights(path)


def test_names_of_timm():
    names = ["conv_stem.weight", "bn1.bias", "blocks.0.0.conv_dw.weight"]
    names += ["blocks.0.0.bn2.weight", "blocks.1.0.conv_pwl.weight"]
    names += ["blocks.1.0.bn2.weight", "bn2.weight", "classifier.bias"]
    assert list(as_torchvision(names).values()) == [
        "features.0.0.weight", "features.0.1.bias", "features.1.conv.0.0.weight",
        "features.1.conv.2.weight", "features.2.conv.2.weight",
        "features.2.conv.1.1.weight", "features.3.1.weight", "classifier.1.bias",
    ]  # fmt: skip


# Out and in again


@pytest.mark.parametrize("naming", [None, "torchvision", "keras"])
def test_round_trip(naming, tmp_path):
    model, other = randomize(mixed()), mixed()
    model.metadata = {"mean": [0.5], "deviation": [0.25], "class_names": ["a", "b"]}
    path = tmp_path / "x.safetensors"
    model.save_weights(path, naming=naming)
    other.load_weights(path)
    assert same(model, other)
    assert other.metadata == model.metadata
    with pytest.raises(FileExistsError):
        model.save_weights(path, overwrite=False, naming=naming)


def test_naming(tmp_path):
    model = mixed()
    model.save_weights(tmp_path / "t", naming="torchvision")
    found = load_file(tmp_path / "t")
    assert found["c1.weight"].shape == (6, 2, 3, 2)
    assert found["d1.weight"].shape == (12, 1, 3, 3)
    assert found["b1.running_var"].shape == (6,)
    model.save_weights(tmp_path / "k", naming="keras")
    assert load_file(tmp_path / "k")["c1/kernel"].shape == (3, 2, 2, 6)
    with pytest.raises(errors.UnknownNameError, match="'caffe'"):
        model.save_weights(tmp_path / "c", naming="caffe")


def test_load_finds_the_network(tmp_path):
    model = randomize(fc.models.ResNet20(classes=7))
    for naming in (None, "torchvision"):
        path = tmp_path / "unnamed.safetensors"
        model.save_weights(path, naming=naming)
        assert same(fc.load(path), model)
    bare = {k: v for k, v in load_file(path).items() if "fc" not in k}
    save_file(bare, path)
    with pytest.raises(
        errors.FormatError, match=r"resnet20: .*'fc\.weight' is missing"
    ):
        fc.load(path)
    model.save(path)
    assert fc.load(path).name == "resnet20"
    network = fc.models.ResNet20(include_top=False, weights=path)
    assert np.array_equal(network.get_weights()[0], model.get_weights()[0])


# Published files


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    model = randomize(fc.models.SqueezeNet1_1(weights=None))
    model.save_weights(tmp_path / "x", naming="torchvision")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.model = [], model
    server.content = (tmp_path / "x").read_bytes()
    digits = hashlib.sha256(server.content).hexdigest()[:8]
    server.file = f"squeezenet1_1-{digits}.pth"
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(published, "SERVER", url)
    monkeypatch.setitem(published.FILES, "squeezenet1_1", server.file)
    monkeypatch.setenv("FASTCONV_CACHE", str(tmp_path / "cache"))
    for name in ("FASTCONV_OFFLINE", "FASTCONV_MIRROR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_download_only_when_asked(server, monkeypatch):
    with pytest.raises(errors.ArgumentError, match="downloads squeezenet1_1"):
        fc.models.SqueezeNet1_1()
    monkeypatch.setenv("FASTCONV_OFFLINE", "1")
    with pytest.raises(errors.DataError, match="FASTCONV_OFFLINE"):
        fc.models.SqueezeNet1_1(weights="imagenet")
    assert not server.requests
    monkeypatch.delenv("FASTCONV_OFFLINE")
    assert same(fc.models.SqueezeNet1_1(weights="imagenet"), server.model)
    assert server.requests == [f"/{server.file}"]
    assert same(fc.models.SqueezeNet1_1(), server.model)  # it is in the cache now
    headless = fc.models.SqueezeNet1_1(include_top=False)
    assert len(headless.get_weights()) == len(server.model.get_weights()) - 2
    assert len(server.requests) == 1


def test_an_altered_download_is_not_kept(server, tmp_path):
    server.content = server.content[:-1] + b"x"
    with pytest.raises(errors.FormatError, match="sha256"):
        fc.models.SqueezeNet1_1(weights="imagenet")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_mirror(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_OFFLINE", "1")
    monkeypatch.setenv("FASTCONV_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    file = tmp_path / "mirror" / server.file
    file.write_bytes(server.content)
    assert same(fc.models.SqueezeNet1_1(weights="imagenet"), server.model)
    file.write_bytes(server.content[:-1] + b"x")
    with pytest.raises(errors.FormatError, match="altered"):
        fc.models.SqueezeNet1_1(weights="imagenet")
    assert not server.requests


def test_published_names_have_digests():
    networks = {getattr(fc.models, n).name: n for n in fc.models.zoo()
                if hasattr(getattr(fc.models, n), "facts")}  # fmt: skip
    for name, file in published.FILES.items():
        assert name in networks
        assert len(published.digest(file)) == 8


# The libraries themselves


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs PyTorch")
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_predicts_the_same(zipped, tmp_path):
    import torch

    parts = {
        "c1": torch.nn.Conv2d(4, 6, (3, 2), groups=2),
        "b1": torch.nn.BatchNorm2d(6, eps=1e-3),
        "d1": torch.nn.Conv2d(6, 12, 3, groups=6),
        "f1": torch.nn.Flatten(),
        "e1": torch.nn.Linear(12 * 3 * 3, 5),
    }
    net = torch.nn.Sequential()
    for name, part in parts.items():
        net.add_module(name, part)
    net(torch.randn(8, 4, 7, 6))  # statistics that are not 0 and 1
    net.eval()
    path = tmp_path / "x.pt"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped)
    model = mixed()
    model.load_weights(path)
    x = RNG.normal(size=(2, 7, 6, 4)).astype("f4")
    with torch.no_grad():
        expected = net(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5
    )
    torch.save(net, path, _use_new_zipfile_serialization=zipped)  # a module is code
    with pytest.raises(errors.FormatError, match=r"it wants|opcode"):
        model.load_weights(path)
    model.save_weights(path, naming="torchvision")
    other = load_file(path)
    assert other.keys() == {n for n in net.state_dict() if "num_batches" not in n}
    for name, array in other.items():
        np.testing.assert_array_equal(array, net.state_dict()[name].numpy())


KERAS = """
import json, sys
import keras
import numpy as np
from keras import layers
folder = sys.argv[1]
model = keras.Sequential([
    keras.Input((7, 6, 4)),
    layers.Conv2D(6, (3, 2), groups=2, name="c1"),
    layers.BatchNormalization(name="b1"),
    layers.DepthwiseConv2D(3, depth_multiplier=2, name="d1"),
    layers.Flatten(name="f1"),
    layers.Dense(5, name="e1"),
])
x = keras.random.normal((2, 7, 6, 4), seed=1)
model.get_layer("b1").set_weights([np.arange(6.0) + i for i in range(4)])
for name in ("x.keras", "x.weights.h5"):
    getattr(model, "save" if name == "x.keras" else "save_weights")(f"{folder}/{name}")
model.save(f"{folder}/x.h5")
arrays = [keras.ops.convert_to_numpy(a).tolist() for a in (x, model(x))]
json.dump(arrays, open(f"{folder}/x.json", "w"))
"""


@pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="needs Keras")
@pytest.mark.parametrize("names", [True, False])
def test_keras_predicts_the_same(names, tmp_path):
    subprocess.run([sys.executable, "-c", KERAS, str(tmp_path)], check=True)
    x, expected = json.loads((tmp_path / "x.json").read_text())
    for file in ("x.keras", "x.weights.h5", "x.h5"):
        model = mixed(names)
        model.load_weights(tmp_path / file)
        found = model.predict(np.array(x, "f4"), verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
