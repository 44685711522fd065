"""The ops of ND4J and DL4J against jrnn's own layers, on the weights that the converters give."""

import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn import nd4j
from tests.cases import assert_close
from tests.nd4j.drawn import (
    FORGET_BIAS,
    B,
    Dyadic,
    I,
    N,
    P,
    T,
)

draw = Dyadic(12)
LENGTHS = np.array([3, 0, T])
XS = draw(B, T, I)
STATE = jrnn.LSTMState(draw(B, N), draw(B, N))
LSTM = {
    peephole: jrnn.LSTMParams(
        draw(I, 4 * N), draw(N, 4 * N), draw(4 * N), draw(3, N) if peephole else None
    )
    for peephole in (False, True)
}


def time_major(array):
    return np.swapaxes(array, 0, 1)


def by_lstm_layer(params, state):
    config = nd4j.LSTMLayerConfig("NTS")
    weights = nd4j.lstm_layer_from_params(params)
    (h,) = nd4j.lstm_layer(XS, weights, config, c_last=state.cell, y_last=state.hidden)
    return h


def by_lstm_layer_cell(params, state):
    weights, outputs = nd4j.lstm_layer_from_params(params), []
    h, c = state
    for x in time_major(XS):
        h, c = nd4j.lstm_layer_cell(x, weights, c_last=c, y_last=h)
        outputs.append(h)
    return jnp.stack(outputs, axis=1)


def by_lstm_block(params, state, forget_bias=0.0):
    config = nd4j.LSTMConfiguration("NTS", params.peephole is not None, forget_bias)
    weights = nd4j.lstm_from_params(params, forget_bias=forget_bias)
    return nd4j.lstm_block(XS, weights, config, c_last=state.cell, y_last=state.hidden).y


def by_lstm_block_with_forget_bias(params, state):
    return by_lstm_block(params, state, FORGET_BIAS)


def by_lstm_cell(params, state):
    config = nd4j.LSTMConfiguration(peep_hole=params.peephole is not None)
    weights, outputs = nd4j.lstm_from_params(params), []
    y, c = state
    for x in time_major(XS):
        ran = nd4j.lstm_cell(x, c, y, weights, config)
        y, c = ran.y, ran.c
        outputs.append(y)
    return jnp.stack(outputs, axis=1)


def by_projection_lstm(params, state):
    config = nd4j.ProjectionLSTMConfig(params.peephole is not None, forget_bias=FORGET_BIAS)
    weights = nd4j.projection_lstm_from_params(params, forget_bias=FORGET_BIAS)
    return time_major(nd4j.projection_lstm(time_major(XS), *state, weights, config).h)


LSTM_OPS = (
    by_lstm_layer,
    by_lstm_layer_cell,
    by_lstm_block,
    by_lstm_block_with_forget_bias,
    by_lstm_cell,
    by_projection_lstm,
)


def close(ours, theirs):
    assert_close(ours, theirs, 2e-6)


@pytest.mark.parametrize("peephole", [False, True], ids=["plain", "peephole"])
@pytest.mark.parametrize("op", LSTM_OPS)
def test_every_lstm_op_is_jrnn_lstm(op, peephole):
    cell = jrnn.LSTMCell(peephole=peephole)
    _, ys = jrnn.lstm(LSTM[peephole], XS, cell=cell, initial_state=STATE)
    close(op(LSTM[peephole], STATE), ys)


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_both_directions_of_lstm_layer_are_jrnn_bidirectional(merge):
    draw = Dyadic(49)
    weights = draw.lstm_layer(2)._replace(peephole_weights=draw(2, 3 * N))
    config = nd4j.LSTMLayerConfig("NTS", f"BIDIR_{merge}".upper(), ret_last_h=True, ret_last_c=True)
    ran = nd4j.lstm_layer(XS, weights, config, max_ts_length=LENGTHS)
    params = nd4j.lstm_layer_to_params(weights)
    assert isinstance(params, jrnn.BidirectionalParams)
    states, ys = jrnn.bidirectional(
        jrnn.LSTMCell(peephole=True), params, XS, merge=merge, lengths=LENGTHS
    )
    close(ran, (ys, *map(jnp.stack, zip(*states, strict=True))))


def test_projection_lstm_is_jrnn_lstm_with_a_projection_and_both_clips():
    draw = Dyadic(50)
    weights, h = draw.projection_lstm(), draw(B, P)
    config = nd4j.ProjectionLSTMConfig(True, True, 0.5, 0.25, FORGET_BIAS)
    ran = nd4j.projection_lstm(time_major(XS), h, STATE.cell, weights, config)
    cell = jrnn.LSTMCell(peephole=True, projection=P, cell_clip=0.5, projection_clip=0.25)
    state, ys = jrnn.lstm(
        nd4j.projection_lstm_to_params(weights, forget_bias=FORGET_BIAS),
        XS,
        cell=cell,
        initial_state=jrnn.LSTMState(h, STATE.cell),
    )
    close((time_major(ran.h), ran.c[-1]), (ys, state.cell))
    assert jnp.abs(ys).max() == 0.25
    assert jnp.abs(state.cell).max() == 0.5


# The other ops, against the layers that their params are for.


def test_gru_cell_over_time_is_jrnn_gru_that_resets_before_the_product():
    draw = Dyadic(51)
    weights = nd4j.GRUWeights(draw(I + N, 2 * N), draw(I + N, N), draw(2 * N), draw(N))
    cell = jrnn.GRUCell(reset_after=False)
    state = jrnn.GRUState(STATE.hidden)
    _, ys = jrnn.gru(nd4j.gru_to_params(weights, I), XS, cell=cell, initial_state=state)
    h, outputs = STATE.hidden, []
    for x in time_major(XS):
        h = nd4j.gru_cell(x, h, weights).h
        outputs.append(h)
    close(jnp.stack(outputs, axis=1), ys)


def test_gru_layer_is_jrnn_gru():
    draw = Dyadic(52)
    weights = draw(I, 3 * N), draw(N, 3 * N), draw(3 * N)
    params = nd4j.gru_layer_to_params(*weights)
    _, ys = jrnn.gru(params, XS, initial_state=jrnn.GRUState(STATE.hidden))
    close(time_major(nd4j.gru_layer(time_major(XS), STATE.hidden, *weights)), ys)


def test_recurrent_biases_of_the_gates_become_part_of_gru_layers_biases():
    draw = Dyadic(59)
    bias = np.stack([draw(3 * N), np.append(draw(2 * N), np.zeros(N, np.float32))])
    params = jrnn.GRUParams(draw(I, 3 * N), draw(N, 3 * N), bias)
    _, ys = jrnn.gru(params, XS, initial_state=jrnn.GRUState(STATE.hidden))
    weights = nd4j.gru_layer_from_params(params)
    close(time_major(nd4j.gru_layer(time_major(XS), STATE.hidden, *weights)), ys)


def test_sru_is_jrnn_sru():
    draw = Dyadic(53)
    weights, xs = nd4j.SRUWeights(draw(3 * N, N), draw(2 * N)), draw(B, T, N)
    state = jrnn.SRUState(STATE.cell)
    final, ys = jrnn.sru(nd4j.sru_to_params(weights), xs, initial_state=state)
    ran = nd4j.sru(np.transpose(xs, (0, 2, 1)), STATE.cell, weights)
    close((jnp.transpose(ran.h, (0, 2, 1)), ran.c[..., -1]), (ys, final.cell))
    one = nd4j.sru_cell(xs[:, 0], STATE.cell, weights)
    close(one.h, ys[:, 0])


def test_dynamic_rnn_is_jrnn_simple_rnn():
    draw = Dyadic(54)
    weights = nd4j.RNNWeights(draw(I, N), draw(N, N), draw(2 * N))
    state, ys = jrnn.simple_rnn(
        nd4j.rnn_to_params(weights),
        XS,
        initial_state=jrnn.SimpleRNNState(STATE.hidden),
        lengths=LENGTHS,
    )
    close(
        nd4j.dynamic_rnn(XS, weights, h_0=STATE.hidden, max_time_step=LENGTHS), (ys, state.hidden)
    )


@pytest.mark.parametrize("data_format", ["NCW", "NWC"])
@pytest.mark.parametrize("peephole", [False, True], ids=["LSTM", "GravesLSTM"])
def test_dl4j_lstm_is_jrnn_lstm(peephole, data_format):
    options = {"initial_state": STATE, "lengths": LENGTHS, "reverse": True}
    cell = jrnn.LSTMCell("softsign", "hard_sigmoid", peephole=peephole)
    state, ys = jrnn.lstm(LSTM[peephole], XS, cell=cell, **options)
    axes = (0, 2, 1) if data_format == "NCW" else (0, 1, 2)
    ran = nd4j.dl4j_lstm(
        nd4j.dl4j_lstm_from_params(LSTM[peephole]),
        np.transpose(XS, axes),
        activation="softsign",
        gate_activation="hard_sigmoid",
        data_format=data_format,
        **options,
    )
    close(ran, (state, np.transpose(ys, axes)))


@pytest.mark.parametrize("data_format", ["NCW", "NWC"])
def test_dl4j_simple_rnn_is_jrnn_simple_rnn(data_format):
    draw = Dyadic(56)
    weights = nd4j.DL4JSimpleRnnWeights(draw(I, N), draw(N, N), draw(1, N))
    params = nd4j.dl4j_simple_rnn_to_params(weights)
    state, ys = jrnn.simple_rnn(params, XS, cell=jrnn.SimpleRNNCell("softsign"))
    axes = (0, 2, 1) if data_format == "NCW" else (0, 1, 2)
    ran = nd4j.dl4j_simple_rnn(
        weights, np.transpose(XS, axes), activation="softsign", data_format=data_format
    )
    close(ran, (state, np.transpose(ys, axes)))


def graves_steps(weights):
    """DL4J's LSTM from its equations, float64; column order c, f, o, i, peepholes f, o, i."""
    w, rw, b = (np.asarray(array, np.float64) for array in weights)
    recurrent, (of_forget, of_output, of_input) = rw[:, : 4 * N], rw[:, 4 * N :].T
    h, c, outputs = np.zeros((B, N)), np.zeros((B, N)), []
    for x in time_major(XS):
        block, forget, output, entry = np.split(x @ w + h @ recurrent + b.ravel(), 4, axis=1)
        kept = c / (1 + np.exp(-(forget + of_forget * c)))
        c = kept + np.tanh(block) / (1 + np.exp(-(entry + of_input * c)))
        h = np.tanh(c) / (1 + np.exp(-(output + of_output * c)))
        outputs.append(h)
    return np.stack(outputs, axis=2)


def test_dl4j_lstm_of_graves_has_the_columns_of_dl4j():
    draw = Dyadic(58)
    weights = nd4j.DL4JLSTMWeights(draw(I, 4 * N), draw(N, 4 * N + 3), draw(1, 4 * N))
    _, ys = nd4j.dl4j_lstm(weights, np.transpose(XS, (0, 2, 1)))
    close(ys, graves_steps(weights))
