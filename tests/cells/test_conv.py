"""Convolutional cells × what holds of every cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrnn import (
    BidirectionalParams,
    ConvGRUCell,
    ConvLSTMCell,
    LSTMParams,
    bidirectional,
    lstm,
    rnn,
)
from jrnn.cells.convolution import convolve
from tests import conv_oracle
from tests.cases import assert_close, assert_equal, every_other

pytestmark = pytest.mark.usefixtures("x64")
# No two sizes alike, so that no axis passes for another.
B, T, C, U = 2, 4, 2, 3
IMAGES = {1: (7,), 2: (5, 6), 3: (4, 3, 5)}
CELLS = {
    "lstm-1d": ConvLSTMCell(rank=1),
    "lstm-2d": ConvLSTMCell(kernel_size=(3, 2), padding="same"),
    "lstm-2d-stride-first": ConvLSTMCell(
        kernel_size=(2, 3), strides=(2, 3), padding="same", data_format="channels_first"
    ),
    "lstm-2d-stride-valid": ConvLSTMCell(
        kernel_size=2, strides=2, activation="elu", recurrent_activation="hard_sigmoid"
    ),
    "lstm-2d-dilation": ConvLSTMCell(kernel_size=2, dilation=(1, 3), use_bias=False),
    "lstm-2d-theano": ConvLSTMCell(
        kernel_size=(2, 4), strides=(2, 1), padding="same", same_rule="theano"
    ),
    "lstm-3d": ConvLSTMCell(rank=3, kernel_size=(2, 1, 3)),
    "gru-2d": ConvGRUCell(kernel_size=(3, 2), strides=(1, 2), padding="same"),
    "gru-2d-first": ConvGRUCell(data_format="channels_first", recurrent_activation="softsign"),
    "gru-1d-before": ConvGRUCell(rank=1, kernel_size=4, padding="same", reset_after=False),
    "gru-1d-before-no_bias": ConvGRUCell(
        rank=1, dilation=2, reset_after=False, use_bias=False, recurrent_activation="hard_sigmoid"
    ),
    "gru-3d-no_bias": ConvGRUCell(rank=3, kernel_size=2, use_bias=False, padding="same"),
}
OPTIONS = {
    "lengths": {"lengths": np.array([3, 0])},
    "mask-reverse": {"mask": np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool), "reverse": True},
    "resets": {"resets": np.array([[0, 0, 1, 0], [1, 0, 0, 1]], bool)},
    "resets-reverse": {"resets": np.array([[0, 0, 1, 0], [1, 0, 0, 1]], bool), "reverse": True},
    "reverse": {"reverse": True},
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def check(f, args, order=1):
    """Both modes, in random directions; the step of 1e-5 leaves errors of about 1e-10."""
    tolerance = 1e-7 if order == 1 else 1e-6
    check_grads(f, args, order, ("fwd", "rev"), tolerance, tolerance, eps=1e-5)


def image(cell):
    sizes = IMAGES[cell.rank]
    return (C, *sizes) if cell.data_format == "channels_first" else (*sizes, C)


def problem(seed, cell, batch=(B,), steps=T):
    """`(params, xs, state)` for a cell, its recurrent window unlike that of the input."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), C, U))
    window = (2, 3, 1)[: cell.rank]
    recurrent = jax.ShapeDtypeStruct((*window, *shapes.recurrent_kernel.shape[-2:]), float)
    shapes = shapes._replace(recurrent_kernel=recurrent)
    params = jax.tree.map(lambda leaf: 0.4 * rng.normal(size=leaf.shape), shapes)
    xs = rng.normal(size=(*batch, steps, *image(cell)))
    take = (slice(None),) * len(batch)

    def fresh():
        return cell.initial_state(params, cell.project(params, xs[(*take, 0)]))

    state = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), jax.eval_shape(fresh))
    return params, xs, state


@every_cell
def test_layer_is_the_equation(cell):
    params, xs, state = problem(0, cell)
    expected = conv_oracle.rnn(cell, params, xs, state)
    assert_close(rnn(cell, params, xs, initial_state=state), expected)


@pytest.mark.parametrize("name", ["lstm-2d-stride-first", "gru-2d"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option(name, options):
    cell = CELLS[name]
    params, xs, state = problem(1, cell)
    expected = conv_oracle.rnn(cell, params, xs, state, **options)
    assert_close(rnn(cell, params, xs, initial_state=state, **options), expected)


@pytest.mark.parametrize("cell", every_other(CELLS))
@pytest.mark.parametrize("batch", [(), (2, B)], ids=str)
def test_steps_are_the_layer_for_any_leading_axes(cell, batch):
    params, xs, state = problem(2, cell, batch)
    final, ys = rnn(cell, params, xs, initial_state=state)
    before = (slice(None),) * len(batch)
    for t in range(T):
        state, y = cell(params, state, xs[(*before, t)])
        assert_close(ys[(*before, t)], y)
    assert_close(final, state)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_output_depends_on_the_past_alone(cell, reverse):
    params, xs, _ = problem(3, cell)
    changed = xs.copy()
    changed[:, 2] += 1
    _, ys = rnn(cell, params, xs, reverse=reverse)
    _, other = rnn(cell, params, changed, reverse=reverse)
    past, future = (slice(3, None), slice(3)) if reverse else (slice(2), slice(2, None))
    assert_equal(other[:, past], ys[:, past])
    assert (abs(other[:, future] - ys[:, future]).max((0, *range(2, ys.ndim))) > 1e-4).all()


@every_cell
def test_initial_state_is_zero_and_follows_the_input(cell):
    params, xs, state = problem(4, cell)
    fresh = cell.initial_state(params, cell.project(params, xs[:, 0]))
    assert_equal(fresh, jax.tree.map(np.zeros_like, state))
    assert jax.tree.structure(fresh) == jax.tree.structure(state)


@pytest.mark.parametrize("cell", every_other(CELLS))
def test_gradients(cell):
    params, xs, state = problem(5, cell, steps=3)
    for way in ("hoisted", "chunked", "in_loop") if cell.rank == 1 else ("auto",):

        def f(params, xs, state, way=way):
            return rnn(cell, params, xs, initial_state=state, implementation=way)

        check(f, (params, xs, state))


@pytest.mark.parametrize("name", ["lstm-1d", "gru-1d-before"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradients_with_every_option(name, options):
    cell = CELLS[name]
    params, xs, state = problem(6, cell)
    check(lambda p, xs, s: rnn(cell, p, xs, initial_state=s, **options), (params, xs, state))


def test_second_order():
    cell = CELLS["lstm-1d"]
    params, xs, state = problem(7, cell, steps=2)
    check(jax.jit(lambda p, xs, s: rnn(cell, p, xs, initial_state=s)), (params, xs, state), 2)


def test_bidirectional():
    cell = CELLS["lstm-2d-stride-first"]
    forward, xs, _ = problem(8, cell)
    backward, _, _ = problem(9, cell)
    states, ys = bidirectional(cell, BidirectionalParams(forward, backward), xs, lengths=[3, 4])
    ahead = rnn(cell, forward, xs, lengths=[3, 4])
    behind = rnn(cell, backward, xs, lengths=[3, 4], reverse=True)
    assert_close((*states, ys), (ahead[0], behind[0], np.concatenate([ahead[1], behind[1]], -1)))


@pytest.mark.parametrize("name", ["lstm-2d", "gru-2d-first", "gru-1d-before"])
@pytest.mark.parametrize(
    ("of_params", "of_x", "of_y"),
    [
        ("float32", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("bfloat16", "float32", "float32"),
        ("float32", "float16", "float32"),
        ("float64", "float32", "float64"),
    ],
)
def test_dtypes_promote(name, of_params, of_x, of_y):
    cell = CELLS[name]
    params, xs, _ = problem(10, cell)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, of_params), params)
    state, y = cell(params, None, jnp.asarray(xs[:, 0], of_x))
    assert {leaf.dtype for leaf in jax.tree.leaves((state, y))} == {jnp.dtype(of_y)}


@every_cell
def test_cell_is_a_value(cell):
    again = type(cell)(**vars(cell))
    assert again == cell
    assert hash(again) == hash(cell)
    assert {cell: 0, **{other: 1 for other in CELLS.values() if other is not cell}}[again] == 0


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("make", [ConvLSTMCell, ConvGRUCell])
def test_fresh_parameters(make, rank):
    window, gates = (3, 4, 5)[:rank], 4 if make is ConvLSTMCell else 3
    params = make(rank=rank, kernel_size=window).init(jax.random.key(0), C, 16, "float32")
    assert params.kernel.shape == (*window, C, gates * 16)
    assert params.recurrent_kernel.shape == (*window, 16, gates * 16)
    limit = np.sqrt(6 / (np.prod(window) * (C + gates * 16)))  # Keras's glorot_uniform
    assert 0.95 * limit < abs(params.kernel).max() <= limit
    flat = np.asarray(params.recurrent_kernel).reshape(-1, gates * 16)
    flat = flat.T if len(flat) > gates * 16 else flat
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-5)
    if make is ConvLSTMCell:
        assert params.bias.tolist() == [0] * 16 + [1] * 16 + [0] * 32
        assert not make(unit_forget_bias=False).init(jax.random.key(0), C, U).bias.any()
    else:
        assert not params.bias.any()
        assert params.bias.shape == (2, 48)
    assert make(use_bias=False).init(jax.random.key(0), C, U).bias is None


def test_one_pixel_is_the_plain_cell():
    """A window of one pixel makes each pixel a row of a plain LSTM."""
    cell = ConvLSTMCell(kernel_size=1)
    params = cell.init(jax.random.key(1), C, U, "float64")
    xs = np.random.default_rng(0).normal(size=(B, T, 2, 3, C))
    plain = LSTMParams(params.kernel[0, 0], params.recurrent_kernel[0, 0], params.bias)
    rows = np.moveaxis(xs, 1, 3)  # [B, 2, 3, T, C]
    assert_close(np.moveaxis(rnn(cell, params, xs)[1], 1, 3), lstm(plain, rows)[1])


def test_convolve_keeps_leading_axes():
    rng = np.random.default_rng(1)
    xs, kernel = jnp.asarray(rng.normal(size=(2, 0, 4, 5, C))), jnp.ones((3, 3, C, 4))
    assert convolve(xs, kernel, (1, 1), "SAME", (1, 1), False).shape == (2, 0, 4, 5, 4)
    image = jnp.ones((4, 5, C))
    assert convolve(image, kernel, (1, 1), "VALID", (1, 1), False).shape == (2, 3, 4)
