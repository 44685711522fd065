"""``model.apply(training=True)``: dropout, noise and batch statistics in loaded models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn.cells.dropout import DropoutCell

keras = pytest.importorskip("keras")
layers = keras.layers
KEY = jax.random.key(0)


@pytest.fixture
def loaded(tmp_path):
    """Saves a Keras model with random weights, and loads it."""

    def load(model):
        rng = np.random.default_rng(1)
        model.set_weights(
            [
                rng.uniform(0.3, 0.9, w.shape) if np.issubdtype(w.dtype, np.floating) else w
                for w in model.get_weights()
            ]
        )
        path = tmp_path / "model.keras"
        model.save(path)
        return jrnn.load_keras(path, backend="jax")

    return load


def sequence(*stack, shape=(6, 5)):
    return keras.Sequential([keras.Input(shape), *stack])


@pytest.mark.parametrize("masked", [False, True])
def test_batch_normalization(loaded, masked):
    """Outputs, moving statistics and gradients are those of Keras in training."""
    stack = [layers.Masking(), layers.BatchNormalization(momentum=0.8, epsilon=0.1)]
    keras_model = sequence(*stack[not masked :])
    model, params = loaded(keras_model)
    xs = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    xs[1, 2:] = 0
    state, ys = model.apply(params, xs, training=True, return_state=True)
    np.testing.assert_allclose(ys, keras_model(xs, training=True), rtol=1e-5, atol=1e-6)
    *_, mean, variance = keras_model.get_weights()
    name = keras_model.layers[-1].name
    np.testing.assert_allclose(state[name].mean, mean, rtol=1e-5)
    np.testing.assert_allclose(state[name].variance, variance, rtol=1e-5)
    after = model.apply(params, xs, state=state)
    np.testing.assert_allclose(after, keras_model(xs), rtol=1e-5, atol=1e-6)
    again, _ = model.apply(params, xs, training=True, state=state, return_state=True)
    keras_model(xs, training=True)
    np.testing.assert_allclose(again[name].mean, keras_model.get_weights()[-2], rtol=1e-5)

    moving = [v.value for v in keras_model.non_trainable_variables]
    trainable = [v.value for v in keras_model.trainable_variables]
    weights = np.random.default_rng(1).normal(size=ys.shape).astype(np.float32)
    expected = jax.grad(
        lambda x: jnp.sum(
            weights * keras_model.stateless_call(trainable, moving, x, training=True)[0]
        )
    )(xs)
    found = jax.grad(lambda x: jnp.sum(weights * model.apply(params, x, training=True)))(xs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_frozen_batch_normalization(loaded):
    keras_model = sequence(layers.BatchNormalization(trainable=False))
    model, params = loaded(keras_model)
    xs = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    state, ys = model.apply(params, xs, training=True, return_state=True)
    np.testing.assert_allclose(ys, keras_model(xs, training=True), rtol=1e-5)
    assert not state


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (lambda: layers.Dropout(0.3), (40, 50), ()),
        (lambda: layers.Dropout(0.3, noise_shape=(None, 1, 50)), (40, 50), (1,)),
        (lambda: layers.SpatialDropout1D(0.3), (40, 50), (1,)),
        (lambda: layers.SpatialDropout2D(0.3), (4, 5, 200), (1, 2)),
        (
            lambda: layers.SpatialDropout2D(0.3, data_format="channels_first"),
            (200, 4, 5),
            (2, 3),
        ),
        (lambda: layers.SpatialDropout3D(0.3), (2, 3, 4, 200), (1, 2, 3)),
    ],
    ids=["plain", "noise_shape", "1d", "2d", "2d-first", "3d"],
)
def test_dropout(loaded, layer, shape, axes):
    """Of ones, the right part is zero and the rest scaled, alike along the axes dropped whole."""
    model, params = loaded(sequence(layer(), shape=shape))
    xs = jnp.ones((8, *shape))
    np.testing.assert_array_equal(model.apply(params, xs), xs)
    ys = np.asarray(model.apply(params, xs, training=True, key=KEY))
    assert np.unique(ys).tolist() == [0.0, pytest.approx(1 / 0.7)]
    for axis in axes:
        assert (ys == ys.take([0], axis)).all()
    free = ys[tuple(slice(1) if axis in axes else slice(None) for axis in range(ys.ndim))]
    assert abs(np.mean(free == 0) - 0.3) < 0.05


def test_noise(loaded):
    xs = jnp.full((50, 40, 50), 2.0)
    for layer, mean, deviation in (
        (layers.GaussianNoise(0.5), 2, 0.5),
        (layers.GaussianDropout(0.2), 2, 2 * 0.5),
    ):
        model, params = loaded(sequence(layer, shape=(40, 50)))
        ys = model.apply(params, xs, training=True, key=KEY)
        assert abs(ys.mean() - mean) < 0.01
        assert abs(ys.std() - deviation) < 0.01
    model, params = loaded(sequence(layers.AlphaDropout(0.2), shape=(40, 50)))
    xs = jax.random.normal(KEY, (50, 40, 50))
    ys = model.apply(params, xs, training=True, key=jax.random.key(1))
    assert abs(ys.mean()) < 0.02
    assert abs(ys.std() - 1) < 0.02


@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_dropout(loaded, kind, implementation):
    """A loaded layer drops what its config says, as the functions do."""
    options = {"dropout": 0.4, "implementation": implementation, "return_sequences": True}
    if implementation == 1:
        options["recurrent_dropout"] = 0.3
    keras_model = sequence(getattr(layers, kind)(3, **options))
    model, params = loaded(keras_model)
    layer = model.layers[-1]
    assert (layer.dropout, layer.recurrent_dropout) == (0.4, options.get("recurrent_dropout", 0))
    assert layer.dropout_per_gate == (implementation == 1)
    xs = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(model.apply(params, xs), keras_model(xs), rtol=1e-5, atol=1e-6)
    ys = model.apply(params, xs, training=True, key=KEY)
    cell = DropoutCell(layer.cell, 0.4, layer.recurrent_dropout, per_gate=implementation == 1)
    number = len(model.nodes) - 1
    expected = jrnn.rnn(cell, params[layer.name], xs, key=jax.random.fold_in(KEY, number))[1]
    np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        ys, jax.jit(model.apply, static_argnames="training")(params, xs, training=True, key=KEY)
    )


def test_everywhere(loaded):
    """Dropout acts inside wrappers, stacks and nested models, and nowhere without training."""
    cells = [layers.LSTMCell(3, dropout=0.5), layers.GRUCell(4, recurrent_dropout=0.5)]
    inner = sequence(layers.Dropout(0.5), layers.Dense(5), shape=(6, 5))
    for layer in (
        layers.RNN(cells, return_sequences=True),
        layers.RNN(layers.SimpleRNNCell(3, recurrent_dropout=0.5)),
        layers.Bidirectional(layers.LSTM(3, dropout=0.5)),
        layers.TimeDistributed(layers.Dropout(0.5)),
        inner,
    ):
        keras_model = sequence(layer)
        model, params = loaded(keras_model)
        xs = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
        plain = np.asarray(model.apply(params, xs))
        np.testing.assert_allclose(plain, keras_model(xs), rtol=1e-5, atol=1e-6)
        first, second = (
            np.asarray(model.apply(params, xs, training=True, key=jax.random.key(k)))
            for k in (0, 1)
        )
        assert np.abs(first - plain).max() > 1e-2, layer
        assert np.abs(first - second).max() > 1e-2, layer
        with pytest.raises(ValueError, match="give key="):
            model.apply(params, xs, training=True)


def test_attention_drops(loaded):
    x = keras.Input((6, 5))
    keras_model = keras.Model(x, layers.Attention(dropout=0.5)([x, x]))
    model, params = loaded(keras_model)
    xs = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(model.apply(params, xs), keras_model(xs), rtol=1e-5, atol=1e-6)
    drawn = jax.jit(jax.vmap(lambda key: model.apply(params, xs, training=True, key=key)))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    np.testing.assert_allclose(drawn.mean(0), keras_model(xs), atol=0.05)
    assert np.abs(drawn[0] - drawn[1]).max() > 0.1


def test_key_without_training(loaded):
    model, params = loaded(sequence(layers.Dropout(0.5)))
    with pytest.raises(ValueError, match="training=True"):
        model.apply(params, jnp.ones((2, 6, 5)), key=KEY)


def test_no_key_needed_without_dropout(loaded):
    model, params = loaded(sequence(layers.LSTM(3)))
    xs = jnp.ones((2, 6, 5))
    np.testing.assert_array_equal(model.apply(params, xs, training=True), model.apply(params, xs))
