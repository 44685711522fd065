"""Masks that MultiHeadAttention takes off its inputs: what Keras 3 calls later has none.

What is later, the depths of the graph decide, and thus in which order Keras makes its calls.
"""

import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.8")

import keras
from keras import layers

from tests.keras_gradients import draw_weights
from tests.keras_loader.test_multi_head import draw_inputs
from tests.keras_models import Draw

STEPS, FEATURES, CALLS = 5, 4, 5


def one_more(draw: Draw, tensors: list) -> list:
    """Returns one of the tensors after another layer, or two of them after one."""
    x, y = draw.one_of(tensors), draw.one_of(tensors)
    kind = draw.one_of(("attend", "attend", "loop", "add", "pass", "nested"))
    if kind == "attend":
        return [layers.MultiHeadAttention(2, 3)(x, y)]
    if kind == "loop":
        return [layers.SimpleRNN(FEATURES, return_sequences=True)(x)]
    if kind == "add":
        return [layers.Add()([x, y])]
    if kind == "pass":  # the same tensor
        return [draw.one_of((layers.Identity(), layers.Dropout(0.1)))(x)]
    a, b = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    attended = layers.MultiHeadAttention(2, 3)(a, a)
    loop = layers.SimpleRNN(FEATURES, return_sequences=True)(b)
    return list(keras.Model([a, b], [attended, loop])([x, y]))


def draw_model(draw: Draw) -> keras.Model:
    x = keras.Input((STEPS, FEATURES))
    tensors = [layers.Masking(0.0)(x)]
    for _ in range(CALLS):
        tensors += one_more(draw, tensors)
    ends = [layers.SimpleRNN(2)(tensor) for tensor in tensors]
    draw.rng.shuffle(ends)
    return keras.Model(x, ends)


def compare(model: keras.Model, seed: int, path) -> None:
    draw_weights(model, seed)
    inputs = draw_inputs(model, Draw(seed))
    model.save(path)
    loaded, params = jrnn.load_keras(path, backend="jax")
    for y, expected in zip(loaded.apply(params, *inputs), model(inputs), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def one_of_many(seed: int, path) -> None:
    keras.utils.clear_session()
    compare(draw_model(Draw(seed)), seed, path)


@pytest.mark.parametrize("seed", range(3))
def test_same_numbers(seed, tmp_path):
    one_of_many(seed, tmp_path / "m.keras")


@pytest.mark.slow
def test_same_numbers_for_many(tmp_path):
    for seed in range(3, 60):
        one_of_many(seed, tmp_path / "m.keras")


def test_two_side_by_side(tmp_path):
    """The first to be called gets the mask, the other none."""
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    masked = layers.Masking(0.0)(x)
    first, second = (layers.MultiHeadAttention(2, 3, name=name)(masked, masked) for name in "ab")
    for seed, ends in enumerate(([first, second], [second, first])):
        model = keras.Model(x, ends)
        compare(model, seed, tmp_path / "m.keras")


def test_a_nested_model_gives_its_inputs_their_masks_back(tmp_path):
    """One attention took it off, the model has it by keyword, and the next attention meets it."""
    keras.utils.clear_session()
    x, *starts = (keras.Input((STEPS, FEATURES)) for _ in range(3))
    masked = layers.Masking(0.0)(x)
    first = layers.MultiHeadAttention(2, 3)(masked, masked)
    inner = keras.Model(starts, layers.Add()(starts))([first, masked])
    second = layers.MultiHeadAttention(2, 3)(inner, masked)
    compare(keras.Model(x, second), 3, tmp_path / "m.keras")
