"""Names of Keras beside the layers: modules, old methods, objects as data, copies."""

import importlib
import itertools
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, layers
from fastconv.layers import channels_first

RNG = np.random.default_rng(0)


def small(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def batches(size, count=None):
    numbers = itertools.count() if count is None else range(count)
    return ((small(size, 3), small(size, 1)) for _ in numbers)


def compiled():
    model = fc.Sequential([fc.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


# Modules


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("applications.inception_v3", "InceptionV3"),
        ("applications", "InceptionV3"),
        ("preprocessing", "image"),
        ("models", "Model"),
        ("models", "Sequential"),
        ("models", "load_model"),
        ("models", "LeNet5"),
        ("backend", "clear_session"),
        ("backend", "square"),
        ("config", "set_image_data_format"),
        ("saving", "register_keras_serializable"),
        ("utils", "Sequence"),
    ],
)
def test_from_import(module, name):
    assert hasattr(importlib.import_module(f"fastconv.{module}"), name)


def test_second_names():
    assert layers.MaxPool2D is layers.MaxPooling2D
    assert layers.GlobalAvgPool1D is layers.GlobalAveragePooling1D
    assert isinstance(fc.initializers.glorot_uniform(), fc.initializers.GlorotUniform)
    assert fc.initializers.zeros is fc.initializers.Zeros
    with pytest.raises(AttributeError):
        fc.initializers.no_such  # noqa: B018


def test_one_network_under_two_names():
    from fastconv.applications import inception_v3
    from fastconv.models.inception_v3 import InceptionV3

    assert inception_v3.InceptionV3 is InceptionV3 is fc.models.InceptionV3
    assert sys.modules["fastconv.applications.inception_v3"] is inception_v3


def test_backend_settings():
    assert (fc.backend.epsilon(), fc.backend.floatx()) == (1e-7, "float32")
    fc.backend.set_epsilon(1e-5)
    try:
        assert fc.config.epsilon() == 1e-5
    finally:
        fc.config.set_epsilon(1e-7)
    with pytest.raises(errors.DtypeError, match="float32"):
        fc.config.set_floatx("float64")
    with pytest.raises(errors.ArgumentError, match="epsilon"):
        fc.config.set_epsilon(0)
    with pytest.raises(errors.UnknownNameError, match="data_format"):
        fc.config.set_image_data_format("channels_middle")
    with pytest.raises(AttributeError):
        fc.backend.no_such_function  # noqa: B018


def test_backend_values():
    model = compiled()
    with pytest.raises(errors.ArgumentError, match="learning_rate = "):
        fc.backend.set_value(model.optimizer.learning_rate, 0.1)
    kernel = model.weights[0]
    fc.backend.set_value(kernel, np.ones((3, 1)))
    np.testing.assert_array_equal(fc.backend.get_value(kernel), np.ones((3, 1)))
    with pytest.raises(errors.ArgumentError, match="describes a model"):
        fc.backend.get_value(model.input)


# Order of the axes


def test_layers_that_take_depth_first():
    x = small(2, 3, 8, 10)
    ours = [
        channels_first.Conv2D(4, 3, name="c"),
        channels_first.MaxPooling2D(2),
        channels_first.Flatten(),
        channels_first.Dense(2),
    ]
    for layer in ours:
        x = layer(x)
    assert [getattr(v, "data_format", None) for v in ours] == [
        *["channels_first"] * 3, None,
    ]  # fmt: skip
    assert ours[0].kernel.shape == (3, 3, 3, 4)
    assert fc.config.image_data_format() == "channels_last"


def test_order_that_is_given_counts():
    last = "channels_last"
    assert channels_first.Flatten(last).data_format == last
    assert channels_first.Conv2D(4, 3, data_format=last).data_format == last
    with pytest.warns(DeprecationWarning, match="dim_ordering"):
        pool = channels_first.MaxPooling2D(dim_ordering="tf")
    assert pool.data_format == last
    with pytest.raises(AttributeError):
        channels_first.no_such_layer  # noqa: B018


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_shape_that_looks_like_depth_first_is_not_guessed():
    with pytest.warns(errors.FastconvWarning, match="channels_first") as seen:
        layer = layers.Convolution2D(8, 3, 3, input_shape=(3, 32, 32))
    assert layer.data_format == "channels_last"
    assert seen[-1].filename == __file__


@pytest.mark.parametrize(
    "given",
    [
        {"input_shape": (32, 32, 3)},
        {"input_shape": (3, 32, 32), "data_format": "channels_last"},
        {"input_shape": (None, None, 3)},
        {},
    ],
)
def test_no_warning_where_the_order_is_clear(given):
    layers.Convolution2D(8, (3, 3), **given)


# Keras 1's and 2's methods


def test_samples_become_steps():
    model = compiled()
    source = batches(4)
    with pytest.warns(DeprecationWarning, match="is now") as seen:
        history = model.fit_generator(
            source, samples_per_epoch=10, nb_epoch=2, verbose=0,
            validation_data=batches(5), nb_val_samples=10, max_q_size=3, nb_worker=2,
        )  # fmt: skip
    texts = [str(warning.message) for warning in seen]
    for new in ("is now fit", "'steps_per_epoch'", "'epochs'", "'validation_steps'"):
        assert any(new in text for text in texts), texts
    assert {warning.filename for warning in seen} == {__file__}
    assert history.params["steps"] == 3
    assert len(history.history["val_loss"]) == 2
    assert len(list(itertools.islice(source, 2))) == 2  # 6 were taken, more are there


def test_no_batch_is_lost_by_looking_at_the_first():
    seen = []

    def source():
        for i in range(4):
            seen.append(i)
            yield np.full((2, 3), i, np.float32), small(2, 1)

    model = compiled()
    with pytest.warns(DeprecationWarning, match="is now"):
        model.fit_generator(source(), samples_per_epoch=8, nb_epoch=1, verbose=0)
    assert seen == [0, 1, 2, 3]


def test_generators_for_evaluate_and_predict():
    model = compiled()
    x, y = small(6, 3), small(6, 1)
    parts = [(x[:3], y[:3]), (x[3:], y[3:])]
    with pytest.warns(DeprecationWarning, match="is now evaluate"):
        loss = model.evaluate_generator(iter(parts), 2, verbose=0)
    assert loss == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
    with pytest.warns(DeprecationWarning, match="is now"):
        found = model.predict_generator(iter(parts), val_samples=6, verbose=0)
    np.testing.assert_array_equal(found, model.predict(x, verbose=0))


def test_generator_errors():
    model = compiled()
    with (
        pytest.warns(DeprecationWarning, match="is now"),
        pytest.raises(errors.DataError, match="no b"),
    ):
        model.fit_generator(iter([]), samples_per_epoch=8, nb_epoch=1)
    with pytest.raises(errors.ArgumentError, match="by position"):
        model.fit_generator(batches(2), 1, 1, 0, None, None, None)


# Data sets that give batches by number


class Squares(fc.utils.Sequence):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        x = np.full((2, 3), index, np.float32)
        return x, x[:, :1] ** 2


def test_sequence_is_a_data_set():
    model = compiled()
    history = model.fit(Squares(workers=2), epochs=2, verbose=0)
    assert history.params["steps"] == 3
    with pytest.raises(NotImplementedError, match="__len__"):
        len(fc.utils.PyDataset())


# Copies


def functional():
    a, b = fc.Input((4,), name="a"), fc.Input((4,), name="b")
    shared = layers.Dense(3, activation="relu", name="shared")
    y = layers.Dense(2, name="out")(layers.add([shared(a), shared(b)]))
    return fc.Model([a, b], y)


@pytest.mark.parametrize("make", [compiled, functional])
def test_a_clone_has_its_own_weights(make):
    model = make()
    before = model.get_weights()
    clone = fc.models.clone_model(model)
    assert [v.name for v in clone.layers] == [v.name for v in model.layers]
    assert not set(clone.weights) & set(model.weights)
    clone.set_weights(before)
    x = [small(5, *t.shape[1:]) for t in model.inputs]
    np.testing.assert_array_equal(
        clone.predict(x if len(x) > 1 else x[0], verbose=0),
        model.predict(x if len(x) > 1 else x[0], verbose=0),
    )
    clone.set_weights([w + 1 for w in before])
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_clone_function_changes_layers():
    def narrow(layer):
        if isinstance(layer, layers.Dense) and layer.name == "shared":
            return layers.Dense(7, name="shared")
        return layer.from_config(layer.get_config())

    clone = fc.models.clone_model(functional(), clone_function=narrow)
    assert clone.get_layer("shared").units == 7
    assert len(clone.get_layer("shared").weights) == 2
    assert clone.get_layer("out").kernel.shape == (7, 2)


def test_a_clone_for_another_input():
    clone = fc.models.clone_model(compiled(), fc.Input((3,), batch_size=2))
    assert clone.input_shape == (2, 3)
    model = fc.Model(x := fc.Input((3,)), layers.Dense(1)(x))
    assert fc.models.clone_model(model, fc.Input((3,), 4)).output_shape == (4, 1)
    with pytest.raises(errors.ArgumentError, match="2 inputs"):
        fc.models.clone_model(functional(), fc.Input((4,)))


def test_a_class_of_the_user_is_not_cloned():
    class Own(fc.Model):
        def call(self, x):
            return x

    with pytest.raises(errors.ArgumentError, match="Own"):
        fc.models.clone_model(Own())


# Objects as data


@fc.utils.register_keras_serializable("tests")
class Registered(layers.Layer):
    def call(self, x):
        return x * 3.0


@fc.utils.register_keras_serializable("tests", name="plus_one")
def _more(x):
    return x + 1.0


@pytest.mark.parametrize(
    "part",
    [
        layers.Conv2D(3, 3, activation="relu"),
        fc.losses.Huber(2.0),
        fc.metrics.TopKCategoricalAccuracy(3),
        fc.optimizers.Adam(0.1, clipnorm=1.0),
        fc.initializers.HeNormal(seed=3),
        Registered(name="r"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_as_data(part):
    import json

    data = json.loads(json.dumps(fc.saving.serialize_keras_object(part)))
    copy = fc.saving.deserialize_keras_object(data)
    assert type(copy) is type(part)
    assert copy.get_config() == part.get_config()


def test_structures_and_functions_as_data():
    given = {"a": [1, 2.5, None], "loss": fc.losses.huber, "own": _more}
    data = fc.saving.serialize_keras_object(given)
    assert data["own"]["config"] == "tests>plus_one"
    assert fc.saving.deserialize_keras_object(data) == given
    with pytest.raises(errors.ArgumentError, match="lambda"):
        fc.saving.serialize_keras_object(lambda x: x)
    for bad in (
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "fastconv.losses", "class_name": "NoLoss", "config": {}},
        {"module": "os", "class_name": "function", "config": "system"},
        {"module": "fastconv.errors", "class_name": "function", "config": "unknown"},
    ):
        with pytest.raises(errors.FormatError):
            fc.saving.deserialize_keras_object(bad)


def test_a_registered_layer_is_found_in_a_file(tmp_path):
    model = fc.Sequential([
        fc.Input((3,)), Registered(), layers.Activation("plus_one")
    ])  # fmt: skip
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert "tests>Registered" in model.to_json()
    x = small(2, 3)
    np.testing.assert_array_equal(fc.load_model(path)(x), x * 3 + 1)


def test_registering_needs_a_config():
    with pytest.raises(errors.ArgumentError, match="get_config"):
        fc.utils.register_keras_serializable()(int)


def test_objects_known_everywhere():
    known = fc.utils.get_custom_objects()
    known["triple"] = lambda x: x * 3.0
    try:
        assert layers.Activation("triple")([2.0]) == [6.0]
        with fc.utils.custom_object_scope({"triple": lambda x: x}):
            assert layers.Activation("triple")([2.0]) == [2.0]
    finally:
        del known["triple"]
    with pytest.raises(errors.UnknownNameError):
        layers.Activation("triple")


def test_small_helpers():
    utils = fc.utils
    np.testing.assert_allclose(utils.normalize([[3, 4], [0, 0]]), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(utils.normalize([1.0, 3.0], order=1), [[0.25, 0.75]])
    assert utils.unpack_x_y_sample_weight((1, 2, 3)) == (1, 2, 3)
    assert utils.unpack_x_y_sample_weight(1) == (1, None, None)
    assert utils.pack_x_y_sample_weight(1, 2, 3) == (1, 2, 3)
    assert utils.pack_x_y_sample_weight((1, 2)) == ((1, 2),)
    a, b = fc.Input((2,)), fc.Input((2,))
    assert utils.get_source_inputs(layers.add([a, b])) == [a, b]
    assert not utils.is_keras_tensor(np.ones(2))
