"""ND4J's and DL4J's weights to jrnn's parameters and back again, exactly."""

import jax
import numpy as np
import pytest

import jrnn
from jrnn import nd4j
from tests.cases import assert_equal
from tests.nd4j.drawn import FORGET_BIAS, Dyadic, I, N

draw = Dyadic(11)


def lstm_weights(*peepholes):
    return nd4j.LSTMWeights(draw(I + N, 4 * N), *peepholes, bias=draw(4 * N))


def bare(convert):
    """A converter of three arrays, called with a tuple of them."""
    return lambda arrays: convert(*arrays)


# For each kind of weights: some of them, and the functions there and back.
WEIGHTS = {
    "lstm_layer": (draw.lstm_layer(), nd4j.lstm_layer_to_params, nd4j.lstm_layer_from_params),
    "lstm_layer, no bias": (
        draw.lstm_layer()._replace(biases=None),
        nd4j.lstm_layer_to_params,
        nd4j.lstm_layer_from_params,
    ),
    "lstm_layer, both ways, peephole": (
        draw.lstm_layer(2)._replace(peephole_weights=draw(2, 3 * N)),
        nd4j.lstm_layer_to_params,
        nd4j.lstm_layer_from_params,
    ),
    "lstm": (lstm_weights(), lambda w: nd4j.lstm_to_params(w, I), nd4j.lstm_from_params),
    "lstm, peephole, forget bias": (
        lstm_weights(draw(N), draw(N), draw(N)),
        lambda w: nd4j.lstm_to_params(w, I, forget_bias=FORGET_BIAS),
        lambda p: nd4j.lstm_from_params(p, forget_bias=FORGET_BIAS),
    ),
    "lstm, no bias": (
        lstm_weights()._replace(bias=None),
        lambda w: nd4j.lstm_to_params(w, I),
        nd4j.lstm_from_params,
    ),
    "projection_lstm": (
        draw.projection_lstm(),
        lambda w: nd4j.projection_lstm_to_params(w, forget_bias=FORGET_BIAS),
        lambda p: nd4j.projection_lstm_from_params(p, forget_bias=FORGET_BIAS),
    ),
    "gru": (
        nd4j.GRUWeights(draw(I + N, 2 * N), draw(I + N, N), draw(2 * N), draw(N)),
        lambda w: nd4j.gru_to_params(w, I),
        nd4j.gru_from_params,
    ),
    "gru, no bias": (
        nd4j.GRUWeights(draw(I + N, 2 * N), draw(I + N, N)),
        lambda w: nd4j.gru_to_params(w, I),
        nd4j.gru_from_params,
    ),
    "gru_layer": (
        (draw(I, 3 * N), draw(N, 3 * N), draw(3 * N)),
        bare(nd4j.gru_layer_to_params),
        nd4j.gru_layer_from_params,
    ),
    "sru": (
        nd4j.SRUWeights(draw(N, 3 * N), draw(2 * N)),
        nd4j.sru_to_params,
        nd4j.sru_from_params,
    ),
    "dl4j lstm": (
        nd4j.DL4JLSTMWeights(draw(I, 4 * N), draw(N, 4 * N), draw(1, 4 * N)),
        nd4j.dl4j_lstm_to_params,
        nd4j.dl4j_lstm_from_params,
    ),
    "dl4j lstm of Graves": (
        nd4j.DL4JLSTMWeights(draw(I, 4 * N), draw(N, 4 * N + 3), draw(1, 4 * N)),
        nd4j.dl4j_lstm_to_params,
        nd4j.dl4j_lstm_from_params,
    ),
    "dl4j simple rnn": (
        nd4j.DL4JSimpleRnnWeights(draw(I, N), draw(N, N), draw(1, N)),
        nd4j.dl4j_simple_rnn_to_params,
        nd4j.dl4j_simple_rnn_from_params,
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_come_back_from_params_as_they_were(name):
    weights, to_params, from_params = WEIGHTS[name]
    back = from_params(to_params(weights))
    assert jax.tree.structure(back) == jax.tree.structure(weights)
    assert_equal(back, weights)


def test_of_two_biases_params_keep_the_sum_and_the_sum_comes_back():
    draw = Dyadic(21)
    weights = nd4j.RNNWeights(draw(I, N), draw(N, N), draw(2 * N))
    params = nd4j.rnn_to_params(weights)
    assert_equal(params.bias, weights.biases[:N] + weights.biases[N:])
    assert_equal(nd4j.rnn_to_params(nd4j.rnn_from_params(params)), params)


def test_the_two_shapes_of_sru_weights_are_one_set_of_params():
    draw = Dyadic(22)
    weights = nd4j.SRUWeights(draw(3 * N, N), draw(2 * N))
    turned = weights._replace(weights=weights.weights.T)
    assert_equal(nd4j.sru_to_params(turned), nd4j.sru_to_params(weights))


def test_a_recurrent_bias_under_the_reset_gate_has_no_place_in_gru_layer():
    draw = Dyadic(23)
    params = jrnn.GRUParams(draw(I, 3 * N), draw(N, 3 * N), np.ones((2, 3 * N), np.float32))
    with pytest.raises(ValueError, match="gru_layer_from_params"):
        nd4j.gru_layer_from_params(params)
