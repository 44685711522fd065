"""Arguments as a port from Java or NumPy brings them: lists, NumPy's ids, odd lengths, None."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn import nd4j
from tests.nd4j.drawn import B, I, N, P, T

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


LAYER = nd4j.LSTMLayerWeights(draw(I, 4 * N), draw(N, 4 * N), draw(4 * N))
BLOCK = nd4j.LSTMWeights(draw(I + N, 4 * N), bias=draw(4 * N))
PROJECTED = nd4j.ProjectionLSTMWeights(draw(I, 4 * N), draw(P, 4 * N), None, draw(N, P))
PROJECTION = nd4j.ProjectionLSTMConfig(projection=True)
GRU = nd4j.GRUWeights(draw(I + N, 2 * N), draw(I + N, N))
SRU = nd4j.SRUWeights(draw(I, 3 * I), draw(2 * I))
RNN = nd4j.RNNWeights(draw(I, N), draw(N, N), draw(2 * N))
STEP, STEPS = draw(B, I), draw(T, B, I)

# Each op, and the shapes of the arrays that it cannot do without beside x and the weights.
NEEDED = {
    "gru_cell": (lambda h_last: nd4j.gru_cell(STEP, h_last, GRU), {"h_last": (B, N)}),
    "gru_layer": (
        lambda h_last, wx, wh: nd4j.gru_layer(STEPS, h_last, wx, wh, None),
        {"h_last": (B, N), "wx": (I, 3 * N), "wh": (N, 3 * N)},
    ),
    "lstm_cell": (
        lambda c_last, y_last: nd4j.lstm_cell(STEP, c_last, y_last, BLOCK),
        {"c_last": (B, N), "y_last": (B, N)},
    ),
    "projection_lstm_cell": (
        lambda h_last, c_last: nd4j.projection_lstm_cell(
            STEP, h_last, c_last, PROJECTED, PROJECTION
        ),
        {"h_last": (B, P), "c_last": (B, N)},
    ),
    "projection_lstm": (
        lambda h_last, c_last: nd4j.projection_lstm(STEPS, h_last, c_last, PROJECTED, PROJECTION),
        {"h_last": (B, P), "c_last": (B, N)},
    ),
    "sru_cell": (lambda c_last: nd4j.sru_cell(STEP, c_last, SRU), {"c_last": (B, I)}),
    "sru": (
        lambda initial_c: nd4j.sru(STEPS.transpose(1, 2, 0), initial_c, SRU),
        {"initial_c": (B, I)},
    ),
    "sru_bi": (
        lambda initial_c: nd4j.sru_bi(
            STEPS, initial_c, nd4j.SRUWeights(SRU.weights, SRU.bias[: 2 * I])
        ),
        {"initial_c": (B, I)},
    ),
    "rnn_cell": (lambda h_last: nd4j.rnn_cell(STEP, h_last, RNN), {"h_last": (B, N)}),
}


@pytest.mark.parametrize("op", NEEDED)
def test_nested_lists_are_arrays(op):
    call, shapes = NEEDED[op]
    arrays = {name: draw(*shape) for name, shape in shapes.items()}
    got = call(**{name: array.tolist() for name, array in arrays.items()})
    jax.tree.map(np.testing.assert_array_equal, got, call(**arrays))


@pytest.mark.parametrize(
    ("op", "name"), [(op, name) for op, (_, shapes) in NEEDED.items() for name in shapes]
)
def test_an_array_that_is_needed_is_not_none(op, name):
    call, shapes = NEEDED[op]
    arrays = {key: draw(*shape) for key, shape in shapes.items()} | {name: None}
    with pytest.raises(
        ValueError, match=rf"jrnn.nd4j.{op}: {name} is None, but an array is needed"
    ):
        call(**arrays)


def test_a_mask_may_be_a_list():
    x, c, mask = draw(B, I, T), draw(B, I), draw(B, I)
    got = nd4j.sru(x, c, SRU, mask=mask.tolist())
    jax.tree.map(np.testing.assert_array_equal, got, nd4j.sru(x, c, SRU, mask=mask))


@pytest.mark.parametrize("config", [None, "NTS", {}, nd4j.RnnDataFormat.NTS])
@pytest.mark.parametrize(
    ("needs", "call"),
    [
        ("LSTMLayerConfig", lambda config: nd4j.lstm_layer(STEPS, LAYER, config)),
        ("LSTMLayerConfig", lambda config: nd4j.lstm_layer_cell(STEP, LAYER, config)),
        ("LSTMConfiguration", lambda config: nd4j.lstm_block(STEPS, BLOCK, config)),
        (
            "LSTMConfiguration",
            lambda config: nd4j.lstm_cell(STEP, draw(B, N), draw(B, N), BLOCK, config),
        ),
        (
            "ProjectionLSTMConfig",
            lambda config: nd4j.projection_lstm(STEPS, draw(B, P), draw(B, N), PROJECTED, config),
        ),
    ],
)
def test_a_configuration_of_another_kind(needs, call, config):
    kind = type(config).__name__
    with pytest.raises(ValueError, match=f"config is a {kind}, but {needs} is needed"):
        call(config)


def test_imaginary_parts_are_not_dropped():
    with pytest.raises(ValueError, match="lstm_layer: x has dtype complex64, but real numbers"):
        nd4j.lstm_layer(STEPS + 1j, LAYER)
    with pytest.raises(ValueError, match="gru_cell: x has dtype complex64, but real numbers"):
        nd4j.gru_cell(STEP + 1j, draw(B, N), GRU)
    with pytest.raises(ValueError, match="gru_cell: weights hold an array of dtype complex64"):
        nd4j.gru_cell(STEP, draw(B, N), GRU._replace(c_weight=GRU.c_weight + 1j))


def test_weights_of_another_op():
    with pytest.raises(ValueError, match="lstm_layer: weights is a GRUWeights, but LSTMLayer"):
        nd4j.lstm_layer(STEPS, GRU)
    with pytest.raises(ValueError, match="gru_to_params: weights is a LSTMLayerWeights"):
        nd4j.gru_to_params(LAYER, 3)


@pytest.mark.parametrize("mode", ["FWD", "BWD", "BIDIR_SUM"])
def test_without_any_step_the_last_are_the_initial_states(mode):
    both = (2,) if mode == "BIDIR_SUM" else ()
    weights = jax.tree.map(lambda a: jnp.broadcast_to(a, (*both, *a.shape)), LAYER)
    config = nd4j.LSTMLayerConfig("TNS", mode, ret_last_h=True, ret_last_c=True)
    h0, c0 = draw(*both, B, N), draw(*both, B, N)
    h, last_h, last_c = nd4j.lstm_layer(
        jnp.zeros((0, B, STEPS.shape[-1])), weights, config, c_last=c0, y_last=h0
    )
    assert h.shape == (0, B, N)
    assert (last_h == h0).all()
    assert (last_c == c0).all()


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        (np.array([2**32 + 3, 3, 3]), "range from 3 to 4294967299"),  # 3 in 32 bits
        ([np.nan, 3.0, 3.0], "finite numbers are needed"),
        ([np.inf, 3.0, 3.0], "finite numbers are needed"),
        ([1j, 3, 3], "integers of shape"),
        (["a", "b", "c"], "integers of shape"),
        (np.int64(T + 1), f"range from {T + 1} to {T + 1}"),
        (-1.5, "range from -1 to -1"),
    ],
)
@pytest.mark.parametrize("jit", [False, True])
def test_lengths_that_are_none(lengths, says, jit):
    def run(x):
        return nd4j.lstm_layer(x, LAYER, max_ts_length=lengths)

    with pytest.raises(ValueError, match=f"max_ts_length .*{says}"):
        (jax.jit(run) if jit else run)(STEPS)


@pytest.mark.parametrize(
    "lengths",
    [2, 2.9, np.int8(2), [2] * B, np.full(B, 2, np.uint8), jnp.full(B, 2.5, jnp.bfloat16)],
)
def test_lengths_of_any_numeric_type(lengths):
    (got,) = nd4j.lstm_layer(STEPS, LAYER, max_ts_length=lengths)
    (expected,) = nd4j.lstm_layer(STEPS[:2], LAYER)
    np.testing.assert_allclose(got[:2], expected, atol=1e-6)
    assert not got[2:].any()


def test_ids_may_be_numpys():
    config = nd4j.LSTMLayerConfig(np.int32(1), np.int64(3), np.uint8(7))
    assert config == nd4j.LSTMLayerConfig("NTS", "BIDIR_CONCAT", "HARD_SIGMOID")
    with pytest.raises(ValueError, match=r"cell_clip is .*True.*, but a finite number is needed"):
        nd4j.LSTMLayerConfig(cell_clip=np.True_)


@pytest.mark.parametrize(
    ("layer", "weights"),
    [
        (nd4j.dl4j_lstm, nd4j.DL4JLSTMWeights(draw(I, 4 * N), draw(N, 4 * N + 3), draw(1, 4 * N))),
        (nd4j.dl4j_simple_rnn, nd4j.DL4JSimpleRnnWeights(draw(I, N), draw(N, N), draw(1, N))),
    ],
)
def test_dl4j_has_features_before_time_in_all_that_has_time(layer, weights):
    x = RNG.integers(-3, 3, (B, I, T))  # integers are computed in float32
    states, ys = layer(weights, x, return_all_states=True)
    _, expected = layer(weights, x.astype(np.float32))
    assert ys.shape == states.hidden.shape == (B, N, T)
    np.testing.assert_array_equal(ys, expected)
    np.testing.assert_array_equal(states.hidden, ys)
    with pytest.raises(ValueError, match="time_major is True, but NCW has the batch first"):
        layer(weights, x, time_major=True)


@pytest.mark.parametrize(
    ("convert", "says"),
    [
        (
            lambda: nd4j.gru_to_params(nd4j.GRUWeights(draw(I + N, 2 * N), draw(I + N, N + 1)), I),
            "gru_to_params: ru_weight",
        ),
        (lambda: nd4j.gru_to_params(GRU._replace(c_bias=draw(N + 1)), I), "c_bias has shape"),
        (lambda: nd4j.gru_layer_to_params(draw(I, 3 * N), draw(N, 3 * N + 1)), "wh has shape"),
        (lambda: nd4j.gru_layer_to_params(draw(I, 3 * N + 3), draw(N, 3 * N)), "wx has shape"),
        (
            lambda: nd4j.lstm_to_params(BLOCK._replace(input_peephole_weights=draw(N)), I),
            "1 of three peephole weights",
        ),
        (lambda: nd4j.lstm_to_params(BLOCK._replace(bias=draw(N)), I), "bias has shape"),
        (
            lambda: nd4j.lstm_layer_to_params(
                nd4j.LSTMLayerWeights(draw(3, I, 4 * N), draw(3, N, 4 * N))
            ),
            r"but x and the weights need \(2, ",
        ),
        (
            lambda: nd4j.lstm_layer_to_params(
                nd4j.LSTMLayerWeights(draw(1, I, 4 * N), draw(1, N, 4 * N))
            ),
            r"but x and the weights need \(2, ",
        ),
        (
            lambda: nd4j.lstm_layer_to_params(
                nd4j.LSTMLayerWeights(draw(2, I, 4 * N), draw(2, N, 4 * N), draw(4 * N))
            ),
            "biases has shape",
        ),
        (
            lambda: nd4j.lstm_layer_from_params(
                jrnn.BidirectionalParams(
                    nd4j.lstm_layer_to_params(LAYER),
                    nd4j.lstm_layer_to_params(LAYER._replace(biases=None)),
                )
            ),
            "the directions have .* one array for both",
        ),
        (lambda: nd4j.rnn_to_params(RNN._replace(biases=draw(N))), "biases has shape"),
        (lambda: nd4j.sru_to_params(SRU._replace(bias=draw(2 * I - 1))), "bias has shape"),
        (
            lambda: nd4j.dl4j_simple_rnn_to_params(
                nd4j.DL4JSimpleRnnWeights(draw(I, N), draw(N, N), draw(1, N + 1))
            ),
            "b has shape",
        ),
        (
            lambda: nd4j.dl4j_lstm_to_params(
                nd4j.DL4JLSTMWeights(draw(I, 4 * N), np.float32(1), draw(4 * N))
            ),
            "w, rw and b have shapes",
        ),
    ],
)
def test_weights_that_do_not_fit_are_not_converted(convert, says):
    with pytest.raises(ValueError, match=says):
        convert()


def test_peepholes_that_are_not_used_may_be_some_of_three():
    some = BLOCK._replace(forget_peephole_weights=draw(N))
    got = nd4j.lstm_cell(STEP, draw(B, N) * 0, draw(B, N) * 0, some)
    expected = nd4j.lstm_cell(STEP, draw(B, N) * 0, draw(B, N) * 0, BLOCK)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_numpy_parameters_are_converted_while_tracing():
    weights = nd4j.DL4JLSTMWeights(draw(I, 4 * N), draw(N, 4 * N + 3), draw(1, 4 * N))
    params = jax.tree.map(np.asarray, nd4j.dl4j_lstm_to_params(weights))
    back = jax.jit(lambda: nd4j.dl4j_lstm_from_params(params))()
    jax.tree.map(np.testing.assert_array_equal, back, weights)


@pytest.mark.parametrize("mode", ["FWD", "BWD", "BIDIR_SUM"])
def test_lengths_where_promotion_is_strict_and_integers_are_wide(mode):
    weights = jax.tree.map(lambda array: np.stack([array, array]), LAYER)
    weights = LAYER if mode in ("FWD", "BWD") else weights
    config = nd4j.LSTMLayerConfig(lstm_direction_mode=mode)
    (expected,) = nd4j.lstm_layer(STEPS, weights, config, max_ts_length=[T, 2, 0])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        (got,) = nd4j.lstm_layer(STEPS, weights, config, max_ts_length=[T, 2, 0])
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16])
def test_lengths_of_jrnns_own_layer_where_promotion_is_strict(dtype):
    params, xs = nd4j.lstm_layer_to_params(LAYER), STEPS.swapaxes(0, 1)
    _, expected = jrnn.lstm(params, xs, lengths=jnp.array([T, 2, 0]))
    with jax.numpy_dtype_promotion("strict"):
        _, got = jrnn.lstm(params, xs, lengths=jnp.array([T, 2, 0], dtype))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_forget_bias_beside_integer_weights_is_not_cut_to_a_whole_number():
    whole = RNG.integers(-2, 3, (I + N, 4 * N))
    state, config = (draw(B, N), draw(B, N)), nd4j.LSTMConfiguration(forget_bias=0.5)
    got = nd4j.lstm_cell(STEP, *state, nd4j.LSTMWeights(whole), config)
    expected = nd4j.lstm_cell(STEP, *state, nd4j.LSTMWeights(whole.astype(np.float32)), config)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    narrow = nd4j.LSTMWeights(jnp.asarray(whole, jnp.bfloat16))
    assert nd4j.lstm_to_params(narrow, I, forget_bias=0.5).bias.dtype == jnp.bfloat16


@pytest.mark.parametrize("mode", ["FWD", "BWD"])
@pytest.mark.parametrize("known", [False, True])
def test_lengths_beside_a_number_of_steps_that_is_a_symbol(mode, known):
    config = nd4j.LSTMLayerConfig(lstm_direction_mode=mode, ret_last_c=True)
    lengths = np.array([T, 2, 0], np.int32)

    def run(x, given):
        return nd4j.lstm_layer(x, LAYER, config, max_ts_length=lengths if known else given)

    (steps,) = jax.export.symbolic_shape("t")
    x = jax.ShapeDtypeStruct((steps, B, I), jnp.float32)
    exported = jax.export.export(jax.jit(run))(x, jax.ShapeDtypeStruct((B,), jnp.int32))
    for got, expected in zip(exported.call(STEPS, lengths), run(STEPS, lengths), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
