"""SpectralNormalization of real Keras 3: what is stored twice, frozen, cast and trained."""

import jax
import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer
from tests.keras_entries import KERAS3, TF2, entry, legacy, model_of, numbers, stored
from tests.keras_gradients import assert_same, draw_weights

STEPS, FEATURES = 5, 4


def normalised(layer, **options):
    return layers.SpectralNormalization(layer, **options)


def chain(*parts):
    return keras.Sequential([keras.Input((STEPS, FEATURES)), *parts])


def test_numbers_and_gradients(tmp_path):
    """Masks pass as the layer inside says."""
    keras.utils.clear_session()
    model = chain(layers.Masking(), normalised(layers.Dense(FEATURES)), layers.GRU(2))
    draw_weights(model, 1)
    x = np.random.default_rng(2).standard_normal((3, STEPS, FEATURES)).astype("float32")
    x[:, 2] = 0
    x[0, 0] = 0
    assert_same(model, [x], tmp_path)


def test_an_embedding_of_integers(tmp_path):
    """Keras casts its output to the input's dtype, whatever that is, and its mask is lost."""
    keras.utils.clear_session()
    ids = keras.Input((STEPS,), dtype="int32")
    inner = layers.Embedding(7, FEATURES, mask_zero=True)
    model = keras.Model(ids, normalised(inner)(ids))
    draw_weights(model, 3)
    inner.embeddings.assign(5 * inner.embeddings)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    x = np.random.default_rng(4).integers(0, 7, (3, STEPS))
    y, expected = loaded.apply(params, x), model(x)
    assert y.dtype == np.dtype("int32")
    assert np.any(y)
    np.testing.assert_array_equal(y, expected)
    [node] = loaded.nodes
    assert node.layer.run(params[node.layer.name], [x], [None]).masks == (None,)


@pytest.mark.parametrize("frozen", ["", "inner", "outer", "inner outer", "later"])
def test_frozen_in_a_nested_model(tmp_path, frozen):
    """Its arrays stand in another order then."""
    keras.utils.clear_session()
    inside = layers.Dense(FEATURES, trainable="inner" not in frozen)
    part = normalised(inside, trainable="outer" not in frozen)
    model = chain(chain(layers.Dense(FEATURES), part, layers.Dense(FEATURES)), layers.Dense(2))
    if frozen == "later":
        part.trainable = False
    draw_weights(model, 5)
    x = np.random.default_rng(6).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        loaded, params = jrnn.load_keras(tmp_path / name, backend="jax")
        np.testing.assert_allclose(loaded.apply(params, x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("name", ["s.keras", "s.h5"])
def test_saved_again(tmp_path, trainable, name):
    keras.utils.clear_session()
    frozen = normalised(layers.Dense(FEATURES))
    model = chain(frozen, layers.Dense(2))
    frozen.trainable = trainable
    draw_weights(model, 7)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    jrnn.save_keras(tmp_path / name, loaded, params, backend="jax")
    again, same = jrnn.load_keras(tmp_path / name, backend="jax")
    assert again == loaded
    jax.tree.map(np.testing.assert_array_equal, same, params)
    theirs = keras.saving.load_model(tmp_path / name)
    for found, weight in zip(theirs.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, weight)


def test_training_is_refused_and_penalties_count(tmp_path):
    keras.utils.clear_session()
    model = chain(
        normalised(layers.Dense(3, kernel_regularizer="l2", kernel_constraint="unit_norm"))
    )
    draw_weights(model, 8)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    x = np.ones((2, STEPS, FEATURES), "float32")
    model(x)
    np.testing.assert_allclose(loaded.penalty(params), sum(model.losses), rtol=1e-6)
    [own] = loaded.constrain(params).values()
    np.testing.assert_allclose(np.linalg.norm(own.layer.kernel, axis=0), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"'spectral_normalization'.*divides its kernel"):
        loaded.apply(params, x, training=True)


def test_of_tf_keras():
    """There the vector has another name, and the output the layer's dtype."""
    dense = entry("Dense", name="d", units=3)
    config = entry("SpectralNormalization", name="s", layer=dense, power_iterations=1)
    model = model_of(config, writer=TF2)
    kernel, bias, u = numbers(3, 3, seed=1), numbers(3, seed=2), numbers(1, 3, seed=3)
    arrays = [stored("s/kernel:0", kernel), stored("s/sn_u:0", u), stored("s/bias:0", bias)]
    params = build_params(model, legacy(s=arrays))
    np.testing.assert_array_equal(params["s"].vector_u, u)
    x = numbers(2, 4, 3, seed=4)
    np.testing.assert_allclose(model.apply(params, x), x @ kernel + bias, rtol=1e-5, atol=1e-5)


def test_what_it_cannot_hold():
    lstm = entry("LSTM", name="l", units=3)
    for wrong in ({"layer": lstm}, {"layer": entry("Dense", units=2), "power_iterations": 0}):
        config = entry("SpectralNormalization", name="s", **{"power_iterations": 1, **wrong})
        with pytest.raises(KerasFileError, match=r"'s' .*(is a LSTM|power_iterations is 0)"):
            parse_layer(config, KERAS3)
