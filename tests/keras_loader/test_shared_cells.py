"""Cells that several layers of real Keras 3 hold: a file says which, and has their arrays once."""

import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from tests.keras_gradients import FORMATS, draw_weights

STEPS, FEATURES = 5, 4


def two_loops(x):
    cell = layers.GRUCell(FEATURES)
    y = layers.RNN(cell, return_sequences=True)(x)
    return [layers.RNN(layers.GRUCell(FEATURES))(y), layers.RNN(cell, go_backwards=True)(y)]


def loop_and_stack(x):
    cell, other = layers.LSTMCell(FEATURES), layers.SimpleRNNCell(FEATURES)
    y = layers.RNN(cell, return_sequences=True)(x)
    return [layers.RNN([other, cell])(y), layers.RNN([other, cell, other])(y)]


def two_stacks(x):
    cells = [layers.LSTMCell(FEATURES), layers.GRUCell(3)]
    return [layers.RNN(cells)(x), layers.RNN(cells, go_backwards=True)(x)]


def within_models(x):
    cell = layers.LSTMCell(FEATURES, use_bias=False)
    inner = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.RNN(cell)])
    return [inner(x), layers.RNN(cell)(x), layers.RNN([cell, layers.LSTMCell(2)])(x)]


@pytest.mark.parametrize("made", [two_loops, loop_and_stack, two_stacks, within_models])
def test_a_shared_cell(made, tmp_path):
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    model = keras.Model(x, made(x))
    draw_weights(model, 1)
    xs = np.random.default_rng(2).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for name in FORMATS:
        model.save(tmp_path / name)
        loaded, params = jrnn.load_keras(tmp_path / name, backend="jax")
        for y, expected in zip(loaded.apply(params, xs), model(xs), strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
