"""Zoneout and DropConnect: how often, what is expected, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import (
    ConvGRUCell,
    DropConnectCell,
    DropoutCell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    SimpleRNNParams,
    SRUCell,
    StackedCell,
    ZoneoutCell,
    rnn,
)

B, T, F, U = 3, 4, 5, 2
KEY = jax.random.key(3)


def identity(size):
    """A cell that puts out its input, and parameters of it."""
    cell = SimpleRNNCell("linear", use_bias=False)
    return cell, SimpleRNNParams(jnp.eye(size), jnp.zeros((size, size)))


def test_how_often_units_stay():
    """With the rate given, anew at each step, each unit of each row for itself."""
    cell, params = identity(400)
    xs = jnp.arange(1.0, 1 + T)[:, None] * jnp.ones((50, T, 400))
    state, ys = rnn(ZoneoutCell(cell, 0.25), params, xs, key=KEY)
    np.testing.assert_array_equal(state.state.hidden, ys[:, -1])
    before = jnp.concatenate([jnp.zeros_like(ys[:, :1]), ys[:, :-1]], 1)
    stays = np.asarray(ys == before)
    assert np.all(stays | (ys == xs))
    assert abs(stays.mean() - 0.25) < 0.01
    assert abs((stays[:, 1:] & stays[:, :-1]).mean() - 0.25**2) < 0.01
    assert np.all(stays.any((1, 2)))


def test_what_is_expected():
    """Without a key every unit is the mean over many keys, for a cell that is linear."""
    cell, params = identity(3)
    xs = jax.random.normal(KEY, (B, T, 3))
    zoned = ZoneoutCell(cell, 0.4)
    many = jax.vmap(lambda key: rnn(zoned, params, xs, key=key)[1])(jax.random.split(KEY, 4000))
    _, expected = rnn(zoned, params, xs)
    np.testing.assert_allclose(many.mean(0), expected, atol=0.1)
    h = np.zeros((B, 3))
    for t in range(T):
        h = 0.4 * h + 0.6 * xs[:, t]
        np.testing.assert_allclose(expected[:, t], h, atol=1e-6)


def test_images():
    cell = ZoneoutCell(ConvGRUCell(rank=1, kernel_size=2, padding="same"), 0.5)
    params = cell.init(KEY, F, U)
    xs = jax.random.normal(KEY, (B, T, 6, F))
    state, ys = rnn(cell, params, xs, key=KEY)
    assert state.clock.steps.tolist() == [T] * B
    before = jnp.concatenate([jnp.zeros_like(ys[:, :1]), ys[:, :-1]], 1)
    assert abs(np.mean(ys == before) - 0.5) < 0.15


def test_how_many_weights_stay():
    cell = DropConnectCell(StackedCell([GRUCell(), SimpleRNNCell()]), 0.25)
    params = cell.init(KEY, F, [50, 60])
    drawn = cell.draw(KEY, params, jnp.ones((B, F)))
    for old, new in zip(params, drawn, strict=True):
        assert new.kernel is old.kernel
        kept = np.asarray(new.recurrent_kernel) != 0
        assert abs(kept.mean() - 0.75) < 0.02
        np.testing.assert_allclose(
            new.recurrent_kernel, np.where(kept, old.recurrent_kernel / 0.75, 0), rtol=1e-6
        )
    everything = DropConnectCell(GRUCell(), 1.0).draw(KEY, params[0], jnp.ones((B, F)))
    assert not np.any(everything.recurrent_kernel)


SRU = SRUCell().init(KEY, F, U)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_stack_that_never_moves(key):
    """Its output is that of its highest cell, which is an array of its state."""
    cell = ZoneoutCell(StackedCell([GRUCell(), DropoutCell(LSTMCell(), 0.2)]), 1.0)
    params = cell.init(KEY, F, [U, 4])
    initial = jax.tree.map(
        lambda leaf: leaf + 1, cell.initial_state(params, cell.project(params, jnp.ones((B, F))))
    )
    _, ys = rnn(cell, params, jnp.ones((B, T, F)), key=key, initial_state=initial)
    np.testing.assert_array_equal(ys, np.ones((B, T, 4)))


@pytest.mark.parametrize("stacked", [False, True])
def test_outputs_that_may_be_dropped_are_the_inner_cell_s(stacked):
    """With a key and without one: a step's own output, though the state never moves."""
    gru = GRUCell()
    inner = DropoutCell(gru, output_dropout=0.5)
    cell = ZoneoutCell(StackedCell([inner]) if stacked else inner, 1.0)
    params = gru.init(KEY, F, U)
    of_cell, xs = (params,) if stacked else params, jnp.ones((8, T, F))
    once = gru(params, gru.initial_state(params, gru.project(params, xs[:, 0])), xs[:, 0])[1]
    own = np.broadcast_to(once[:, None], (8, T, U))
    np.testing.assert_allclose(rnn(cell, of_cell, xs)[1], own, rtol=1e-6)
    ys = np.asarray(rnn(cell, of_cell, xs, key=KEY)[1])
    assert 0 < (ys == 0).mean() < 1
    np.testing.assert_allclose(ys, np.where(ys == 0, 0, 2 * own), rtol=1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ZoneoutCell(GRUCell(), 1.5), "hidden is 1.5"),
        (lambda: ZoneoutCell(GRUCell(), cell_state=True), "cell_state is True"),
        (lambda: ZoneoutCell(GRUCell, 0.5), "object with the methods"),
        (
            lambda: rnn(ZoneoutCell(SRUCell(), 0.5), SRU, jnp.ones((B, T, F))),
            "hidden is 0.5, but the state of SRUCell has none",
        ),
        (
            lambda: rnn(
                ZoneoutCell(GRUCell(), cell_state=0.5),
                GRUCell().init(KEY, F, U),
                jnp.ones((B, T, F)),
            ),
            "cell_state is 0.5, but the state of GRUCell has none",
        ),
        (lambda: DropConnectCell(LSTMCell(), "a"), "rate is 'a'"),
        (
            lambda: rnn(DropConnectCell(SRUCell(), 0.5), SRU, jnp.ones((B, T, F)), key=KEY),
            "SRUCell have no recurrent_kernel",
        ),
        (
            lambda: rnn(
                ZoneoutCell(LSTMCell(), 0.5),
                LSTMCell().init(KEY, F, U),
                jnp.ones((B, T, F)),
                initial_state=jnp.zeros((B, U)),
            ),
            "initial_state is one array",
        ),
    ],
)
def test_refuses(act, message):
    with pytest.raises(ValueError, match=message):
        act()
