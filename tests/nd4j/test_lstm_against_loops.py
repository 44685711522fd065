"""`lstm_layer` and its cell against NumPy float64 loops, on random data: every two options meet."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import nd4j
from tests.cases import B, F, T, U, assert_close
from tests.nd4j import lstm_loops
from tests.nd4j.pairs import every_pair
from tests.nd4j.problems import LENGTHS, STATES, compare, halved, id_of, input_of, normal

pytestmark = pytest.mark.usefixtures("x64")

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
