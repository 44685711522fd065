"""Models whose kernels are 8-bit integers, as real Keras 3 makes and computes them."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("keras", minversion="3.13")  # QuantizationConfig

import keras
from keras import layers

import jrnn
from jrnn import KerasFileError
from jrnn.model.quantized import InputRange, quantized_product
from tests.keras_gradients import assert_same, draw_weights

BATCH, STEPS = 3, 5


def quantized(model: keras.Model, mode: str = "int8", config=None) -> keras.Model:
    draw_weights(model, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that stay as they are
        model.quantize(mode, config=config)
    return model


def own_range() -> keras.quantizers.QuantizationConfig:
    quantizer = keras.quantizers.AbsMaxQuantizer(value_range=(-60, 90), epsilon=0.1)
    return keras.quantizers.Int8QuantizationConfig(activation_quantizer=quantizer)


def weights_alone() -> keras.quantizers.QuantizationConfig:
    return keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)


@pytest.mark.parametrize("make", [lambda: None, own_range, weights_alone])
def test_dense_embedding_and_what_stays_as_it_is(make, tmp_path):
    keras.utils.clear_session()
    ids, x = keras.Input((STEPS,), dtype="int32"), keras.Input((STEPS, 4))
    h = layers.Embedding(7, 6, mask_zero=True)(ids)
    h = layers.Concatenate()([h, layers.Dense(3, activation="tanh")(x)])
    h = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(h)
    inside = keras.Sequential([keras.Input((STEPS, 6)), layers.Dense(5), layers.Dense(4)])
    model = keras.Model([ids, x], [layers.Dense(2, use_bias=False)(h), inside(h)])
    quantized(model, config=make())
    rng = np.random.default_rng(2)
    inputs = [rng.integers(0, 7, (BATCH, STEPS)), rng.standard_normal((BATCH, STEPS, 4))]
    inputs[1][0, 0] = 0  # a scale of nothing
    assert_same(model, [inputs[0], inputs[1].astype("float32")], tmp_path)


def test_projections_of_multi_head_attention(tmp_path):
    keras.utils.clear_session()
    x, y = keras.Input((STEPS, 6)), keras.Input((STEPS - 1, 3))
    found = layers.MultiHeadAttention(2, 3, output_shape=(2, 4))(x, y)
    plain = layers.MultiHeadAttention(2, 3, use_bias=False, use_gate=True)(y, y)
    model = quantized(keras.Model([x, y], [found, plain]))
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal((BATCH, *a.shape[1:])).astype("float32") for a in (x, y)]
    assert_same(model, inputs, tmp_path)


def test_mixed_precision(tmp_path):
    keras.utils.clear_session()
    x = keras.Input((STEPS, 6))
    dense = layers.Dense(4, dtype="mixed_bfloat16")
    model = quantized(keras.Model(x, dense(x)))
    values = np.random.default_rng(4).standard_normal((BATCH, STEPS, 6)).astype("float32")
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras")
    y, expected = loaded.apply(params, values), model(values)
    assert y.dtype == expected.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(y, "float32"), np.asarray(expected, "float32"), rtol=0.01, atol=0.01
    )


def test_training_moves_what_floats(tmp_path):
    keras.utils.clear_session()
    x = keras.Input((STEPS, 4))
    model = quantized(keras.Model(x, layers.Dense(2)(layers.GRU(3)(x))))
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras")
    values = np.random.default_rng(5).standard_normal((BATCH, STEPS, 4)).astype("float32")
    grads = jax.grad(lambda p: jnp.sum(loaded.apply(p, values) ** 2), allow_int=True)(params)
    assert np.abs(grads["gru"].kernel).max() > 0
    assert params["dense"].kernel.dtype == jnp.int8
    assert grads["dense"].kernel.dtype == jax.dtypes.float0


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("inputs", [InputRange(), InputRange(-50, 40, 0.5), None])
def test_product(axes, inputs):
    """Beside NumPy in 64 bits, and its derivative beside that of the kernel that is meant."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, 3, 4, 5))
    kernel = rng.integers(-127, 128, (*x.shape[-axes:], 2, 3)).astype("int8")
    scale = rng.uniform(20, 90, (2, 3))
    over = tuple(range(-axes, 0))
    if inputs is None:
        expected = np.tensordot(x, kernel, axes) / scale
    else:
        factor = inputs.largest / (np.abs(x).max(axis=over) + inputs.epsilon)
        wide = factor.reshape(*factor.shape, *[1] * axes)
        whole = np.clip(np.round(x * wide), inputs.smallest, inputs.largest)
        expected = np.tensordot(whole, kernel, axes) / (factor[..., None, None] * scale)
    arguments = jnp.asarray(x, "float32"), jnp.asarray(kernel), jnp.asarray(scale, "float32")
    y, pull_back = jax.vjp(
        lambda x: quantized_product(x, *arguments[1:], axes, inputs), arguments[0]
    )
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    up = rng.standard_normal(expected.shape)
    meant = kernel / scale
    found = np.tensordot(up, meant, axes=((-2, -1), (-2, -1)))
    np.testing.assert_allclose(
        pull_back(jnp.asarray(up, "float32"))[0], found, rtol=1e-4, atol=1e-4
    )


def test_what_keras_computes_wrongly_is_refused(tmp_path):
    """TimeDistributed calls a quantised layer as if its kernel were one of plain numbers."""
    keras.utils.clear_session()
    x, dense = keras.Input((STEPS, 4)), layers.Dense(2)
    model = quantized(keras.Model(x, layers.TimeDistributed(dense)(x)))
    ones = np.ones((BATCH, STEPS, 4), "float32")
    assert np.abs(model(ones) - dense(ones)).max() > 1
    model.save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match="leaves its scale out"):
        jrnn.load_keras(tmp_path / "m.keras")


@pytest.mark.parametrize("mode", ["int4", "float8"])
def test_other_modes_are_refused(mode, tmp_path):
    keras.utils.clear_session()
    x = keras.Input((STEPS, 4))
    quantized(keras.Model(x, layers.Dense(2)(x)), mode).save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match=f"'{mode}.*mode 'int8' alone") as error:
        jrnn.load_keras(tmp_path / "m.keras")
    assert "\n" not in str(error.value)
