"""Cells that several layers of real Keras 3 hold: a file says which, and has their arrays once."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams
from jrnn.keras_loader import KerasFileError
from tests.keras_gradients import draw_weights

STEPS, FEATURES = 5, 4
FORMATS = ("m.keras", "m.h5", "m.weights.h5")


def two_stacks(x):
    cells = [layers.LSTMCell(FEATURES), layers.GRUCell(3)]
    return [layers.RNN(cells)(x), layers.RNN(cells, go_backwards=True)(x)]


def two_loops(x):
    cell = layers.LSTMCell(FEATURES)
    first = layers.RNN(cell, return_sequences=True)(x)
    return [first, layers.RNN(layers.LSTMCell(FEATURES))(x), layers.RNN(cell)(first)]


def beside_copies(x):
    """Bidirectional makes its directions anew, with cells of the same name."""
    cell = layers.GRUCell(FEATURES)
    both = layers.Bidirectional(layers.RNN(cell))(x)
    return [both, layers.RNN(cell)(x), layers.RNN(cell, go_backwards=True)(x)]


def behind_a_backward_layer(x):
    cell = layers.SimpleRNNCell(FEATURES)
    backward = layers.RNN(cell, go_backwards=True)
    both = layers.Bidirectional(layers.RNN(layers.GRUCell(2)), backward_layer=backward)
    return [layers.RNN(cell)(x), both(x)]


def in_another_order(x):
    return behind_a_backward_layer(x)[::-1]


def in_a_stack_and_step_by_step(x):
    cell, frames = layers.GRUCell(FEATURES), keras.ops.expand_dims(x, -1)
    cells = [cell, layers.SimpleRNNCell(2)]
    inner = layers.TimeDistributed(layers.RNN(layers.LSTMCell(2)))
    shared = layers.TimeDistributed(layers.RNN(inner.layer.cell))
    return [layers.RNN(cell)(x), layers.RNN(cells)(x), inner(frames), shared(frames)]


@pytest.mark.parametrize(
    "make",
    [
        two_stacks,
        two_loops,
        beside_copies,
        behind_a_backward_layer,
        pytest.param(in_another_order, marks=pytest.mark.slow),
        pytest.param(in_a_stack_and_step_by_step, marks=pytest.mark.slow),
    ],
)
def test_shared_cells(tmp_path, make):
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    model = keras.Model(x, make(x))
    draw_weights(model, 1)
    xs = np.random.default_rng(2).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for name in FORMATS:
        if name == "m.weights.h5":
            model.save_weights(tmp_path / name)
            given: dict[str, Any] = {"config": tmp_path / "m.keras"}
        else:
            model.save(tmp_path / name)
            given = {}
        loaded, params = jrnn.load_keras(tmp_path / name, backend="jax", **given)
        for y, expected in zip(loaded.apply(params, xs), model(xs), strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_saved_again(tmp_path):
    """Each layer has a cell of its own then, as Keras itself makes them of a file."""
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    model = keras.Model(x, two_loops(x))
    draw_weights(model, 3)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    jrnn.save_keras(tmp_path / "again.keras", loaded, params, backend="jax")
    again: Any = keras.models.load_model(tmp_path / "again.keras")
    xs = np.random.default_rng(4).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for y, expected in zip(again(xs), model(xs), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert jrnn.load_keras(tmp_path / "again.keras", backend="jax")[0] == loaded


def test_two_cells_of_one_name(tmp_path):
    """Nothing says which of the two the third layer holds."""
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    cell, other = (layers.GRUCell(FEATURES, name="cell") for _ in range(2))
    model = keras.Model(x, [layers.RNN(one)(x) for one in (cell, other, other)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(KerasFileError, match="arrays for 2 layers of class RNN"):
        jrnn.load_keras(tmp_path / "m.keras")


@dataclasses.dataclass(frozen=True)
class Plain(jrnn.Cell):
    """A cell of the caller's that computes what a SimpleRNNCell does."""

    inner: SimpleRNNCell = SimpleRNNCell()

    def init(self, key, features, units):
        return tuple(self.inner.init(key, features, units))

    def initial_state(self, params, z):
        return self.inner.initial_state(SimpleRNNParams(*params), z)

    def project(self, params, xs):
        return self.inner.project(SimpleRNNParams(*params), xs)

    def step(self, params, state, z):
        return self.inner.step(SimpleRNNParams(*params), state, z)


@keras.saving.register_keras_serializable("shared_cells")
class PlainCell(layers.SimpleRNNCell):
    """A class that only the caller has."""


def test_a_cell_of_the_callers(tmp_path):
    keras.utils.clear_session()
    x, cell = keras.Input((STEPS, FEATURES)), PlainCell(3)
    loops = [layers.RNN(cell), layers.RNN(PlainCell(3)), layers.RNN(cell, go_backwards=True)]
    model = keras.Model(x, [loop(x) for loop in loops])
    draw_weights(model, 5)
    model.save(tmp_path / "m.keras")
    made = {"PlainCell": lambda config: Plain()}
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax", custom_objects=made)
    xs = np.random.default_rng(6).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for y, expected in zip(loaded.apply(params, xs), model(xs), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
