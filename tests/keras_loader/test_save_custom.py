"""Layers and cells of the caller's own, saved and opened again by jrnn and by real Keras 3."""

import numpy as np
import pytest

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers, ops

import jrnn
from tests.keras_gradients import draw_weights
from tests.keras_loader import test_custom_objects
from tests.keras_loader.test_custom_objects import (
    BATCH,
    CELL,
    FEATURES,
    STEPS,
    LeakyCell,
    Parts,
    Scaled,
    parts,
    scaled,
    sequences,
)
from tests.keras_loader.test_save import same_bits
from tests.keras_loader.test_save_oracle import numbers

FORMATS = ("s.keras", "s.h5")
CLASSES = {"Scaled": Scaled, "Parts": Parts, "LeakyCell": LeakyCell}


class Shifted(layers.Layer):
    """Has two variables, one of them not trained, and takes two inputs one by one."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, x_shape, other_shape):
        self.shift = self.add_weight(shape=(x_shape[-1],), name="shift")
        self.fixed = self.add_weight(shape=(x_shape[-1],), name="fixed", trainable=False)

    def call(self, x, other):
        return self.factor * x + self.shift + self.fixed * other

    def compute_output_shape(self, x_shape, other_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def shifted(config: dict):
    return lambda params, x, y: config["factor"] * x + params[0] + params[1] * y


def goes_through(model, factories: dict, xs: list, folder, formats=FORMATS) -> None:
    """From Keras's file in either format to jrnn and to jrnn's file, for both."""
    draw_weights(model, 1)
    expected = numbers(model, xs)
    for name in formats:
        model.save(folder / f"m_{name}")
        loaded, params = jrnn.load_keras(
            folder / f"m_{name}", backend="jax", custom_objects=factories
        )
        jrnn.save_keras(folder / name, loaded, params, backend="jax")
        again, same = jrnn.load_keras(folder / name, backend="jax", custom_objects=factories)
        same_bits(same, params)
        for y, wanted in zip(numbers_of(again, same, xs), expected, strict=True):
            np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
        theirs = keras.models.load_model(folder / name, custom_objects=CLASSES, compile=False)
        for found, weight in zip(theirs.weights, model.weights, strict=True):
            np.testing.assert_array_equal(found, weight)
        for y, wanted in zip(numbers(theirs, xs), expected, strict=True):
            np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)


def numbers_of(model, params, xs: list) -> list:
    found = model.apply(params, *xs)
    return list(found) if isinstance(found, tuple) else [found]


def test_layers_with_layers_inside(tmp_path):
    keras.utils.clear_session()
    x, y = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    first, second = Scaled(FEATURES, 0.7), Scaled(3, 2.0, trainable=False)
    total, difference = Parts()([first(x), first(y)])
    ends = [layers.GRU(2)(second(total)), layers.TimeDistributed(Scaled(3))(difference)]
    model = keras.Model([x, y], ends)
    goes_through(model, {"Scaled": scaled, "Parts": parts}, [sequences(1), sequences(2)], tmp_path)


def test_from_one_format_to_the_other(tmp_path):
    keras.utils.clear_session()
    CLASSES["Shifted"] = Shifted
    x, y = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    model = keras.Model([x, y], layers.Dense(2)(Shifted(0.5)(x, y)))
    factories, xs = {"Shifted": shifted}, [sequences(1), sequences(2)]
    goes_through(model, factories, xs, tmp_path)
    for source, target in (("m_s.keras", "t.h5"), ("m_s.h5", "t.keras")):
        loaded, params = jrnn.load_keras(tmp_path / source, custom_objects=factories)
        jrnn.save_keras(tmp_path / target, loaded, params)
        theirs = keras.models.load_model(tmp_path / target, custom_objects=CLASSES, compile=False)
        for found, weight in zip(theirs.weights, model.weights, strict=True):
            np.testing.assert_array_equal(found, weight)


def test_where_inner_arrays_lie_in_the_other_format_is_not_known(tmp_path):
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), Scaled(3, name="s")])
    for source, target in (("m.keras", "t.h5"), ("m.h5", "t.keras")):
        model.save(tmp_path / source)
        given = {"custom_objects": {"Scaled": scaled}}
        loaded, params = jrnn.load_keras(tmp_path / source, **given)
        with pytest.raises(ValueError, match=r"layer 's' \(Scaled\).*save as .{3,6}$"):
            jrnn.save_keras(tmp_path / target, loaded, params)
        assert not (tmp_path / target).exists()


@pytest.mark.slow
def test_cells(tmp_path):
    keras.utils.clear_session()
    x = keras.Input((STEPS, FEATURES))
    one, *states = layers.RNN(LeakyCell(3, 0.2), return_state=True)(x)
    two = layers.RNN([layers.GRUCell(3), LeakyCell(2), LeakyCell(4, 0.3)], go_backwards=True)(x)
    three = layers.Bidirectional(layers.RNN(LeakyCell(2)))(x)
    given = layers.RNN(LeakyCell(3))(x, initial_state=states)
    model = keras.Model(x, [one, *states, two, three, given])
    goes_through(model, CELL, [sequences(1)], tmp_path)


@keras.saving.register_keras_serializable("pack")
def weighted(x, factor):
    return x * factor


def test_a_lambda_by_its_functions_name(tmp_path):
    keras.utils.clear_session()
    named = layers.Lambda(weighted, arguments={"factor": 2.5}, output_shape=(STEPS, FEATURES))
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), named, layers.Dense(2)])
    goes_through(model, {"weighted": weighted}, [sequences(1)], tmp_path, FORMATS[:1])


def test_code_is_not_written(tmp_path):
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: x + 1, name="code")])
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", custom_objects={"code": lambda x: x + 1})
    with pytest.raises(ValueError, match=r"layer 'code'.*Python code"):
        jrnn.save_keras(tmp_path / "s.keras", loaded, params)
    jrnn.save_keras(tmp_path / "s.weights.h5", loaded, params)


def test_arrays_that_do_not_fit(tmp_path):
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), Scaled(3, name="s")])
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", custom_objects={"Scaled": scaled})
    with pytest.raises(ValueError, match=r"layer 's'.*hold 2 arrays.*places for 3"):
        jrnn.save_keras(tmp_path / "s.keras", loaded, {"s": params["s"][:2]})


def test_a_mask_through_a_layer(tmp_path):
    keras.utils.clear_session()
    stack = [layers.Masking(), test_custom_objects.Passing(), layers.LSTM(3)]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *stack])
    factory = lambda config: test_custom_objects.PassingLayer(  # noqa: E731
        name=config["name"], kind="Passing"
    )
    CLASSES["Passing"] = test_custom_objects.Passing
    x = sequences(1, masked=True)
    assert ops.any(x == 0)
    assert x.shape == (BATCH, STEPS, FEATURES)
    goes_through(model, {"Passing": factory}, [x], tmp_path)
