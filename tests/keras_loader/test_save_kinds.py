"""Saved for real Keras 3: attention, 8-bit integers, and what hard_sigmoid was before."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras", minversion="3.13")  # QuantizationConfig

import keras
from keras import layers

import jrnn
from jrnn.keras_loader.load import load
from jrnn.keras_loader.same_program import same_program
from tests.keras_gradients import draw_weights
from tests.keras_loader import test_multi_head, test_quantized
from tests.keras_loader.test_save import same_bits
from tests.keras_loader.test_save_oracle import numbers, same_numbers
from tests.keras_models import Draw

DATA = Path(__file__).parents[1] / "data"
FORMATS = ("s.keras", "s.h5")


def goes_through(model: keras.Model, xs: list, folder, formats=FORMATS) -> None:
    """Keras to jrnn to Keras: the same numbers; jrnn to jrnn: the same model and bits."""
    expected = [np.asarray(y) for y in numbers(model, xs)]
    model.save(folder / "m.keras")
    loaded, params = jrnn.load_keras(folder / "m.keras", backend="jax")
    for name in formats:
        jrnn.save_keras(folder / name, loaded, params, backend="jax")
        again, same = jrnn.load_keras(folder / name, backend="jax")
        # Which of two calls that know nothing of each other comes first is open.
        assert again == loaded or same_program(loaded, again, params)
        same_bits(same, params)
        theirs = keras.models.load_model(folder / name, compile=False)
        for found, weight in zip(theirs.weights, model.weights, strict=True):
            np.testing.assert_array_equal(found, weight)
        for y, wanted in zip(numbers(theirs, xs), expected, strict=True):
            np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)
    jrnn.save_keras(folder / "s.weights.h5", loaded, params, backend="jax")
    _, same = jrnn.load_keras(folder / "s.weights.h5", config=loaded)
    same_bits(same, params)
    model.load_weights(folder / "s.weights.h5")
    for y, wanted in zip(numbers(model, xs), expected, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)


# Attention


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 8))]
)
def test_heads_that_share_keys(seed, tmp_path):
    keras.utils.clear_session()
    draw = Draw(seed)
    x, y = keras.Input((5, 4)), keras.Input((3, 4))
    options = {"use_causal_mask": draw.coin(), "return_attention_scores": draw.coin()}
    model = keras.Model([x, y], test_multi_head.grouped(draw)(x, y, **options))
    draw_weights(model, seed)
    xs = [draw.rng.standard_normal((2, *one.shape[1:])).astype("float32") for one in (x, y)]
    goes_through(model, xs, tmp_path)


def attends(seed: int, folder) -> None:
    keras.utils.clear_session()
    draw = Draw(seed)
    model = test_multi_head.draw_model(draw)
    draw_weights(model, seed)
    goes_through(model, test_multi_head.draw_inputs(model, draw), folder)


@pytest.mark.parametrize("seed", [0, 2])
def test_attention(seed, tmp_path):
    attends(seed, tmp_path)


@pytest.mark.slow
def test_attention_of_many_kinds(tmp_path):
    for seed in range(3, 60):
        attends(seed, tmp_path)


@pytest.mark.parametrize(("axes", "scores"), [((2, 1), True)])
def test_attention_over_several_axes(axes, scores, tmp_path):
    keras.utils.clear_session()
    x, y = keras.Input((3, 4, 5)), keras.Input((3, 4, 2))
    layer = layers.MultiHeadAttention(2, 3, attention_axes=axes, kernel_regularizer="l2")
    model = keras.Model([x, y], layer(x, y, return_attention_scores=scores))
    draw_weights(model, 1)
    rng = np.random.default_rng(2)
    xs = [rng.standard_normal((3, *a.shape[1:])).astype("f4") for a in (x, y)]
    goes_through(model, xs, tmp_path)


def test_attention_shared_and_inside_others(tmp_path):
    keras.utils.clear_session()
    x, y = keras.Input((5, 3)), keras.Input((4, 3))
    layer, z = layers.MultiHeadAttention(2, 4), keras.Input((5, 3))
    masked = layers.Masking()(z)
    inner = keras.Model(z, layers.MultiHeadAttention(2, 3)(masked, masked, use_causal_mask=True))
    one, other = layer(inner(x), x, use_causal_mask=True), layer(y, x, key=x)
    plain = layers.Attention()([one, x], use_causal_mask=True)
    model = keras.Model([x, y], [one, other, plain])
    draw_weights(model, 3)
    rng = np.random.default_rng(4)
    xs = [rng.standard_normal((3, *a.shape[1:])).astype("f4") for a in (x, y)]
    xs[0][1, 2:] = 0
    goes_through(model, xs, tmp_path)


# 8-bit integers


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        pytest.param(test_quantized.own_range, marks=pytest.mark.slow),
        pytest.param(test_quantized.weights_alone, marks=pytest.mark.slow),
    ],
)
def test_quantised_layers(make, tmp_path):
    keras.utils.clear_session()
    ids, x = keras.Input((5,), dtype="int32"), keras.Input((5, 4))
    h = layers.Embedding(7, 6, mask_zero=True)(ids)
    h = layers.Concatenate()([h, layers.Dense(3, activation="tanh", trainable=False)(x)])
    h = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(h)
    inside = keras.Sequential([keras.Input((5, 6)), layers.Dense(5), layers.Dense(4)])
    model = keras.Model([ids, x], [layers.Dense(2, use_bias=False)(h), inside(h)])
    test_quantized.quantized(model, config=make())
    rng = np.random.default_rng(2)
    xs = [rng.integers(0, 7, (3, 5)), rng.standard_normal((3, 5, 4)).astype("float32")]
    goes_through(model, xs, tmp_path)


def test_quantised_in_mixed_precision(tmp_path):
    keras.utils.clear_session()
    x = keras.Input((5, 6))
    model = test_quantized.quantized(keras.Model(x, layers.Dense(4, dtype="mixed_bfloat16")(x)))
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras")
    jrnn.save_keras(tmp_path / "s.keras", loaded, params)
    theirs = keras.models.load_model(tmp_path / "s.keras", compile=False)
    assert theirs.layers[1].dtype_policy == model.layers[1].dtype_policy
    assert [weight.dtype for weight in theirs.weights] == [weight.dtype for weight in model.weights]


@pytest.mark.parametrize(
    "name", [FORMATS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FORMATS[1:])]
)
def test_quantised_projections_of_attention(name, tmp_path):
    """Keras 3.15 does not keep in its own file that they are quantised; jrnn's says it."""
    keras.utils.clear_session()
    x, y = keras.Input((5, 6)), keras.Input((4, 3))
    found = layers.MultiHeadAttention(2, 3, output_shape=(2, 4), name="first")(x, y)
    plain = layers.MultiHeadAttention(2, 3, use_bias=False, use_gate=True, name="second")(y, y)
    model = test_quantized.quantized(keras.Model([x, y], [found, plain]))
    rng = np.random.default_rng(3)
    xs = [rng.standard_normal((3, *a.shape[1:])).astype("float32") for a in (x, y)]
    expected = numbers(model, xs)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    jrnn.save_keras(tmp_path / name, loaded, params, backend="jax")
    again, same = jrnn.load_keras(tmp_path / name, backend="jax")
    assert again == loaded
    same_bits(same, params)
    theirs = keras.models.load_model(tmp_path / name, compile=False)
    assert sum(weight.dtype == "int8" for weight in theirs.weights) == 9
    for y, wanted in zip(numbers(theirs, xs), expected, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)


# hard_sigmoid of Keras 1 and 2


def inputs_of(source: str, model) -> list:
    with np.load((DATA / source).with_suffix(".npz")) as data:
        return [data[f"x{k}"] for k in range(len(model.inputs))]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("source", ["keras-2.2.4/lstm_last.h5", "keras-2.2.4/seq2seq_masked.h5"])
def test_hard_sigmoid_of_keras_2(source, name, tmp_path):
    loaded = load(DATA / source)
    assert "hard_sigmoid_keras2" in repr(loaded.model)
    same_numbers(loaded.model, loaded.params, inputs_of(source, loaded.model), tmp_path, name)
    again, params = jrnn.load_keras(tmp_path / name, backend="jax")
    assert "hard_sigmoid_keras2" in repr(again)
    same_bits(params, loaded.params)


@pytest.mark.slow
def test_hard_sigmoid_everywhere(tmp_path):
    """In gates, states, convolutions and alone, 16-bit too; for batches of several sizes."""
    keras.utils.clear_session()
    x = keras.Input((4, 6, 6, 2))
    hard = {"activation": "hard_sigmoid"}
    h = layers.ConvLSTM2D(3, 2, recurrent_activation="hard_sigmoid", return_sequences=True)(x)
    h = layers.TimeDistributed(layers.Conv2D(2, 2, **hard))(h)
    h = layers.TimeDistributed(layers.Flatten())(h)
    cells = [layers.GRUCell(4, recurrent_activation="hard_sigmoid"), layers.LSTMCell(3, **hard)]
    h = layers.RNN(cells, return_sequences=True)(h)
    h = layers.Bidirectional(layers.SimpleRNN(4, **hard))(h)
    h = layers.Dense(5, dtype="mixed_float16", **hard)(layers.Activation("hard_sigmoid")(h))
    model = keras.Model(x, h)
    draw_weights(model, 1)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    older = keras2(loaded)
    jrnn.save_keras(tmp_path / "s.keras", older, params, backend="jax")
    again, same = jrnn.load_keras(tmp_path / "s.keras", backend="jax")
    assert again == older
    same_bits(same, params)
    theirs = keras.models.load_model(tmp_path / "s.keras", compile=False)
    for batch in (5, 2):
        xs = np.random.default_rng(batch).standard_normal((batch, 4, 6, 6, 2)).astype("f4")
        for y in (theirs(xs), theirs.predict(xs, batch_size=3, verbose=0)):
            wanted = older.apply(params, xs)
            assert np.abs(np.asarray(wanted - loaded.apply(params, xs), "f4")).max() > 1e-3
            np.testing.assert_allclose(np.asarray(y, "f4"), np.asarray(wanted, "f4"), atol=2e-3)


def keras2(value):
    """The same with the older function in place of every hard_sigmoid."""
    if value == "hard_sigmoid":
        return "hard_sigmoid_keras2"
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: keras2(getattr(value, name)) for name in fields})
    if isinstance(value, tuple):
        parts = map(keras2, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def test_a_pipeline_of_other_layers_is_no_activation(tmp_path):
    keras.utils.clear_session()
    pipe = layers.Pipeline([layers.Rescaling(0.2, 0.5), layers.ReLU(2.0)])
    keras.Sequential([keras.Input((3,)), layers.Dense(2, activation=pipe)]).save(
        tmp_path / "m.keras"
    )
    with pytest.raises(jrnn.KerasFileError, match="does not end in a ReLU up to 1"):
        jrnn.load_keras(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe = layers.Pipeline([layers.Rescaling(0.25, 0.5), layers.ReLU(1.0)])
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation=pipe)])
    draw_weights(model, 1)
    goes_through(model, [np.random.default_rng(0).standard_normal((4, 3)).astype("f4")], tmp_path)
