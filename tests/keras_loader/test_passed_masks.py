"""Which mask a loop's output has in Keras 3 where its input's own does not enter the loop."""

import json
import zipfile

import numpy as np
import pytest

pytest.importorskip("keras", minversion="3.11")

import keras
from keras import layers

import jrnn
from jrnn.keras_loader.writer import version_of_keras3
from tests.keras_gradients import assert_same, draw_weights

RNG = np.random.default_rng(3)
IDS = np.array([[1, 2, 0, 0, 0], [0, 3, 1, 0, 2], [2, 2, 1, 3, 0]], "int32")
GIVEN = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]], bool)


def attended(y):
    """Attention goes by the mask that a tensor has when it is called, not by one in the graph."""
    return layers.Attention()([y, y])


def tokens():
    ids = keras.Input((5,), dtype="int32")
    return ids, layers.Embedding(4, 3, mask_zero=True)(ids)


def with_states():
    ids, x = tokens()
    state = keras.Input((4,))
    y = layers.GRU(4, return_sequences=True, go_backwards=True)(x, initial_state=state)
    return keras.Model([ids, state], [attended(y), y])


def both_directions(merge_mode):
    ids, x = tokens()
    states = [keras.Input((2,)), keras.Input((2,))]
    loop = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True), merge_mode=merge_mode)
    y = loop(x, initial_state=states)
    ys = y if isinstance(y, (list, tuple)) else [y]
    return keras.Model([ids, *states], [*map(attended, ys), *ys])


def with_given_mask(masked=True):
    ids, x = tokens()
    mask = keras.Input((5,), dtype="bool")
    y = layers.LSTM(3, return_sequences=True)(x if masked else x + 0.0, mask=mask)
    return keras.Model([ids, mask], [attended(y), y])


def without_keywords():
    """Masks and states that follow the inputs by position."""
    x, state = keras.Input((5, 3)), keras.Input((2,))
    mask = keras.Input((5,), dtype="bool")
    loop = layers.SimpleRNN(2)
    calls = [
        layers.Softmax(axis=1)(x, keras.ops.expand_dims(mask, -1)),
        layers.GlobalAveragePooling1D()(x, mask),
        layers.Attention()([x, x], [mask, mask]),
        loop(x, state, mask),
        loop(x, None, mask),
        layers.Bidirectional(layers.SimpleRNN(2))(x, [state, state], mask),
    ]
    return keras.Model([x, state, mask], calls)


def inputs_by_keyword():
    ids = keras.Input((5,), dtype="int32")
    x = layers.Embedding(4, 3, mask_zero=True)(inputs=ids)
    y = layers.GRU(3, return_sequences=True)(sequences=x)
    return keras.Model(ids, [layers.Dense(2)(inputs=y), layers.Attention()(inputs=[x, y])])


def what_passes_without_keywords(masked, statistics=False):
    """A mask passes on if it is given by keyword as ``mask``; else the input's own does."""
    ids, x = tokens()
    x = x if masked else x + 0.0
    mask = keras.Input((5,), dtype="bool")
    calls = [
        layers.Softmax(axis=1)(x, keras.ops.expand_dims(mask, -1)),
        layers.Attention()([x, x], [mask, mask]),
        layers.TimeDistributed(layers.Dense(2))(x, None, mask),
        layers.GRU(2, return_sequences=True)(x, None, mask),
        layers.GroupQueryAttention(2, 2, 1)(x, x, query_mask=mask, value_mask=mask),
        *([layers.BatchNormalization()(x, None, mask)] if statistics else []),
    ]
    return keras.Model([ids, mask], [attended(y) for y in calls])


def longer_than_its_input():
    """Pooled steps keep the mask that they had before; an unrolled loop reads part of it."""
    x = keras.Input((2, 5, 3))
    pooled = layers.TimeDistributed(layers.AveragePooling1D(2))(layers.Masking()(x))
    loop = layers.SimpleRNN(2, unroll=True)
    return keras.Model(x, layers.TimeDistributed(layers.Bidirectional(loop))(pooled))


def draw(model):
    draw_weights(model, 4)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(abs(weight) + 0.5)


def inputs_of(model):
    numbers = [RNG.standard_normal((3, *x.shape[1:])).astype("float32") for x in model.inputs]
    for x in numbers:
        if x.ndim == 4:
            x[1, 0, :2], x[2, 1, 3:] = 0, 0
    given = {"int32": IDS, "bool": GIVEN}
    return [given.get(x.dtype, n) for x, n in zip(model.inputs, numbers, strict=True)]


@pytest.mark.parametrize(
    "make",
    [
        with_states,
        lambda: both_directions("ave"),
        lambda: both_directions(None),
        with_given_mask,
        lambda: with_given_mask(masked=False),
        without_keywords,
        inputs_by_keyword,
        lambda: what_passes_without_keywords(masked=True),
        lambda: what_passes_without_keywords(masked=False),
        longer_than_its_input,
    ],
)
def test_a_loop_with_states_or_a_given_mask(make, tmp_path):
    keras.utils.clear_session()
    model = make()
    draw_weights(model, 4)
    assert_same(model, inputs_of(model), tmp_path, formats=("m.keras",))


@pytest.mark.parametrize("masked", [True, False])
def test_saved_again_it_passes_on_the_same(masked, tmp_path):
    keras.utils.clear_session()
    model = what_passes_without_keywords(masked, statistics=True)
    draw(model)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    jrnn.save_keras(tmp_path / "again.keras", loaded, params, backend="jax")
    again = keras.saving.load_model(tmp_path / "again.keras")
    inputs = inputs_of(model)
    found = [again(inputs), loaded.apply(params, *inputs), model(inputs)]
    for saved, ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(saved, theirs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def save_as_of_3_10(model, folder, unmasked=()):
    """Saves the model as a file of Keras 3.10, calls of the layers of some names without masks."""
    model.save(folder / "new.keras")
    with (
        zipfile.ZipFile(folder / "new.keras") as new,
        zipfile.ZipFile(folder / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            held = new.read(name)
            if name == "metadata.json":
                held = json.dumps({**json.loads(held), "keras_version": "3.10.0"})
            if name == "config.json":
                config = json.loads(held)
                for layer in config["config"]["layers"]:
                    for call in layer["inbound_nodes"] if layer["name"] in unmasked else ():
                        del call["kwargs"]["mask"]
                held = json.dumps(config)
            old.writestr(name, held)


def test_before_3_11_a_mask_given_to_softmax_ends_there(tmp_path):
    """As in a loop; this Keras writes the mask that Softmax passes on beside the next call."""
    keras.utils.clear_session()
    x, mask = keras.Input((5, 3)), keras.Input((5, 3), dtype="bool")
    y, loop = layers.Softmax()(x, mask=mask), layers.GRU(2)
    model = keras.Model([x, mask], [y, loop(y)])
    draw_weights(model, 4)
    save_as_of_3_10(model, tmp_path, unmasked=[loop.name])
    inputs = (
        RNG.standard_normal((2, 5, 3)).astype("float32"),
        np.arange(30).reshape(2, 5, 3) % 7 < 4,
    )
    loaded, params = jrnn.load_keras(tmp_path / "old.keras", backend="jax")
    ours, expected = loaded.apply(params, *inputs), np.array(model(list(inputs))[0])
    np.testing.assert_allclose(ours[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[1], loop(expected), rtol=1e-5, atol=1e-6)


def test_before_3_11_a_given_mask_ends_at_the_loop(tmp_path):
    """There the output has its input's own mask, here none; Keras 3.9.2 computes the same."""
    keras.utils.clear_session()
    model = with_given_mask(masked=False)
    draw_weights(model, 4)
    save_as_of_3_10(model, tmp_path)
    inputs = inputs_of(model)
    _, y = model(inputs)
    weights = keras.ops.softmax(y @ keras.ops.swapaxes(y, 1, 2))
    loaded, params = jrnn.load_keras(tmp_path / "old.keras", backend="jax")
    np.testing.assert_allclose(loaded.apply(params, *inputs)[0], weights @ y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("keys", "dtype", "version"),
    [
        (("sparse",), "float32", (3, 0)),
        (("sparse",), {"class_name": "DTypePolicy"}, (3, 8)),
        (("sparse", "ragged"), {"class_name": "DTypePolicy"}, (3, 12)),
        (("sparse", "ragged", "optional"), {"class_name": "DTypePolicy"}, (3, 15)),
        (None, {"class_name": "DTypePolicy"}, (3, 15)),
        (None, "float32", (3, 0)),
    ],
)
def test_a_config_without_a_version_tells_it_by_its_keys(keys, dtype, version):
    dense = {"class_name": "Dense", "config": {"units": 2, "dtype": dtype}}
    start = {"class_name": "InputLayer", "config": dict.fromkeys(keys or ())}
    config = {"class_name": "Sequential", "config": {"layers": [start, dense][keys is None :]}}
    assert tuple(map(int, version_of_keras3(config).split(".")[:2])) == version


def test_a_config_and_weights_of_this_keras_are_read_as_its_own(tmp_path):
    """Neither file says which Keras 3 it was; attention takes masks off its input from 3.8."""
    keras.utils.clear_session()
    ids, x = tokens()
    y = layers.MultiHeadAttention(2, 3, use_bias=False)(x, x)
    model = keras.Model(ids, [layers.GlobalAveragePooling1D()(y), layers.LSTM(2)(y)])
    draw_weights(model, 5)
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.json").write_text(model.to_json())
    loaded, params = jrnn.load_keras(
        tmp_path / "m.weights.h5", config=tmp_path / "m.json", backend="jax"
    )
    for ours, theirs in zip(loaded.apply(params, IDS), model(IDS), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
