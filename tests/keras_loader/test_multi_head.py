"""MultiHeadAttention as real Keras 3 computes it: random options, masks and calls."""

import numpy as np
import pytest

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

import jrnn
from tests.keras_gradients import assert_same, draw_weights
from tests.keras_models import Draw

BATCH, STEPS, OTHER_STEPS = 3, 5, 4


def attention(draw: Draw, **options) -> layers.Layer:
    dropout = draw.one_of((0.0, 0.3))
    options = {
        # Without dropout Keras calls a function of JAX that takes one size alone.
        "value_dim": draw.one_of((None, 2, 3)) if dropout else None,
        "dropout": dropout,
        "use_bias": draw.coin(),
        "output_shape": draw.one_of((None, 6, (2, 3))),
        "sliding_window": draw.one_of((None, None, 2)),
        "use_gate": draw.coin(),
        **options,
    }
    return layers.MultiHeadAttention(draw.units(), draw.units(), **options)


def masked_input(draw: Draw, steps: int, features: int):
    x = keras.Input((steps, features))
    return x, layers.Masking(0.0)(x) if draw.coin() else x


def draw_model(draw: Draw) -> keras.Model:
    """Attention of a sequence to itself or to another, called in one of many ways."""
    features = draw.units()
    x, query = masked_input(draw, STEPS, features)
    inputs, value, key, steps = [x], query, None, STEPS
    if draw.coin():
        steps = OTHER_STEPS
        y, value = masked_input(draw, steps, draw.units())
        inputs.append(y)
    if draw.coin():
        z, key = masked_input(draw, steps, draw.units())
        inputs.append(z)
    options = {"use_causal_mask": draw.coin(), "return_attention_scores": draw.coin()}
    if draw.coin():
        mask = keras.Input((STEPS, steps), dtype=draw.one_of(("bool", "int32")))
        inputs.append(mask)
        options["attention_mask"] = mask
    layer = attention(draw)
    positional = key is not None and draw.coin()
    found = layer(query, value, key, **options) if positional else None
    if found is None:
        found = layer(query, value=value, key=key, **options)
    y, *scores = found if isinstance(found, (list, tuple)) else [found]
    ends = [y, *scores]
    if layer._output_shape is None:
        ends.append(layers.LayerNormalization()(layers.Add()([query, y])))
    if len(y.shape) == 3:
        ends.append(layers.LSTM(3)(y))  # the mask that comes out
    return keras.Model(inputs, ends)


def draw_inputs(model: keras.Model, draw: Draw) -> list[np.ndarray]:
    found = []
    for spec in model.inputs:
        shape = (BATCH, *spec.shape[1:])
        if spec.dtype == "float32":
            values = draw.rng.standard_normal(shape).astype("float32")
            values[draw.rng.random(shape[:2]) < 0.4] = 0  # of some rows maybe all steps
            values[0] = 0 if draw.coin() else values[0]
        else:
            values = (draw.rng.random(shape) < 0.7).astype(spec.dtype)
        found.append(values)
    return found


def one_of_many(seed: int, folder) -> None:
    keras.utils.clear_session()
    draw = Draw(seed)
    model = draw_model(draw)
    draw_weights(model, seed)
    assert_same(model, draw_inputs(model, draw), folder)


@pytest.mark.parametrize("seed", range(5))
def test_same_numbers_and_gradients(seed, tmp_path):
    one_of_many(seed, tmp_path)


@pytest.mark.slow
def test_same_numbers_and_gradients_for_many(tmp_path):
    for seed in range(5, 60):
        one_of_many(seed, tmp_path)


@pytest.mark.parametrize(
    ("axes", "scores"), [(None, True), ((2,), False), ((-2,), True), ((2, 1), False)]
)
def test_attention_over_several_axes(axes, scores, tmp_path):
    keras.utils.clear_session()
    x, y = keras.Input((3, 4, 5)), keras.Input((3, 4, 2))
    layer = layers.MultiHeadAttention(2, 3, attention_axes=axes)
    model = keras.Model([x, y], layer(x, y, return_attention_scores=scores))
    draw_weights(model, 1)
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal((BATCH, *a.shape[1:])).astype("f4") for a in (x, y)]
    assert_same(model, inputs, tmp_path)


def test_a_shared_layer_called_in_two_ways(tmp_path):
    keras.utils.clear_session()
    x, y = keras.Input((STEPS, 3)), keras.Input((OTHER_STEPS, 3))
    layer = layers.MultiHeadAttention(2, 4)
    first = layer(x, x, use_causal_mask=True)
    second = layer(y, x)
    model = keras.Model([x, y], [first, second])
    draw_weights(model, 3)
    rng = np.random.default_rng(4)
    inputs = [rng.standard_normal((BATCH, *a.shape[1:])).astype("f4") for a in (x, y)]
    assert_same(model, inputs, tmp_path)


@pytest.mark.parametrize("kind", [layers.MultiHeadAttention, layers.GroupQueryAttention])
def test_all_by_keyword(kind, tmp_path):
    keras.utils.clear_session()
    draw = Draw(1)
    (x, query), (z, value) = (masked_input(draw, n, 3) for n in (STEPS, OTHER_STEPS))
    sizes = (3, 4, 2) if kind is layers.GroupQueryAttention else (2, 3)
    y = kind(*sizes)(value=value, query=query, use_causal_mask=True)
    model = keras.Model([x, z], layers.LSTM(3)(y))
    draw_weights(model, 2)
    assert_same(model, draw_inputs(model, draw), tmp_path)
    loaded = [jrnn.load_keras(tmp_path / name, backend="jax")[0] for name in ("m.keras", "m.h5")]
    assert loaded[0].layers == loaded[1].layers


def test_a_transformer_block_between_loops(tmp_path):
    keras.utils.clear_session()
    ids = keras.Input((STEPS,), dtype="int32")
    x = layers.Embedding(7, 6, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    y = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    inner = keras.Model(ids, x)
    y = inner(ids)
    y = layers.MultiHeadAttention(3, 2, dropout=0.2)(y, y, use_causal_mask=True)
    model = keras.Model(ids, layers.LSTM(4)(y))
    draw_weights(model, 5)
    tokens = np.random.default_rng(6).integers(0, 7, (BATCH, STEPS))
    assert_same(model, [tokens], tmp_path)


def grouped(draw: Draw) -> layers.Layer:
    return layers.GroupQueryAttention(
        draw.units(),
        4,
        draw.one_of((1, 2, 4)),
        dropout=draw.one_of((0.0, 0.3)),
        use_bias=draw.coin(),
        use_gate=draw.coin(),
        sliding_window=draw.one_of((None, 2)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_heads_that_share_keys(seed, tmp_path):
    """Masks count and pass on, also to what is called on the same tensor later."""
    keras.utils.clear_session()
    draw = Draw(seed)
    features = draw.units()
    (x, query), (z, value) = (masked_input(draw, n, features) for n in (STEPS, OTHER_STEPS))
    options = {"use_causal_mask": draw.coin(), "return_attention_scores": draw.coin()}
    found = grouped(draw)(query, value, **options)
    y, *scores = found if isinstance(found, (list, tuple)) else [found]
    again = grouped(draw)(query, query)
    model = keras.Model([x, z], [y, *scores, layers.LSTM(3)(y), layers.LSTM(3)(again)])
    draw_weights(model, seed)
    assert_same(model, draw_inputs(model, draw), tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_plain_attention(seed, tmp_path):
    """One layer, called with and without its options."""
    keras.utils.clear_session()
    draw = Draw(seed)
    (x, query), (z, value) = (masked_input(draw, n, 3) for n in (STEPS, OTHER_STEPS))
    kind = draw.one_of((layers.Attention, layers.AdditiveAttention))
    layer = kind(use_scale=draw.coin())
    y, scores = layer([query, value], return_attention_scores=True, use_causal_mask=draw.coin())
    other = layer([query, query], use_causal_mask=draw.coin())
    ends = [y, scores, other, layers.SimpleRNN(3)(y), layers.SimpleRNN(2)(scores)]
    model = keras.Model([x, z], ends)
    draw_weights(model, seed)
    assert_same(model, draw_inputs(model, draw), tmp_path)
