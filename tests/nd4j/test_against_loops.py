"""Every op but `lstm_layer` against NumPy float64 loops, on random data: two options meet."""

import numpy as np
import pytest

from jrnn import nd4j
from tests.cases import B, F, P, T, U
from tests.nd4j import loops, lstm_loops
from tests.nd4j.pairs import every_pair
from tests.nd4j.problems import LENGTHS, STATES, compare, halved, id_of, input_of, normal

pytestmark = pytest.mark.usefixtures("x64")


# LSTM block

BLOCK = {
    "rnn_data_format": ["TNS", "NST", "NTS"],
    "peep_hole": [False, True],
    "bias": [True, False],
    "forget_bias": [0.0, 1.5],
    "clipping_cell_value": [0.0, 0.3],
    "states": list(STATES),
    "lengths": [None, 3, LENGTHS],
}


def block_problem(rng, options):
    peephole = (U,) if options["peep_hole"] else None
    weights = nd4j.LSTMWeights(
        **halved(
            rng,
            ru_weight=(F + U, 4 * U),
            input_peephole_weights=peephole,
            forget_peephole_weights=peephole,
            output_peephole_weights=peephole,
            bias=(4 * U,) if options["bias"] else None,
        )
    )
    config = {name: options[name] for name in ("peep_hole", "forget_bias", "clipping_cell_value")}
    return weights, config


@pytest.mark.parametrize("options", every_pair(BLOCK), ids=id_of)
def test_lstm_block(options):
    rng = np.random.default_rng(6)
    weights, config = block_problem(rng, options)
    config["rnn_data_format"] = options["rnn_data_format"]
    x = input_of(rng, options["rnn_data_format"])
    given = {name: normal(rng, B, U) for name in STATES[options["states"]]}
    given["max_ts_length"] = options["lengths"]
    actual = nd4j.lstm_block(x, weights, nd4j.LSTMConfiguration(**config), **given)
    compare(actual, lstm_loops.lstm_block(x, weights, **config, **given))


CELL = {name: BLOCK[name] for name in ("peep_hole", "bias", "forget_bias", "clipping_cell_value")}


@pytest.mark.parametrize("options", every_pair(CELL), ids=id_of)
def test_lstm_cell(options):
    rng = np.random.default_rng(7)
    weights, config = block_problem(rng, options)
    args = normal(rng, B, F), normal(rng, B, U), normal(rng, B, U), weights
    actual = nd4j.lstm_cell(*args, nd4j.LSTMConfiguration(**config))
    compare(actual, lstm_loops.lstm_cell(*args, **config))


# Projection LSTM

PROJECTION = {
    "peephole": [False, True],
    "projection": [False, True],
    "clipping_cell_value": [0.0, 0.3, -1.0],
    "clipping_proj_value": [0.0, 0.2],
    "forget_bias": [0.0, 1.5],
    "biases": [True, False],
}


@pytest.mark.parametrize("options", every_pair(PROJECTION), ids=id_of)
def test_projection_lstm(options):
    """The cell and its loop; without a projection its clip does nothing."""
    rng = np.random.default_rng(8)
    biases = options.pop("biases")
    width = P if options["projection"] else U
    weights = nd4j.ProjectionLSTMWeights(
        **halved(
            rng,
            input_weights=(F, 4 * U),
            recurrent_weights=(width, 4 * U),
            peephole_weights=(3 * U,) if options["peephole"] else None,
            projection_weights=(U, P) if options["projection"] else None,
            biases=(4 * U,) if biases else None,
        )
    )
    config = nd4j.ProjectionLSTMConfig(**options)
    x, states = normal(rng, T, B, F), (normal(rng, B, width), normal(rng, B, U))
    actual = nd4j.projection_lstm(x, *states, weights, config)
    compare(actual, lstm_loops.projection_lstm(x, *states, weights, **options))
    actual = nd4j.projection_lstm_cell(x[0], *states, weights, config)
    compare(actual, lstm_loops.projection_lstm_cell(x[0], *states, weights, **options))


# GRU and SRU


@pytest.mark.parametrize("ru_bias", [True, False])
@pytest.mark.parametrize("c_bias", [True, False])
def test_gru_cell(ru_bias, c_bias):
    rng = np.random.default_rng(9)
    weights = nd4j.GRUWeights(
        **halved(
            rng,
            ru_weight=(F + U, 2 * U),
            c_weight=(F + U, U),
            ru_bias=(2 * U,) if ru_bias else None,
            c_bias=(U,) if c_bias else None,
        )
    )
    args = normal(rng, B, F), normal(rng, B, U), weights
    expected = loops.gru_cell(*args)
    compare(nd4j.gru_cell(*args), expected)
    compare(nd4j.gru(*args), expected)


def test_gru_layer():
    rng = np.random.default_rng(10)
    weights = halved(rng, wx=(F, 3 * U), wh=(U, 3 * U), biases=(3 * U,)).values()
    args = normal(rng, T, B, F), normal(rng, B, U), *weights
    compare(nd4j.gru_layer(*args), loops.gru_layer(*args))


@pytest.mark.parametrize("masked", [False, True])
def test_sru(masked):
    """Both layouts of the weights, for the layer and for one step."""
    rng = np.random.default_rng(11)
    rows = nd4j.SRUWeights(**halved(rng, weights=(3 * U, U), bias=(2 * U,)))
    columns = rows._replace(weights=rows.weights.T)
    x, c = normal(rng, B, U, T), normal(rng, B, U)
    mask = 1.25 * rng.integers(0, 2, (B, U)) if masked else None
    expected = loops.sru(x, c, rows, mask=mask)
    for weights in (rows, columns):
        compare(nd4j.sru(x, c, weights, mask=mask), expected)
        compare(nd4j.sru_cell(x[..., 0], c, weights), loops.sru_cell(x[..., 0], c, columns))


@pytest.mark.parametrize("masked", [False, True])
def test_sru_bi(masked):
    rng = np.random.default_rng(12)
    weights = nd4j.SRUWeights(**halved(rng, weights=(2 * U, 6 * U), bias=(4 * U,)))
    x, c = normal(rng, T, B, 2 * U), normal(rng, B, 2 * U)
    mask = 1.25 * rng.integers(0, 2, (B, 2 * U)) if masked else None
    compare(nd4j.sru_bi(x, c, weights, mask=mask), loops.sru_bi(x, c, weights, mask=mask))


# Plain RNN


def rnn_weights(rng, biases=True):
    shapes = {"input_weights": (F, U), "recurrent_weights": (U, U)}
    return nd4j.RNNWeights(**halved(rng, **shapes, biases=(2 * U,) if biases else None))


RNN = {"biases": [True, False], "h_0": [True, False], "lengths": [None, LENGTHS]}


def test_rnn_cell():
    rng = np.random.default_rng(13)
    for biases in (True, False):
        args = normal(rng, B, F), normal(rng, B, U), rnn_weights(rng, biases)
        compare(nd4j.rnn_cell(*args), loops.rnn_cell(*args))


@pytest.mark.parametrize("options", every_pair(RNN), ids=id_of)
def test_rnn(options):
    rng = np.random.default_rng(14)
    weights = rnn_weights(rng, options["biases"])
    x, h_0 = normal(rng, B, T, F), normal(rng, B, U) if options["h_0"] else None
    given = {"h_0": h_0, "max_time_step": options["lengths"]}
    compare(nd4j.dynamic_rnn(x, weights, **given), loops.dynamic_rnn(x, weights, **given))
    x = np.swapaxes(x, 0, 1)
    expected = loops.static_rnn(x, weights, **given)
    compare(nd4j.static_rnn(x, weights, **given), expected)
    compare(nd4j.dynamic_rnn(x, weights, time_major=True, **given), expected)


BOTH = {"h_0_forward": [True, False], "h_0_backward": [True, False], "lengths": [None, LENGTHS]}


@pytest.mark.parametrize("options", every_pair(BOTH), ids=id_of)
def test_bidirectional_rnn(options):
    rng = np.random.default_rng(15)
    weights = rnn_weights(rng), rnn_weights(rng)
    given = {
        name: normal(rng, B, U) if options[name] else None
        for name in ("h_0_forward", "h_0_backward")
    }
    given["max_time_step"] = options["lengths"]
    x = normal(rng, B, T, F)
    expected = loops.dynamic_bidirectional_rnn(x, *weights, **given)
    compare(nd4j.dynamic_bidirectional_rnn(x, *weights, **given), expected)
    x = np.swapaxes(x, 0, 1)
    expected = loops.static_bidirectional_rnn(x, *weights, **given)
    compare(nd4j.static_bidirectional_rnn(x, *weights, **given), expected)
    given["time_major"] = True
    expected = loops.dynamic_bidirectional_rnn(x, *weights, **given)
    compare(nd4j.dynamic_bidirectional_rnn(x, *weights, **given), expected)
