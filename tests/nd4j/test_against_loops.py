"""Every op against the NumPy float64 loops, on random data: options meet every other option."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import nd4j
from tests.cases import B, F, P, T, U, assert_close
from tests.nd4j import loops, lstm_loops
from tests.nd4j.pairs import every_pair

pytestmark = pytest.mark.usefixtures("x64")
LENGTHS = np.array([2, 0, T])
STATES = {"none": (), "c": ("c_last",), "y": ("y_last",), "both": ("c_last", "y_last")}


def normal(rng, *shape):
    return rng.normal(size=shape)


def halved(rng, **shapes):
    """Random weights, halved, lest gates saturate; a shape of None leaves one out."""
    return {
        name: None if shape is None else 0.5 * normal(rng, *shape) for name, shape in shapes.items()
    }


def id_of(options):
    return "-".join(
        f"{name}={'rows' if value is LENGTHS else value}" for name, value in options.items()
    )


def compare(actual, expected):
    assert_close(tuple(jax.tree.leaves(actual)), tuple(jax.tree.leaves(expected)))


# LSTM layer

FORMATS = {"BIDIR_EXTRA_DIM": ("TNS", "T2NS", "TNS")}  # of three places; of the others:
PLAIN_FORMATS = ("TNS", "NTS", "NST")
SUBSETS = [asked for asked in itertools.product((True, False), repeat=3) if any(asked)]
LAYER = {
    "mode": ["FWD", "BWD", "BIDIR_SUM", "BIDIR_CONCAT", "BIDIR_EXTRA_DIM"],
    "format": [0, 1, 2],
    "outputs": [(True, True, True), (False, True, True), (True, False, False)],
    "states": list(STATES),
    "lengths": [None, LENGTHS],
    "biases": [True, False],
    "peephole": [False, True],
    "clip": [0.0, 0.3],
}


def input_of(rng, data_format):
    return normal(rng, *{"NTS": (B, T, F), "NST": (B, F, T)}.get(data_format, (T, B, F)))


def layer_weights(rng, directions=(), biases=True, peephole=False):
    return nd4j.LSTMLayerWeights(
        **halved(
            rng,
            input_weights=(*directions, F, 4 * U),
            recurrent_weights=(*directions, U, 4 * U),
            biases=(*directions, 4 * U) if biases else None,
            peephole_weights=(*directions, 3 * U) if peephole else None,
        )
    )


def check_layer(x, weights, states, **options):
    config = nd4j.LSTMLayerConfig(**options)
    actual = nd4j.lstm_layer(x, weights, config, **states)
    assert isinstance(actual, tuple)
    compare(actual, lstm_loops.lstm_layer(x, weights, **options, **states))


@pytest.mark.parametrize("options", every_pair(LAYER), ids=id_of)
def test_lstm_layer(options):
    rng = np.random.default_rng(1)
    mode = options["mode"]
    data_format = FORMATS.get(mode, PLAIN_FORMATS)[options["format"]]
    directions = (2,) if mode.startswith("BIDIR") else ()
    weights = layer_weights(rng, directions, options["biases"], options["peephole"])
    given = {name: normal(rng, *directions, B, U) for name in STATES[options["states"]]}
    given["max_ts_length"] = options["lengths"]
    h, last_h, last_c = options["outputs"]
    check_layer(
        input_of(rng, data_format),
        weights,
        given,
        lstm_data_format=data_format,
        lstm_direction_mode=mode,
        cell_clip=options["clip"],
        ret_full_sequence=h,
        ret_last_h=last_h,
        ret_last_c=last_c,
    )


@pytest.mark.parametrize("asked", SUBSETS, ids=str)
def test_subsets_of_the_outputs(asked):
    rng = np.random.default_rng(19)
    names = ("ret_full_sequence", "ret_last_h", "ret_last_c")
    options = dict(zip(names, asked, strict=True))
    check_layer(normal(rng, T, B, F), layer_weights(rng), {"max_ts_length": LENGTHS}, **options)


@pytest.mark.parametrize("data_format", PLAIN_FORMATS)
def test_first_steps_count_backward(data_format):
    """Backward alone, over the first steps of a row, not over the last as upstream."""
    rng = np.random.default_rng(18)
    given = {"max_ts_length": LENGTHS, "bwd_lengths": "left", "c_last": normal(rng, B, U)}
    every = {"lstm_direction_mode": "BWD", "ret_last_h": True, "ret_last_c": True}
    weights = layer_weights(rng, peephole=True)
    check_layer(input_of(rng, data_format), weights, given, lstm_data_format=data_format, **every)


@pytest.mark.parametrize("mode", ["BWD", "BIDIR_CONCAT"])
def test_steps_that_do_not_count_are_not_read(mode):
    """NaN there comes into no output and into no gradient."""
    rng = np.random.default_rng(20)
    config = nd4j.LSTMLayerConfig(lstm_direction_mode=mode, ret_last_h=True, ret_last_c=True)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def run(x, weights):
        outputs = nd4j.lstm_layer(x, weights, config, max_ts_length=LENGTHS)
        return sum(jnp.sin(part).sum() for part in outputs), outputs

    steps, first = np.arange(T)[:, None], T - LENGTHS if mode == "BWD" else 0
    counts = (first <= steps) & (steps < first + LENGTHS)
    x, weights = normal(rng, T, B, F), layer_weights(rng, () if mode == "BWD" else (2,))
    results = run(np.where(counts[..., None], x, np.nan), weights)
    compare(results, run(np.where(counts[..., None], x, 0.0), weights))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


TAKES = {
    "AFFINE": ("alpha", "beta"),
    "LEAKY_RELU": ("alpha",),
    "THRESHOLDED_RELU": ("alpha",),
    "SCALED_TANH": ("alpha", "beta"),
    "ELU": ("alpha",),
}
CONSTANTS = [{"alpha": a, "beta": b} for a, b in ((0.7, 0.4), (0.3, -0.6), (1.2, 0.8))]


@pytest.mark.parametrize("first", range(len(lstm_loops.ACTIVATIONS)))
def test_activations(first):
    """Three at once; each comes to each of the three places."""
    names = [*lstm_loops.ACTIVATIONS, *lstm_loops.ACTIVATIONS][first : first + 3]
    rng = np.random.default_rng(2)
    options = {"ret_last_h": True, "ret_last_c": True}
    for place, name, constants in zip(("gate", "cell", "out"), names, CONSTANTS, strict=True):
        options[f"{place}_act"] = name
        options |= {f"{place}_{which}": constants[which] for which in TAKES.get(name, ())}
    states = {"c_last": normal(rng, B, U), "y_last": normal(rng, B, U)}
    check_layer(normal(rng, T, B, F), layer_weights(rng, peephole=True), states, **options)


@pytest.mark.parametrize("name", ["AFFINE", "LEAKY_RELU", "SCALED_TANH", "ELU"])
def test_constants_are_zero_unless_given(name):
    """A straight line and a scaled tanh are then 0 everywhere, the other two are RELU."""
    rng = np.random.default_rng(3)
    x, weights = normal(rng, T, B, F), layer_weights(rng)
    (h,) = nd4j.lstm_layer(x, weights, nd4j.LSTMLayerConfig(out_act=name))
    expected = lstm_loops.lstm_layer(x, weights, out_act="RELU")[0]
    compare(h, np.zeros_like(h) if name in ("AFFINE", "SCALED_TANH") else expected)


def test_softplus_of_large_numbers():
    """Where upstream's formula overflows."""
    weights = nd4j.LSTMLayerWeights(np.zeros((F, 4 * U)), np.zeros((U, 4 * U)), np.full(4 * U, 1e3))
    (h,) = nd4j.lstm_layer(
        np.ones((T, B, F)), weights, nd4j.LSTMLayerConfig(cell_act="SOFTPLUS", out_act="RELU")
    )
    compare(h, np.broadcast_to(1e3 * np.arange(1, T + 1)[:, None, None], (T, B, U)))


def test_names_members_and_ids_of_the_enums():
    rng = np.random.default_rng(4)
    x, weights = normal(rng, B, F, T), layer_weights(rng)
    by_name = nd4j.LSTMLayerConfig("NST", "BWD", "HARD_SIGMOID", "SCALED_TAHN", cell_alpha=2.0)
    by_id = nd4j.LSTMLayerConfig(2, 1, 7, 6, cell_alpha=2.0)
    by_member = nd4j.LSTMLayerConfig(
        nd4j.LSTMDataFormat.NST,
        nd4j.LSTMDirectionMode.BWD,
        nd4j.LSTMActivations.HARD_SIGMOID,
        nd4j.LSTMActivations.SCALED_TANH,
        cell_alpha=2.0,
    )
    assert by_name == by_id == by_member
    assert nd4j.LSTMActivations["THRESHHOLD_RELU"] is nd4j.LSTMActivations.THRESHOLDED_RELU
    assert nd4j.lstm_layer(x, weights, by_id)[0].shape == (B, U, T)


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("rows", [(), (B,)], ids=["one_row", "batch"])
def test_lstm_layer_cell(states, rows):
    rng = np.random.default_rng(5)
    options = {
        **{"gate_act": "HARD_SIGMOID", "cell_act": "AFFINE", "out_act": "ELU"},
        **{"cell_alpha": 0.8, "cell_beta": 0.2, "out_alpha": 0.6, "cell_clip": 0.3},
    }
    weights, x = layer_weights(rng, peephole=True), normal(rng, *rows, F)
    given = {name: normal(rng, *rows, U) for name in STATES[states]}
    actual = nd4j.lstm_layer_cell(x, weights, nd4j.LSTMLayerConfig(**options), **given)
    if not rows:
        x, given = x[None], {name: state[None] for name, state in given.items()}
        actual = jax.tree.map(lambda leaf: leaf[None], actual)
    compare(actual, lstm_loops.lstm_layer_cell(x, weights, **options, **given))


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


# Types


def single(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def test_integers_are_computed_as_floats_of_32_bits():
    rng = np.random.default_rng(16)
    x = rng.integers(-2, 3, (T, B, F))
    weights = single(layer_weights(rng))
    config = nd4j.LSTMLayerConfig(ret_last_h=True, ret_last_c=True)
    outputs = nd4j.lstm_layer(x, weights, config)
    assert {leaf.dtype for leaf in outputs} == {jnp.dtype("float32")}
    expected = lstm_loops.lstm_layer(x, weights, ret_last_h=True, ret_last_c=True)
    assert_close(outputs, expected, 1e-5)


def test_lengths_may_be_floats():
    """Upstream reads any number as an integer."""
    rng = np.random.default_rng(17)
    x, weights = normal(rng, T, B, F), layer_weights(rng)
    (h,) = nd4j.lstm_layer(x, weights, max_ts_length=LENGTHS.astype(np.float32))
    (expected,) = lstm_loops.lstm_layer(x, weights, max_ts_length=LENGTHS)
    compare(h, expected)
