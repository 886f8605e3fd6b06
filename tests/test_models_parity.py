"""The zoo against the reference definitions: the same weights, results, gradients.

Each network of torchvision and Keras that is installed gets random weights, on both
sides the same; logits and gradients are compared, in inference and in training. By
default one network a family runs, on small images. All networks, on images of their own
size::

    FASTCONV_ZOO=docs/zoo.md pytest tests/test_models_parity.py

which writes the lines of the table in that file.
"""

import functools
import importlib.util
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import config, models
from fastconv.training.summary import multiply_adds
from fastconv.weights.torch_layout import _flattened, from_torch, to_torch, torch_names

# name: (name in torchvision, side of small images); "" has no small form.
TORCHVISION = {
    "AlexNetOneTower": ("alexnet", 95),
    "VGG11": ("vgg11", 32), "VGG13": ("vgg13", 32), "VGG16": ("vgg16", 32),
    "VGG19": ("vgg19", 32), "VGG11BN": ("vgg11_bn", 64), "VGG13BN": ("vgg13_bn", 64),
    "VGG16BN": ("vgg16_bn", 64), "VGG19BN": ("vgg19_bn", 64),
    "GoogLeNet": ("googlenet", 96),
    "ResNet18": ("resnet18", 65), "ResNet34": ("resnet34", 64),
    "ResNet50": ("resnet50", 64), "ResNet101": ("resnet101", 64),
    "ResNet152": ("resnet152", 64),
    "ResNeXt50_32x4d": ("resnext50_32x4d", 64),
    "ResNeXt101_32x8d": ("resnext101_32x8d", 64),
    "WideResNet50": ("wide_resnet50_2", 64), "WideResNet101": ("wide_resnet101_2", 64),
    "MobileNetV2": ("mobilenet_v2", 64),
    "SqueezeNet1_0": ("squeezenet1_0", 75), "SqueezeNet1_1": ("squeezenet1_1", 64),
    "DenseNet121": ("densenet121", 64), "DenseNet161": ("densenet161", 64),
    "DenseNet169": ("densenet169", 64), "DenseNet201": ("densenet201", 64),
}  # fmt: skip
KERAS = {
    "InceptionV3": 139, "Xception": 96, "MobileNet": 65, "NASNetMobile": 64,
    "NASNetLarge": 65, "ResNet50V2": 64, "ResNet101V2": 64, "ResNet152V2": 64,
}  # fmt: skip
SMALL = {  # those that run by default
    "AlexNetOneTower", "VGG11", "VGG11BN", "GoogLeNet", "ResNet18", "ResNet50",
    "ResNeXt50_32x4d", "MobileNetV2", "SqueezeNet1_0", "SqueezeNet1_1", "DenseNet121",
    "InceptionV3", "Xception", "MobileNet", "NASNetMobile", "ResNet50V2",
}  # fmt: skip
TABLE = config.setting("zoo")
LOGITS, GRADIENTS = 1e-4, 1e-3  # relative differences, at most

pytestmark = pytest.mark.filterwarnings("ignore")  # what the others deprecate


def chosen(names):
    return [name for name in names if TABLE or name in SMALL]


# Our side


def made(name, side, seed):
    """Our network without dropout, with random statistics; images; a weighting."""
    fc.random.set_seed(seed)
    rng = np.random.default_rng(seed)
    network = getattr(models, name)
    model = network(
        weights=None, classifier_activation=None, input_shape=(side, side, 3),
        classes=None if TABLE else 10,
    )  # fmt: skip
    for layer in model.layers:
        if hasattr(layer, "rate"):
            layer.rate = 0.0
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape).astype("f"))
    give_statistics(model, rng, side)
    x = rng.normal(size=(2, side, side, 3)).astype("f")
    return model, x, rng.normal(size=(2, model.output_shape[-1])).astype("f")


def give_statistics(model, rng, side):
    """Random batch normalisation, with the mean and variance of other images.

    Its beta keeps ReLU away from 0, where a rounding would decide a gradient (PyTorch
    in float32 differs from PyTorch in float64 by 20 % there): most maps are passed on
    as they are, a quarter of those that only a ReLU reads are off.
    """
    readers = {}
    for call in model.connections:
        for tensor in call.inputs:
            readers.setdefault(tensor, []).append(type(call.layer).__name__)
    normalizations = [v for v in model.layers if hasattr(v, "moving_mean")]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        size, gamma = layer.beta.shape, 1.0
        if layer.scale:
            gamma = rng.uniform(0.3, 0.9, size).astype("f")
            layer.gamma.assign(gamma)
        off = 0.25 if readers[layer.output] == ["Activation"] else 0.0
        sign = np.where(rng.random(size) < off, -1, 1)
        layer.beta.assign((4 * sign * gamma).astype("f"))
        layer.momentum = 0.0
    if normalizations:
        model(
            rng.normal(size=(4 if TABLE else 8, side, side, 3)).astype("f"),
            training=True,
        )
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum


def ours(model, x, r, training):
    """Logits, gradient of the images, gradients of the trainable weights."""

    def run(x):
        y = model(x, training=training)
        loss = fc.ops.sum(y * r)
        return [y, *fc.grad(loss, [x, *model.trainable_weights])]

    y, dx, *gradients = fc.function(run)(x)
    names = [weight.name for weight in model.trainable_weights]
    return y, dx, dict(zip(names, gradients, strict=True))


def differences(mine, theirs):
    """Relative: of logits the largest, of the gradients of images and weights the norm.

    Weights are compared layer by layer: a bias before a normalisation has the gradient
    zero, and what is left of it is measured against the kernel's, that of a beta
    against a thousandth of the largest norm of all.
    """
    assert set(mine[2]) == set(theirs[2])
    layers = {}
    for name, gradient in theirs[2].items():
        layers.setdefault(name.rsplit("/", 1)[0], []).append((mine[2][name], gradient))
    pairs = [
        tuple(
            np.concatenate([g.ravel() for g in side]) for side in zip(*v, strict=True)
        )
        for v in layers.values()
    ]
    floor = 1e-3 * max(np.linalg.norm(b) for _, b in pairs)
    return (
        float(np.abs(mine[0] - theirs[0]).max() / np.abs(theirs[0]).max()),
        relative(mine[1], theirs[1], 0),
        max(relative(a, b, floor) for a, b in pairs),
    )


def relative(a, b, floor):
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), floor))


def compared(name, small, reference):
    """Differences in inference and training; a line of the table.

    A maximum pooling that meets two values which differ by a rounding sends a gradient
    to one or the other. So gradients that are too far are drawn again, and taken of
    smaller images, which have fewer windows.
    """
    own = getattr(models, name).image
    for seed, side in enumerate([own] * 2 * bool(TABLE) + [small] * 4):
        model, x, r = made(name, side, seed)
        theirs = reference(name, model)
        found = [
            differences(ours(model, x, r, training), theirs.run(x, r, training))
            for training in (False, True)
        ]
        if not seed:
            logits = max(f[0] for f in found)
            mine = (sum(w.size for w in model.trainable_weights), multiply_adds(model))
            assert mine == (theirs.parameters, theirs.multiply_adds)
            assert logits <= LOGITS
        if max(v for f in found for v in f[1:]) <= GRADIENTS:
            break
    else:
        pytest.fail(f"{name}: {found}")
    if TABLE:
        cells = [f"{v:.1e}" for v in (logits, *found[0][1:], *found[1][1:])]
        write_line(name, theirs.library, *mine, [*cells, str(side)])


# torchvision


@functools.cache
def torchvision_models():
    """The module; also where torchvision's compiled operators do not fit torch's."""
    torch = pytest.importorskip("torch")
    found = importlib.util.find_spec("torchvision")
    if found is None:
        pytest.skip("needs torchvision")
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:  # classification needs none of them: declare them
        sources = Path(found.origin).parent.rglob("*.py")
        text = "".join(path.read_text(encoding="utf-8") for path in sources)
        for name in set(re.findall(r"torchvision::([a-z_0-9]+)", text)):
            torch.library.define(f"torchvision::{name}", "(Tensor x) -> Tensor")
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        return importlib.import_module("torchvision.models")


class Torch:
    """A network of torchvision with our weights."""

    library = "torchvision"

    def __init__(self, name, model):
        import torch

        torch.set_num_threads(1)
        self.torch, self.model, self.name = torch, model, name
        library, place = torchvision_models(), TORCHVISION[name][0]
        options = {} if TABLE else {"num_classes": 10}
        if name == "GoogLeNet":
            options |= {"aux_logits": False, "init_weights": False}
        self.net = getattr(library, place)(**options)
        published = model.input_shape[1] == getattr(models, name).image
        if not published and name.startswith(("VGG", "AlexNet")):
            self._without_padding_to_the_published_size()
        state = {k: torch.tensor(v) for k, v in to_torch(model).items()}
        missing = self.net.load_state_dict(state, strict=False)
        assert not missing.unexpected_keys
        assert all(k.endswith("num_batches_tracked") for k in missing.missing_keys)
        for module in self.net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        self.parameters = sum(p.numel() for p in self.net.parameters())
        self.multiply_adds = self._count(model.input_shape[1])

    def _without_padding_to_the_published_size(self):
        """Small images leave small maps, which torchvision would repeat to 7x7."""
        first = next(
            i for i, m in enumerate(self.net.classifier) if hasattr(m, "in_features")
        )
        kernel = next(v for k, v in to_torch(self.model).items()
                      if k == f"classifier.{first}.weight")  # fmt: skip
        self.net.avgpool = self.torch.nn.Identity()
        self.net.classifier[first] = self.torch.nn.Linear(*kernel.shape[::-1])

    def _count(self, side):
        counted = []

        def note(module, _, y):
            window = module.weight.shape[1:].numel()
            counted.append(y[0].numel() * window)

        nn = self.torch.nn
        hooks = [
            module.register_forward_hook(note)
            for module in self.net.modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        with self.torch.no_grad():
            self.net.eval()(self.torch.zeros(1, 3, side, side))
        for hook in hooks:
            hook.remove()
        return sum(counted)

    def run(self, x, r, training):
        image = self.torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
        self.net.train(training)
        self.net.zero_grad()
        y = self.net(image)
        (y * self.torch.tensor(r)).sum().backward()
        flat = dict(_flattened(self.model))
        gradients = {}
        for name, parameter in self.net.named_parameters():
            layer, weight = torch_names(self.model)[name]
            array = parameter.grad.numpy()
            gradients[weight.name] = from_torch(
                layer, array, weight.shape, flat.get(layer)
            )
        dx = image.grad.numpy().transpose(0, 2, 3, 1)
        return y.detach().numpy(), dx, gradients


@pytest.mark.parametrize("name", chosen(TORCHVISION))
def test_torchvision(name):
    torchvision_models()
    compared(name, TORCHVISION[name][1], Torch)


# Keras


class Keras:
    """A network of keras.applications with our weights, on TensorFlow."""

    library = "keras"

    def __init__(self, name, model):
        import keras

        keras.backend.clear_session()
        side, classes = model.input_shape[1], model.output_shape[-1]
        self.net = getattr(keras.applications, name)(
            weights=None, classifier_activation=None, classes=classes,
            input_shape=(side, side, 3),
        )  # fmt: skip
        theirs = [layer for layer in self.net.layers if layer.weights]
        self.layers = {layer.name: layer for layer in theirs}
        assert set(self.layers) == {v.name for v in model.layers if v.weights}
        for layer in self.net.layers:
            if hasattr(layer, "rate"):
                layer.rate = 0.0
        for layer in model.layers:
            if layer.weights:
                self.layers[layer.name].set_weights(layer.get_weights())
        self.model = model
        variables = self.net.trainable_variables
        self.parameters = sum(int(np.prod(v.shape)) for v in variables)
        self.multiply_adds = sum(map(self._count, theirs))

    @staticmethod
    def _count(layer):
        kernels = [w for w in layer.weights if "kernel" in w.name]
        positions = int(np.prod(layer.output.shape[1:-1]))
        return positions * sum(int(np.prod(kernel.shape)) for kernel in kernels)

    def run(self, x, r, training):
        import tensorflow as tf

        mine = [
            (weight, theirs)
            for layer in self.model.layers
            for weight, theirs in zip(
                layer.trainable_weights,
                self.layers[layer.name].trainable_weights if layer.weights else (),
                strict=True,
            )
        ]
        image = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(image)
            y = self.net(image, training=training)
            loss = tf.reduce_sum(y * r)
        dx, *found = tape.gradient(loss, [image, *(v.value for _, v in mine)])
        gradients = {
            weight.name: np.reshape(g.numpy(), weight.shape)
            for (weight, _), g in zip(mine, found, strict=True)
        }
        return y.numpy(), dx.numpy(), gradients


@pytest.fixture(scope="module")
def _keras():
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        pytest.importorskip("tensorflow")
        pytest.importorskip("keras")
        yield


@pytest.mark.usefixtures("_keras")
@pytest.mark.parametrize("name", chosen(KERAS))
def test_keras(name):
    compared(name, KERAS[name], Keras)


# Networks that no library defines: their figures follow from the paper's layers


@pytest.mark.skipif(not TABLE, reason="for the table; see test_models_zoo.py")
@pytest.mark.parametrize("name", sorted({*models.zoo()} - {*TORCHVISION} - {*KERAS}))
def test_paper(name):
    network = models.get(name)
    model = network(weights=None) if hasattr(network, "facts") else network()
    trainable = sum(w.size for w in model.trainable_weights)
    write_line(name, "paper", trainable, multiply_adds(model))


# The table

COLUMNS = (
    "network", "reference", "parameters", "of the reference", "multiply-adds, 10^9",
    "of the reference", "top-1", "top-5", "logits", "inference: images", "weights",
    "training: images", "weights", "side",
)  # fmt: skip
RULE = "|---|---|" + "---:|" * (len(COLUMNS) - 2)
HEAD = f"""\
# The zoo

Every network of `fastconv.models`, and how it compares with the reference definition:
trainable parameters and multiply-adds of one image, of fastconv and of the reference,
and relative differences. Both sides have the same random weights and two random images,
in float32. Logits: the largest difference, in inference or training, by the largest
logit, on images of the network's own size. Gradients: the norm of the difference by the
norm, of the images, and of the weights of the layer that differs most; in inference and
in training (batch normalisation with the statistics of the batch, no dropout), on
images of the side in the last column. It is a smaller one where maximum poolings of
large images meet values that differ by a rounding, which decides where a gradient goes:
PyTorch in float32 then differs as much from PyTorch in float64. Where the paper is the
reference, the figures are those that follow from its layers.

`FASTCONV_ZOO=docs/zoo.md pytest tests/test_models_parity.py` writes this table;
accuracies are those that the reference publishes, in per cent. `fastconv compare all`
draws the picture, and measures the networks where it runs.

![Published top-1 accuracy by operations; areas are parameters](images/zoo.svg)

| {" | ".join(COLUMNS)} |
{RULE}
"""


def write_line(name, library, parameters, operations, differences=("",) * 6):
    """Puts the line of a network into the table, in the order of the alphabet."""
    facts = models.facts(name)
    cells = [
        name, library, f"{parameters:,}", f"{facts.parameters:,}",
        f"{operations / 1e9:.3g}", f"{facts.multiply_adds:.3g}",
        *("" if v is None else f"{v:.2f}" for v in (facts.top1, facts.top5)),
        *differences,
    ]  # fmt: skip
    path = Path(TABLE)
    before = path.read_text(encoding="utf-8") if path.exists() else HEAD
    lines = {
        line.split("|")[1].strip(): line
        for line in before.split(f"{RULE}\n", 1)[1].splitlines()
    }
    lines[name] = f"| {' | '.join(cells)} |"
    text = "\n".join(lines[n] for n in sorted(lines, key=str.lower))
    path.write_text(f"{HEAD}{text}\n", encoding="utf-8")
