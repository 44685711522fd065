"""Cells that several layers of real Keras 3 hold: a file says which, and has their arrays once."""

import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from tests.keras_gradients import FORMATS, draw_weights

STEPS, FEATURES = 5, 4


def two_stacks(x):
    cells = [layers.LSTMCell(FEATURES), layers.GRUCell(3)]
    return [layers.RNN(cells)(x), layers.RNN(cells, go_backwards=True)(x)]


def test_cells_of_two_stacks(tmp_path):
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    model = keras.Model(x, two_stacks(x))
    draw_weights(model, 1)
    xs = np.random.default_rng(2).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for name in FORMATS:
        model.save(tmp_path / name)
        loaded, params = jrnn.load_keras(tmp_path / name, backend="jax")
        for y, expected in zip(loaded.apply(params, xs), model(xs), strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
