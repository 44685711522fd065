"""Dropout of cells: real Keras with the same masks, loops in float64, and what a key does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jrnn
from jrnn import (
    Cell,
    ConvGRUCell,
    ConvLSTMCell,
    DropoutCell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    SRUCell,
    StackedCell,
    bidirectional,
    rnn,
)
from tests.cases import CELLS, assert_close, assert_equal, random_problem

B, T, F, U = 3, 4, 5, 2
KEY = jax.random.key(3)
DROPPED = ("simple_rnn", "gru", "gru-reset_before-no_bias", "lstm-all")


def wrapped(cell, **options):
    return DropoutCell(cell, **{"dropout": 0.4, "recurrent_dropout": 0.3, **options})


@pytest.mark.parametrize("per_gate", [False, True])
@pytest.mark.parametrize(
    ("cell", "name", "options"),
    [
        (LSTMCell(), "LSTM", {}),
        (GRUCell(), "GRU", {"reset_after": True}),
        (GRUCell(reset_after=False), "GRU", {"reset_after": False}),
        (SimpleRNNCell(), "SimpleRNN", {}),
    ],
    ids=["lstm", "gru", "gru-before", "simple_rnn"],
)
def test_against_keras(cell, name, options, per_gate):
    """Keras 3 given the very masks that were drawn."""
    keras = pytest.importorskip("keras")
    cell = wrapped(cell, per_gate=per_gate)
    options = {"dropout": 0.4, "recurrent_dropout": 0.3 if per_gate else 0.0, **options}
    if not per_gate:  # Keras has masks of its own for each gate wherever the state has dropout
        cell = DropoutCell(cell.cell, dropout=0.4)
    if name != "SimpleRNN":
        options["implementation"] = 1 if per_gate else 2
    layer = getattr(keras.layers, name)(U, return_sequences=True, **options)
    xs = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
    layer.build(xs.shape)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: 0.5 * rng.normal(size=leaf.shape).astype(np.float32), cell.init(KEY, F, U)
    )
    layer.set_weights([np.asarray(array) for array in jax.tree.leaves(params)])
    drawn = cell.draw(KEY, params, xs[:, 0])
    for attribute, masks, rate in (
        ("_dropout_mask", drawn.kept_inputs, cell.dropout),
        ("_recurrent_dropout_mask", drawn.kept_states, cell.recurrent_dropout),
    ):
        factors = [mask / np.float32(1 - rate) for mask in masks]
        one = name == "SimpleRNN" or not per_gate
        setattr(layer.cell, attribute, (factors[0] if factors else None) if one else factors)
    _, ys = rnn(cell, drawn, xs)
    np.testing.assert_allclose(ys, layer(xs, training=True), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(ys) - layer(xs, training=False)).max() > 1e-2


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("per_gate", [False, True])
@pytest.mark.parametrize("name", DROPPED)
def test_gradient(name, per_gate):
    """Both modes against differences, and the loop against one of whole steps."""
    params, xs, state = random_problem(2, CELLS[name])
    cell = wrapped(CELLS[name], per_gate=per_gate)
    drawn = cell.draw(KEY, params, xs[:, 0])

    def by_steps(params, xs):
        own, ys = drawn._replace(params=params), []
        now = state
        for t in range(xs.shape[1]):
            now, y = cell(own, now, xs[:, t])
            ys.append(y)
        return jnp.stack(ys, 1)

    def run(params, xs):
        return rnn(cell, drawn._replace(params=params), xs, initial_state=state)[1]

    assert_close(run(params, xs), by_steps(params, xs))
    weights = np.random.default_rng(5).normal(size=by_steps(params, xs).shape)
    gradients = [
        jax.grad(lambda p, x, f=f: jnp.sum(weights * f(p, x)), (0, 1))(params, xs)
        for f in (run, by_steps)
    ]
    assert_close(*gradients, tolerance=1e-10)
    check_grads(run, (params, xs), 1, ("fwd", "rev"), 1e-6, 1e-6, eps=1e-5)


@pytest.mark.parametrize("per_gate", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("kind", [ConvLSTMCell, ConvGRUCell])
def test_convolutions(kind, data_format, per_gate):
    """A 1 x 1 window makes a cell of matmuls of it, pixel by pixel."""
    conv = kind(rank=1, kernel_size=1, data_format=data_format)
    dense = LSTMCell() if kind is ConvLSTMCell else GRUCell()
    cell = wrapped(conv, per_gate=per_gate)
    params = jax.tree.map(
        lambda a: jax.random.normal(jax.random.key(a.size), a.shape), conv.init(KEY, F, U)
    )
    xs = jax.random.normal(KEY, (B, T, 6, F))
    own = jnp.swapaxes(xs, -1, -2) if data_format == "channels_first" else xs
    drawn = cell.draw(KEY, params, own[:, 0])
    _, ys = rnn(cell, drawn, own)
    flip = (lambda a: jnp.swapaxes(a, -1, -2)) if data_format == "channels_first" else lambda a: a
    plain = type(dense.init(KEY, F, U))(params.kernel[0], params.recurrent_kernel[0], params.bias)
    like = drawn._replace(
        params=plain,
        kept_inputs=tuple(map(flip, drawn.kept_inputs)),
        kept_states=tuple(map(flip, drawn.kept_states)),
    )
    state, outputs = None, []
    for t in range(T):
        state, y = wrapped(dense, per_gate=per_gate)(like, state, xs[:, t])
        outputs.append(y)
    np.testing.assert_allclose(flip(ys), jnp.stack(outputs, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reset_after", [False, True])
def test_what_is_dropped_of_the_state_everywhere(reset_after):
    """A GRU as Keras 2 has it with implementation=2: the mean, too, is with what is kept."""
    gru = GRUCell(reset_after=reset_after)
    params, xs, state = random_problem(7, gru)
    cell = wrapped(gru, dropout=0.0, drops_state=True)
    drawn = cell.draw(KEY, params, xs[:, 0])
    kernel, recurrent, bias = map(np.asarray, params)
    b, c = bias if reset_after else (bias, np.zeros_like(bias))
    kept = np.asarray(drawn.kept_states[0]) / 0.7
    h, ys = np.asarray(state.hidden), []
    for t in range(xs.shape[1]):
        h = h * kept
        x_z, x_r, x_n = np.split(xs[:, t] @ kernel + b, 3, -1)
        h_z, h_r, h_n = np.split(h @ recurrent + c, 3, -1)
        z, r = 1 / (1 + np.exp(-x_z - h_z)), 1 / (1 + np.exp(-x_r - h_r))
        inner = r * h_n if reset_after else (r * h) @ np.split(recurrent, 3, -1)[2]
        h = z * h + (1 - z) * np.tanh(x_n + inner)
        ys.append(h)
    assert_close(rnn(cell, drawn, xs, initial_state=state)[1], np.stack(ys, 1))


def test_key_draws():
    cell = wrapped(LSTMCell(), per_gate=True)
    params, xs, _ = random_problem(4, cell.cell)
    plain = rnn(cell.cell, params, xs)
    assert_equal(rnn(cell, params, xs), plain)  # without a key
    first = rnn(cell, params, xs, key=KEY)
    assert_equal(rnn(cell, params, xs, key=KEY), first)
    other = rnn(cell, params, xs, key=jax.random.key(4))
    assert np.abs(first[1] - other[1]).max() > 1e-3
    assert np.abs(first[1] - plain[1]).max() > 1e-3
    major = rnn(cell, params, np.swapaxes(xs, 0, 1), key=KEY, time_major=True)
    assert_close(major[0], first[0], 1e-6)


def test_masks():
    """One mask for a sequence, as often zero as it should be, scaled to keep the mean."""
    cell = DropoutCell(SimpleRNNCell("linear", use_bias=False), dropout=0.25)
    params = jrnn.SimpleRNNParams(jnp.eye(400), jnp.zeros((400, 400)))
    _, ys = rnn(cell, params, jnp.ones((50, T, 400)), key=KEY)
    np.testing.assert_array_equal(ys, np.broadcast_to(ys[:, :1], ys.shape))
    assert np.unique(ys).tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert abs(np.mean(ys == 0) - 0.25) < 0.02
    assert not np.array_equal(ys[0], ys[1])
    everything = DropoutCell(cell.cell, dropout=1.0)
    assert not np.any(rnn(everything, params, jnp.ones((2, T, 400)), key=KEY)[1])


def test_masks_of_each_step():
    """Another mask at each step, as often zero as it should be, of input and of output."""
    cell = SimpleRNNCell("linear", use_bias=False)
    params = jrnn.SimpleRNNParams(jnp.eye(400), jnp.zeros((400, 400)))
    for options in ({"dropout": 0.25}, {"output_dropout": 0.25}):
        _, ys = rnn(
            DropoutCell(cell, per_step=True, **options), params, jnp.ones((50, T, 400)), key=KEY
        )
        assert np.unique(ys).tolist() == [0.0, pytest.approx(1 / 0.75)]
        assert abs(np.mean(ys == 0) - 0.25) < 0.01
        both = np.mean((ys[:, 1:] == 0) & (ys[:, :-1] == 0))  # independent: the product
        assert abs(both - 0.25**2) < 0.01


def test_what_takes_no_masks():
    """Input and output of any cell; the state of one's own with ``drops_state``."""
    cell = DropoutCell(Doubled(), 0.5, 0.5, drops_state=True, output_dropout=0.5)
    xs = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
    params = jnp.float32(3)
    drawn = cell.draw(KEY, params, xs[:, 0])
    m, r, q = (np.asarray(masks[0]) / 0.5 for masks in drawn[1:])
    h, ys = np.zeros((B, F)), []
    for t in range(T):
        h = h * r
        ys.append(h * q)
        h = h + xs[:, t] * m * 3
    state, outputs = rnn(cell, params, xs, key=KEY)
    assert_close((state, outputs), (h, np.stack(ys, 1)), 1e-5)
    stack = DropoutCell(StackedCell([GRUCell(), LSTMCell()]), 0.5)
    params = stack.init(KEY, F, U)
    drawn = stack.draw(KEY, params, xs[:, 0])
    kept = 2 * drawn.kept_inputs[0][:, None].astype(np.float32)
    assert_close(rnn(stack, drawn, xs), rnn(stack.cell, params, kept * xs), 1e-6)


def test_stack():
    """Each cell of a stack has its own masks; those without dropout have none."""
    cell = StackedCell([wrapped(GRUCell()), SimpleRNNCell(), wrapped(LSTMCell(), per_gate=True)])
    params = cell.init(KEY, F, [4, 3, 2])
    xs = jax.random.normal(KEY, (B, T, F))
    drawn = cell.draw(KEY, params, xs[:, 0])
    assert [len(p.kept_inputs) for p in (drawn[0], drawn[2])] == [1, 4]
    assert drawn[2].kept_inputs[0].shape == (B, 3)
    assert drawn[1] is params[1]
    assert_close(rnn(cell, params, xs, key=KEY), rnn(cell, drawn, xs), 1e-6)


def test_bidirectional():
    cell = wrapped(LSTMCell())
    params, xs, _ = random_problem(5, cell.cell)
    pair = jrnn.BidirectionalParams(params, jax.tree.map(lambda a: 0.5 * a, params))
    keys = jax.random.split(KEY)
    _, ys = bidirectional(cell, pair, xs, key=KEY, merge=None)
    assert_close(ys[0], rnn(cell, pair.forward, xs, key=keys[0])[1], 1e-6)
    assert_close(ys[1], rnn(cell, pair.backward, xs, key=keys[1], reverse=True)[1], 1e-6)
    one = bidirectional(cell, pair, xs, key=KEY, merge=None, backward_cell=cell.cell)[1]
    assert_close(one[1], rnn(cell.cell, pair.backward, xs, reverse=True)[1], 1e-6)


class Doubled(jrnn.Cell):
    """A user's cell that takes no masks."""

    def initial_state(self, params, z):
        return jnp.zeros_like(z)

    def project(self, params, xs):
        return xs * params

    def step(self, params, state, z):
        return state + z, state


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: DropoutCell(LSTMCell(), dropout=1.5), "dropout is 1.5"),
        (lambda: wrapped(GRUCell(), per_gate=True, drops_state=True), "one mask for all gates"),
        (lambda: DropoutCell(LSTMCell(), recurrent_dropout=float("nan")), "is nan"),
        (lambda: DropoutCell(LSTMCell(), dropout="a"), "dropout is 'a'"),
        (lambda: DropoutCell(LSTMCell(), output_dropout=-1), "output_dropout is -1"),
        (lambda: DropoutCell(Doubled(), recurrent_dropout=0.5), "Doubled takes no masks"),
        (lambda: DropoutCell(Doubled(), 0.5, per_gate=True), "Doubled takes no masks"),
        (lambda: DropoutCell(StackedCell([LSTMCell()]), 0.5, 0.5), "StackedCell takes no masks"),
        (
            lambda: DropoutCell(StackedCell([LSTMCell()]), 0.5, 0.5, drops_state=True),
            "StackedCell has the states of several cells",
        ),
        (lambda: wrapped(SRUCell()), "masks products with the state, but SRUCell has none"),
        (lambda: DropoutCell(GRUCell(), True), "dropout is True, but a number from 0 to 1"),
        (lambda: DropoutCell(GRUCell(), np.float32(1.5)), "but a number from 0 to 1 is needed"),
        (lambda: DropoutCell(GRUCell(), np.ones(1)), "but a number from 0 to 1 is needed"),
        (lambda: rnn(LSTMCell(), None, jnp.ones((2, 3, 4)), key=KEY), "LSTMCell draws nothing"),
        (
            lambda: bidirectional(GRUCell(), (None, None), jnp.ones((2, 3, 4)), key=KEY),
            "GRUCell draws nothing",
        ),
    ],
)
def test_refuses(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (3, "int"),
        (jnp.ones(2), r"float32 of shape \(2,\)"),
        (jax.random.split(KEY), r"key<fry> of shape \(2,\)"),
    ],
)
def test_refuses_what_is_no_key(key, found):
    cell = DropoutCell(LSTMCell(), 0.5)
    params, xs = cell.init(KEY, F, U), jnp.ones((B, T, F))
    for act in (
        lambda: rnn(cell, params, xs, key=key),
        lambda: bidirectional(cell, (params, params), xs, key=key),
        lambda: jrnn.stream(cell).draw(key, params, xs[:, 0]),
    ):
        with pytest.raises(ValueError, match=f"key is {found}, but one key is needed"):
            act()


@pytest.mark.parametrize("per_gate", [False, True])
def test_a_narrow_input_is_dropped_in_the_dtype_of_the_kernel(per_gate):
    """``x / (1 - rate)`` in bfloat16 would be off by up to 2**-8."""
    cell = wrapped(LSTMCell(), per_gate=per_gate)
    params = cell.init(KEY, F, U)
    xs = jax.random.normal(KEY, (B, T, F), jnp.bfloat16)
    exact = rnn(cell, params, xs.astype(jnp.float32), key=KEY)
    assert_close(rnn(cell, params, xs, key=KEY), exact, 1e-6)


class Pair(Cell):
    """A cell whose output is no array."""

    def init(self, key, features, units):
        return jax.random.normal(key, (features, units))

    def initial_state(self, params, z):
        return jnp.zeros_like(z)

    def project(self, params, xs):
        return xs @ params

    def step(self, params, state, z):
        state = jnp.tanh(state + z)
        return state, (state, 2 * state)


@pytest.mark.parametrize("per_step", [False, True])
def test_an_output_of_several_arrays(per_step):
    """It is left alone by what drops nothing of it, and refused by what would."""
    weights, xs = Pair().init(jax.random.key(0), 3, 4), jnp.ones((2, 5, 3))
    cell = DropoutCell(Pair(), dropout=0.3, per_step=per_step)
    assert_close(rnn(cell, weights, xs)[1], rnn(Pair(), weights, xs)[1])
    rnn(cell, weights, xs, key=jax.random.key(1))
    dropping = DropoutCell(Pair(), output_dropout=0.3, per_step=per_step)
    with pytest.raises(ValueError, match="DropoutCell: the input or output is a tuple"):
        rnn(dropping, weights, xs, key=jax.random.key(1))
