"""Models: their structure, calls, building and summary."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, ShapeError, UnknownNameError
from fastconv.graph.variable import runs

X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def dense(units, name=None, **options):
    return fc.layers.Dense(units, name=name, **options)


def test_functional_is_its_formula():
    x = fc.Input((4,))
    hidden = dense(3, "a", activation="relu")(x)
    model = fc.Model(x, dense(2, "b")(hidden), name="net")
    w, b, v, c = model.get_weights()
    expected = np.maximum(X @ w + b, 0) @ v + c
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(model(X), expected, rtol=1e-5)
    assert [layer.name for layer in model.layers] == ["a", "b"]
    assert model.get_layer("b") is model.get_layer(index=-1)
    assert model.input is x
    assert model.input_shape == (None, 4)
    assert model.output_shape == (None, 2)


def test_several_inputs_and_outputs_as_lists_and_dicts():
    a, b = fc.Input((4,), name="a"), fc.Input((4,), name="b")
    both = fc.layers.Add()([a, b])
    listed = fc.Model([a, b], [both, both * 2.0])
    one, two = listed.predict([X, X], verbose=0)
    np.testing.assert_allclose(one, 2 * X)
    np.testing.assert_allclose(two, 4 * X)
    named = fc.Model({"p": a, "q": b}, {"sum": both, "last": b})
    found = named.predict({"q": X, "p": 0 * X}, verbose=0)
    np.testing.assert_array_equal(found["sum"], X)
    np.testing.assert_array_equal(found["last"], X)
    with pytest.raises(ArgumentError, match="'p'"):
        named.predict({"x": X, "q": X}, verbose=0)
    with pytest.raises(ArgumentError, match="expected 2"):
        listed.predict([X], verbose=0)


def test_shared_layers_and_nested_models():
    shared = dense(3, "shared")
    x = fc.Input((4,))
    inner = fc.Model(x, shared(x), name="inner")
    y, z = fc.Input((4,)), fc.Input((4,))
    outer = fc.Model([y, z], inner(y) - inner(z))
    assert len(outer.weights) == 2
    w, _ = inner.get_weights()
    np.testing.assert_allclose(
        outer.predict([X, 0 * X], verbose=0), X @ w, rtol=1e-5, atol=1e-6
    )


def test_part_of_a_model():
    model = fc.Sequential([fc.Input((4,)), dense(3, "a"), dense(2, "b")])
    part = fc.Model(model.input, model.get_layer("a").output)
    w, b = model.get_layer("a").get_weights()
    np.testing.assert_allclose(part.predict(X, verbose=0), X @ w + b, rtol=1e-5)


def test_disconnected_graph():
    with pytest.raises(ArgumentError, match="not among the inputs"):
        fc.Model(fc.Input((4,)), dense(2)(fc.Input((4,))))


def test_sequential_grows_and_shrinks():
    model = fc.Sequential([fc.Input((4,)), dense(3, "a")])
    model.add(dense(2, "b"))
    assert model.output_shape == (None, 2)
    assert model.predict(X, verbose=0).shape == (6, 2)
    assert model.pop().name == "b"
    assert model.output_shape == (None, 3)
    assert model.predict(X, verbose=0).shape == (6, 3)
    with pytest.raises(ArgumentError, match="different names"):
        model.add(dense(2, "a"))
    with pytest.raises(ArgumentError, match="expected a layer"):
        model.add("dense")
    assert len(model.layers) == 1


def test_deferred_build():
    model = fc.Sequential([dense(3), dense(2)])
    assert not model.built
    assert model.weights == []
    with pytest.raises(ArgumentError, match="not known yet"):
        _ = model.inputs
    assert model.predict(X, verbose=0).shape == (6, 2)
    assert model.count_params() == 23
    other = fc.Sequential([dense(3)])
    other.build((None, 4))
    assert other.output_shape == (None, 3)


def test_own_class():
    class Net(fc.Model):
        def __init__(self):
            super().__init__()
            self.a = dense(8, activation="relu")
            self.drop = fc.layers.Dropout(0.5)
            self.b = dense(1)

        def call(self, x, training=False):
            return self.b(self.drop(self.a(x), training=training))

    model = Net()
    model.compile("sgd", "mse")
    history = model.fit(X, X[:, :1], epochs=20, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert [layer.name for layer in model.layers] == [
        model.a.name, model.drop.name, model.b.name
    ]  # fmt: skip
    np.testing.assert_array_equal(
        model.predict(X, verbose=0), model.predict(X, verbose=0)
    )


def test_weights_lie_in_one_block_the_trained_first():
    model = fc.Sequential(
        [
            fc.Input((8, 8, 1)),
            fc.layers.Conv2D(2, 3),
            fc.layers.BatchNormalization(),
            fc.layers.Flatten(),
            dense(2),
        ]
    )
    model.compile(loss="mse")
    model.predict(np.zeros((1, 8, 8, 1)), verbose=0)
    assert len(runs(model.trainable_weights)) == 1
    assert len({id(w.block) for w in model.weights}) == 1


def test_frozen_layers_stay():
    base = fc.Sequential([fc.Input((4,)), dense(3, "a")])
    base.trainable = False
    model = fc.Sequential([fc.Input((4,)), base, dense(1, "b")])
    model.compile(fc.optimizers.SGD(0.1), "mse")
    frozen, free = base.get_weights(), model.get_layer("b").get_weights()
    model.fit(X, X[:, :1], epochs=2, verbose=0)
    for before, after in zip(frozen, base.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(free[0], model.get_layer("b").get_weights()[0])


def test_layers_that_were_used_before_the_model():
    layer = dense(2)
    before = layer(X)
    model = fc.Sequential([fc.Input((4,)), layer])
    model.compile(fc.optimizers.SGD(0.5), "mse")
    model.fit(X, X[:, :2], epochs=3, verbose=0)
    np.testing.assert_allclose(layer(X), model.predict(X, verbose=0), rtol=1e-6)
    assert not np.allclose(layer(X), before)


def test_unknown_layer():
    model = fc.Sequential([fc.Input((4,)), dense(3, "a")])
    with pytest.raises(UnknownNameError, match="'a'"):
        model.get_layer("aa")
    with pytest.raises(UnknownNameError, match="1 layers"):
        model.get_layer(index=1)
    with pytest.raises(ArgumentError):
        model.get_layer()


def test_old_names_of_arguments():
    x = fc.Input((4,))
    with pytest.warns(DeprecationWarning, match="inputs"):
        model = fc.Model(input=x, outputs=dense(1)(x))
    model.compile(loss="mse")
    with pytest.warns(DeprecationWarning, match="epochs"):
        history = model.fit(X, X[:, :1], nb_epoch=2, verbose=0)
    assert len(history.epoch) == 2
    batches = [(X, X[:, :1])] * 3
    with pytest.warns(DeprecationWarning, match="fit"):
        model.fit_generator(iter(batches), 2, 1, verbose=0)


def test_input_dtypes_and_missing_channel_axis():
    model = fc.Sequential([fc.Input((5, 5, 1)), fc.layers.Flatten(), dense(2)])
    x = np.arange(50, dtype=np.uint8).reshape(2, 5, 5)
    expected = model.predict(x.astype(np.float32)[..., None], verbose=0)
    for given in (x, x[..., None], x.astype(np.int64), x.astype(np.float64)):
        np.testing.assert_array_equal(model.predict(given, verbose=0), expected)


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((2, 3, 5, 5), "channels_last"), ((5, 5, 3), "batch axis"), ((2, 6, 5, 3), "6")],
)
def test_wrong_input_shape(shape, hint):
    model = fc.Sequential([fc.Input((5, 5, 3), name="image"), fc.layers.Flatten()])
    with pytest.raises(ShapeError, match=f"'image'.*{hint}"):
        model.predict(np.zeros(shape, np.float32), verbose=0)


def test_summary(capsys):
    model = fc.Sequential(
        [fc.Input((6, 6, 1)), fc.layers.Conv2D(2, 3, name="c"), fc.layers.Flatten()],
        name="net",
    )
    model.summary()
    text = capsys.readouterr().out
    assert "c (Conv2D)" in text
    assert "(None, 4, 4, 2)" in text
    assert "Parameters: 20 (20 trainable, 0 not)" in text
    assert "Memory of training: not known" in text
    assert f"{model.memory(32, training=False)['total']:,} bytes" in text
    convolution = 2 * 16 * 2 * 9
    line = next(line for line in text.splitlines() if line.startswith("c "))
    assert int(line.split()[-1].replace(",", "")) in (convolution, convolution + 32)
    model.compile("sgd", "mse")
    lines = []
    model.summary(print_fn=lines.append)
    assert f"{model.memory(32)['total']:,} bytes" in lines[0]
    fc.Sequential([dense(2)]).summary(print_fn=lines.append)
    assert "?" in lines[1]


def test_explain(capsys):
    model = fc.Sequential([fc.Input((4,)), dense(3, "first"), dense(2)])
    model.compile(fc.optimizers.SGD(momentum=0.9), "mse")
    model.explain(batch_size=4)
    text = capsys.readouterr().out
    assert "training, batch 4" in text
    assert "first" in text
    assert "sgd" in text
    model.explain(training=False)
    assert "sgd" not in capsys.readouterr().out
    with pytest.raises(ArgumentError, match="batch_size"):
        model.explain(batch_size=0)
