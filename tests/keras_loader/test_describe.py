"""What is told of a loaded layer: its numbers, its outputs' shapes, its choices."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import dataclasses

import jax
import keras
import numpy as np
import pytest
from keras import layers

import jrnn
from jrnn.keras_loader import count_params, output_shapes
from tests.keras_entries import KERAS1, KERAS2, KERAS3, entry, model_of


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """(Keras's model, jrnn's, its parameters)."""
    x = keras.Input((None, 3))
    shared = layers.LSTM(4, return_sequences=True, unroll=False)
    y = layers.Bidirectional(layers.GRU(5, return_sequences=True))(shared(x))
    inner = keras.Sequential([keras.Input((None, 10)), layers.Conv1D(3, 2, padding="same")])
    z = shared(inner(y))
    state = layers.SimpleRNN(2, return_state=True)(z)
    model = keras.Model(x, [layers.Dense(6)(state[0]), state[1]])
    path = tmp_path_factory.mktemp("describe") / "model.keras"
    model.save(path)
    return model, *jrnn.load_keras(path)


def test_count_params_is_that_of_keras(loaded):
    theirs, _, params = loaded
    assert count_params(params) == theirs.count_params() > 0
    for layer in theirs.layers:
        assert count_params(params.get(layer.name)) == layer.count_params()


@pytest.mark.parametrize("with_params", [True, False])
def test_output_shapes_are_those_of_keras(loaded, with_params):
    theirs, ours, params = loaded
    found = output_shapes(ours, params if with_params else None)
    assert {name for name, _ in found} == {layer.name for layer in theirs.layers}
    for (name, call), shapes in found.items():
        node = theirs.get_layer(name)._inbound_nodes[call]
        assert shapes == tuple(tuple(y.shape) for y in node.outputs)


def test_output_shapes_for_other_inputs(loaded):
    _, ours, params = loaded
    found = output_shapes(ours, params, [(7, 11, 3)])
    results, _ = ours.trace(params, [np.zeros((7, 11, 3), "float32")], [None])
    assert found == {call: tuple(y.shape for y in r.outputs) for call, r in results.items()}
    with pytest.raises(ValueError, match=r"cannot be told from inputs \[\(7, 11, 4\)\]"):
        output_shapes(ours, params, [(7, 11, 4)])
    with pytest.raises(ValueError, match="2 input_shapes, but it has 1"):
        output_shapes(ours, params, [(7, 11, 3), (7, 11, 3)])


@pytest.mark.parametrize(("value", "want"), [(True, True), (False, False), (4, True), (0, False)])
def test_unroll_and_gates(value, want):
    options = {"unroll": value, "inner_activation": "hard_sigmoid", "forget_bias_init": "zero"}
    [layer] = model_of(entry("LSTM", name="l", output_dim=2, **options), writer=KERAS1).layers
    assert layer.unroll is want
    assert layer.cell.recurrent_activation == "hard_sigmoid_keras2"
    assert not layer.cell.unit_forget_bias


def test_a_number_of_steps_to_unroll_changes_no_number():
    [layer] = model_of(entry("GRU", name="g", units=4, return_sequences=True), writer=KERAS3).layers
    params = layer.cell.init(jax.random.key(0), 3, 4)
    x = jax.random.normal(jax.random.key(1), (2, 7, 3))
    want = layer.call(params, [x], [None]).outputs[0]
    unrolled = dataclasses.replace(layer, unroll=3)
    np.testing.assert_allclose(unrolled.call(params, [x], [None]).outputs[0], want, rtol=1e-6)

    def length_of_loop(layer):
        text = str(jax.make_jaxpr(lambda p: layer.call(p, [x], [None]).outputs[0])(params))
        return "unroll=3" in text

    assert length_of_loop(unrolled)
    assert not length_of_loop(layer)
    assert not length_of_loop(dataclasses.replace(layer, unroll=True))


def test_regularizers_by_name():
    layer = entry("LSTM", name="l", units=2, kernel_regularizer="l2", bias_constraint="non_neg")
    [found] = model_of(layer, writer=KERAS2).layers
    assert dict(found.regularizers)["kernel"] == jrnn.regularizers.l2()
    assert dict(found.constraints)["bias"] == jrnn.constraints.non_neg()
