"""Parts of real Keras 3 models that are not trained: which they are, and whose arrays are whose."""

import jax
import numpy as np
import pytest

import jrnn
from jrnn.keras_loader.parse import parse_layer
from jrnn.model.walk import map_params

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from tests.keras_entries import KERAS3, WRITERS, entry
from tests.keras_gradients import FORMATS, draw_weights

STEPS, FEATURES = 5, 4


WRAPPERS = layers.Bidirectional, layers.RNN


def over_cell(cell):
    return layers.RNN(cell, return_sequences=True)


def frozen_cell(options):
    cell = layers.SimpleRNNCell(FEATURES, **options)
    return over_cell(cell), cell


def frozen_loop(options):
    loop = layers.RNN(layers.SimpleRNNCell(FEATURES), return_sequences=True, **options)
    return loop, loop


def frozen_stack(options):
    cells = [layers.SimpleRNNCell(FEATURES), layers.SimpleRNNCell(FEATURES)]
    stack = layers.StackedRNNCells(cells, **options)
    return over_cell(stack), stack


def frozen_cell_of_a_stack(options):
    cells = [layers.SimpleRNNCell(FEATURES, **options), layers.SimpleRNNCell(FEATURES)]
    return over_cell(cells), cells[0]


def frozen_cell_of_two_directions(options):
    cell = layers.SimpleRNNCell(2, **options)
    both = layers.Bidirectional(over_cell(cell))
    return both, both.forward_layer.cell


def frozen_cell_step_by_step(options):
    cell = layers.SimpleRNNCell(1, **options)
    inner = layers.RNN(cell, return_sequences=True)
    deep = [layers.Reshape((STEPS, FEATURES, 1)), layers.TimeDistributed(inner)]
    return keras.Sequential([*deep, layers.Reshape((STEPS, FEATURES))]), cell


def frozen_wrapper(options):
    wrapper = layers.TimeDistributed(layers.Dense(FEATURES), **options)
    return wrapper, wrapper


def frozen_statistics(options):
    inside = [layers.BatchNormalization(), layers.Dense(FEATURES), layers.BatchNormalization()]
    model = keras.Sequential(inside, **options)
    return model, model


def frozen_images(options):
    loop = layers.ConvLSTM1D(FEATURES, 1, return_sequences=True, **options)
    shapes = (STEPS, 1, FEATURES), (STEPS, FEATURES)
    return keras.Sequential([layers.Reshape(shapes[0]), loop, layers.Reshape(shapes[1])]), loop


def frozen_attention(options):
    x = keras.Input((STEPS, FEATURES))
    attention = layers.MultiHeadAttention(2, 2, **options)
    return keras.Model(x, layers.MultiHeadAttention(2, 2)(attention(x, x), x)), attention


CELLS = (
    frozen_cell,
    frozen_cell_of_a_stack,
    frozen_cell_of_two_directions,
    pytest.param(frozen_loop, marks=pytest.mark.slow),
    pytest.param(frozen_stack, marks=pytest.mark.slow),
    pytest.param(frozen_cell_step_by_step, marks=pytest.mark.slow),
)
CONTAINERS = (
    frozen_wrapper,
    pytest.param(frozen_attention, marks=pytest.mark.slow),
    pytest.param(frozen_images, marks=pytest.mark.slow),
    pytest.param(frozen_statistics, marks=pytest.mark.slow),
)


def model_with(make, is_made_so):
    """A model in a model, whose .h5 file has what is trained first; all arrays could be swapped."""
    keras.utils.clear_session()
    part, frozen = make({"trainable": False} if is_made_so else {})
    shape = (STEPS, FEATURES)
    around = [layers.Dense(FEATURES), part, layers.SimpleRNN(FEATURES, return_sequences=True)]
    inner = keras.Sequential([keras.Input(shape), *around, layers.BatchNormalization()])
    model = keras.Sequential([keras.Input(shape), inner, layers.Dense(3)])
    if not is_made_so:
        frozen.trainable = False
    draw_weights(model, 1)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(abs(weight) + 0.5)
    return model


def trained_arrays(model, params):
    found = []
    map_params(lambda layer, own: found.extend(jax.tree.leaves(own)) or own, model, params)
    return len(found)


@pytest.mark.parametrize("is_made_so", [True, False])
@pytest.mark.parametrize("make", [*CELLS, *CONTAINERS])
def test_arrays_of_frozen_parts(tmp_path, make, is_made_so):
    model = model_with(make, is_made_so)
    xs = np.random.default_rng(2).standard_normal((3, STEPS, FEATURES)).astype("float32")
    for name in FORMATS:
        model.save(tmp_path / name)
        loaded, params = jrnn.load_keras(tmp_path / name, backend="jax")
        np.testing.assert_allclose(loaded.apply(params, xs), model(xs), rtol=1e-5, atol=1e-5)
        if make in [getattr(case, "values", [case])[0] for case in CELLS]:
            statistics = 2  # which jrnn has among the parameters
            expected = len(model.trainable_variables) + statistics
            assert trained_arrays(loaded, params) == expected


@pytest.mark.parametrize("is_made_so", [True, False])
def test_saved_again(tmp_path, is_made_so):
    model = model_with(frozen_cell, is_made_so)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    jrnn.save_keras(tmp_path / "again.keras", loaded, params, backend="jax")
    assert jrnn.load_keras(tmp_path / "again.keras", backend="jax")[0] == loaded
    again = keras.saving.load_model(tmp_path / "again.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    for weight, expected in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("make", [frozen_cell_of_two_directions, frozen_cell_of_a_stack])
def test_saved_again_for_keras_to_read_by_order(tmp_path, make, nested):
    """In a .h5 file, which Keras reads in the order of what is trained and what is not."""
    model = model_with(make, is_made_so=False)
    if not nested:
        part = next(one for one in model.layers[0].layers if isinstance(one, WRAPPERS))
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), part])
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    jrnn.save_keras(tmp_path / "again.h5", loaded, params, backend="jax")
    again = keras.saving.load_model(tmp_path / "again.h5", compile=False)
    for weight, expected in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_what_keras_would_read_in_another_order_is_refused(tmp_path):
    """The layers inside an attention do not know from its config that they are frozen."""
    model = model_with(frozen_attention, is_made_so=False)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    with pytest.raises(ValueError, match="some arrays in it are frozen"):
        jrnn.save_keras(tmp_path / "again.h5", loaded, params, backend="jax")


def loop_over(**frozen):
    options = {name: {"trainable": False} if name in frozen else {} for name in ("loop", "cell")}
    cell = entry("SimpleRNNCell", name="c", units=3, **options["cell"])
    return entry("RNN", name="r", cell=cell, **options["loop"])


@pytest.mark.parametrize("writer", WRITERS[1:], ids=str)
def test_what_freezes_a_loop(writer):
    """Before Keras 3 a layer that is not trained has nothing in it that is."""
    assert parse_layer(loop_over(), writer).trainable
    assert not parse_layer(loop_over(cell=True), writer).trainable
    assert parse_layer(loop_over(loop=True), writer).trainable == (writer is KERAS3)
    cells = [entry("GRUCell", name="c", units=3)]
    stack = entry("StackedRNNCells", name="s", cells=cells, trainable=False)
    loop = entry("RNN", name="r", cell=stack)
    assert parse_layer(loop, writer).trainable == (writer is KERAS3)
