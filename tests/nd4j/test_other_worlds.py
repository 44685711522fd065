"""One set of ND4J weights in jrnn's models, in Keras 3, in Flax NNX and in Flax Linen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import keras
import numpy as np
import pytest
from flax import nnx

import jrnn
from benchmarks.peers.flax_linen import CELLS, to_flax
from jrnn import nd4j
from jrnn.model.graph import Input, Model, Node, Ref
from jrnn.model.recurrent import Bidirectional, Recurrent
from tests.cases import assert_close
from tests.nd4j.drawn import B, Dyadic, I, N, T

XS = Dyadic(5)(B, T, I)
TIME_MAJOR = np.swapaxes(XS, 0, 1)


class World(NamedTuple):
    """Weights of an op, what the op makes of XS [B, T, I], and the cell of its params."""

    params: Any
    ys: Any  # [B, T, n]
    cell: Any
    layer: Callable  # jrnn's
    keras_layer: Any
    linen: str | None  # what the benchmarks call Flax's cell; its GRU resets after the product


def lstm_world(draw):
    weights = draw.lstm_layer()
    (ys,) = nd4j.lstm_layer(XS, weights, nd4j.LSTMLayerConfig("NTS"))
    return World(
        nd4j.lstm_layer_to_params(weights),
        ys,
        jrnn.LSTMCell(),
        jrnn.lstm,
        keras.layers.LSTM(N, return_sequences=True),
        "lstm",
    )


def gru_layer_world(draw):
    weights = draw(I, 3 * N), draw(N, 3 * N), draw(3 * N)
    ys = nd4j.gru_layer(TIME_MAJOR, np.zeros((B, N), np.float32), *weights)
    return World(
        nd4j.gru_layer_to_params(*weights),
        np.swapaxes(ys, 0, 1),
        jrnn.GRUCell(),
        jrnn.gru,
        keras.layers.GRU(N, return_sequences=True),
        "gru",
    )


def gru_cell_world(draw):
    weights = nd4j.GRUWeights(draw(I + N, 2 * N), draw(I + N, N), draw(2 * N), draw(N))
    h, outputs = np.zeros((B, N), np.float32), []
    for x in TIME_MAJOR:
        h = nd4j.gru_cell(x, h, weights).h
        outputs.append(h)
    return World(
        nd4j.gru_to_params(weights, I),
        np.stack(outputs, axis=1),
        jrnn.GRUCell(reset_after=False),
        jrnn.gru,
        keras.layers.GRU(N, reset_after=False, return_sequences=True),
        None,
    )


def simple_rnn_world(draw):
    weights = nd4j.RNNWeights(draw(I, N), draw(N, N), draw(2 * N))
    return World(
        nd4j.rnn_to_params(weights),
        nd4j.dynamic_rnn(XS, weights).h,
        jrnn.SimpleRNNCell(),
        jrnn.simple_rnn,
        keras.layers.SimpleRNN(N, return_sequences=True),
        "simple_rnn",
    )


MAKERS = lstm_world, gru_layer_world, gru_cell_world, simple_rnn_world


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def world(request):
    """Made anew for each test: a Keras layer is built once."""
    return request.param(Dyadic(6))


def close(theirs, ys):
    assert_close(np.asarray(theirs), np.asarray(ys), 2e-6)


def arrays(params):
    return [array for array in params if array is not None]


def one_layer(layer):
    """A model of one layer on one sequence."""
    node = Node(layer, 0, (Ref("xs"),))
    return Model(
        name="model",
        kind="Functional",
        inputs=(Input("xs", (None, None, I), "float32"),),
        nodes=(node,),
        outputs=(Ref(layer.name),),
        layers=(layer,),
    )


def recurrent(name, kind, cell, **options):
    return Recurrent(name=name, kind=kind, cell=cell, units=N, return_sequences=True, **options)


def test_the_layer_of_a_jrnn_model(world):
    layer = recurrent("layer", type(world.keras_layer).__name__, world.cell)
    close(one_layer(layer).apply({"layer": world.params}, XS), world.ys)


def test_the_layer_of_keras(world):
    world.keras_layer.build(XS.shape)
    world.keras_layer.set_weights(arrays(world.params))
    close(world.keras_layer(XS), world.ys)


class Sequence(nnx.Module):
    """A layer of jrnn whose parameters NNX holds."""

    def __init__(self, world):
        self.params = nnx.Param(world.params)
        self.cell, self.layer = world.cell, world.layer

    def __call__(self, xs):
        _, ys = self.layer(self.params.get_value(), xs, cell=self.cell)
        return ys


def test_a_module_of_flax_nnx(world):
    graph, held = nnx.split(Sequence(world))
    close(nnx.merge(graph, held)(XS), world.ys)


@pytest.mark.parametrize("world", [m for m in MAKERS if m is not gru_cell_world], indirect=True)
def test_the_cell_of_flax_linen(world):
    weights = {name: np.asarray(a) for name, a in world.params._asdict().items() if a is not None}
    rnn = nn.RNN(CELLS[world.linen](N))
    close(rnn.apply({"params": {"cell": to_flax(world.linen, weights)}}, XS), world.ys)


def both_directions():
    """Weights of two directions, with ND4J's [B, T, 2n] and the params."""
    weights = Dyadic(7).lstm_layer(2)
    (ys,) = nd4j.lstm_layer(XS, weights, nd4j.LSTMLayerConfig("NTS", "BIDIR_CONCAT"))
    return nd4j.lstm_layer_to_params(weights), ys


def test_both_directions_in_a_jrnn_model_and_in_keras():
    params, ys = both_directions()
    forward = recurrent("ahead", "LSTM", jrnn.LSTMCell())
    backward = recurrent("back", "LSTM", jrnn.LSTMCell(), go_backwards=True)
    layer = Bidirectional(name="both", kind="Bidirectional", forward=forward, backward=backward)
    close(one_layer(layer).apply({"both": params}, XS), ys)

    theirs = keras.layers.Bidirectional(keras.layers.LSTM(N, return_sequences=True))
    theirs.build(XS.shape)
    theirs.set_weights([*arrays(params.forward), *arrays(params.backward)])
    close(theirs(XS), ys)
