"""Every cell × what holds of every cell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import StackedCell, rnn
from tests import oracle
from tests.cases import CELLS, B, F, T, assert_close, assert_equal, random_problem

pytestmark = pytest.mark.usefixtures("x64")
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def row_of(state, *at):
    return jax.tree.map(lambda leaf: leaf[at], state)


@every_cell
@pytest.mark.parametrize("batch", [(), (B,), (2, B)], ids=str)
def test_step_is_the_equation(cell, batch):
    params, xs, state = random_problem(0, cell, batch)
    state, y = cell(params, state, xs[..., 0, :])
    _, xs, old = random_problem(0, cell, batch)
    for at in np.ndindex(*batch):
        expected = oracle.step(cell, params, row_of(old, *at), xs[at][0])
        assert_close((row_of(state, *at), y[at]), expected)


@every_cell
def test_steps_are_the_layer(cell):
    params, xs, state = random_problem(1, cell)
    final, ys = rnn(cell, params, xs, initial_state=state)
    for t in range(T):
        state, y = cell(params, state, xs[:, t])
        assert_close(ys[:, t], y)
    assert_close(final, state)


@every_cell
def test_call_is_step_of_project(cell):
    params, xs, state = random_problem(2, cell)
    all_zs = cell.project(params, xs)
    for t in range(T):
        whole = cell(params, state, xs[:, t])
        z = jax.tree.map(functools.partial(jnp.take, indices=t, axis=1), all_zs)
        assert_close(whole, cell.step(params, state, z), 1e-14)
        assert jax.tree.structure(whole[0]) == jax.tree.structure(state)
        state = whole[0]


@pytest.mark.parametrize("name", ["lstm-clip", "lstm-all"])
def test_clip_bounds_some_but_not_all(name):
    cell = CELLS[name]
    params, xs, _ = random_problem(1, cell)
    reached = abs(rnn(cell, params, xs, return_all_states=True)[0].cell) == cell.cell_clip
    assert 0.1 < reached.mean() < 0.9


def test_projection_clip_bounds_some_but_not_all():
    cell = CELLS["lstm-all"]
    params, xs, _ = random_problem(1, cell)
    reached = abs(rnn(cell, params, xs)[1]) == cell.projection_clip
    assert 0.1 < reached.mean() < 0.9


@pytest.mark.parametrize("name", ["gru", "gru-reset_before", "gru-softsign-hard"])
def test_gru_step_is_made_of_its_gate_values(name):
    cell = CELLS[name]
    params, xs, state = random_problem(7, cell)
    z = cell.project(params, xs[:, 0])
    update, reset, candidate = cell.gate_values(params, state, z)
    assert_close(cell.step(params, state, z)[1], update * state.hidden + (1 - update) * candidate)
    kernel, bias = params.kernel[:, 4:8], np.zeros(12) if params.bias is None else params.bias
    bias = bias.sum(0) if bias.ndim == 2 else bias
    pre = xs[:, 0] @ kernel + state.hidden @ params.recurrent_kernel[:, 4:8] + bias[4:8]
    assert_close(reset, oracle.ACTIVATIONS[cell.recurrent_activation](pre))


@pytest.mark.parametrize("name", ["lstm", "lstm-relu-hard", "lstm-clip", "lstm-all"])
def test_lstm_step_is_made_of_its_gate_values(name):
    cell = CELLS[name]
    params, xs, state = random_problem(8, cell)
    z = cell.project(params, xs[:, 0])
    i, f, g, o, new = cell.gate_values(params, state, z)
    unbounded = f * state.cell + i * g
    bound = cell.cell_clip or np.inf
    assert_close(new, np.clip(unbounded, -bound, bound))
    assert_close(cell.step(params, state, z)[0].cell, new)
    hidden = o * oracle.ACTIVATIONS[cell.output_activation or cell.activation](new)
    if cell.projection is not None:
        limit = cell.projection_clip
        hidden = np.clip(hidden @ params.projection, -limit, limit)
    assert_close(cell.step(params, state, z)[1], hidden)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_output_depends_on_the_past_alone(cell, reverse):
    params, xs, _ = random_problem(3, cell)
    k = 2
    changed = xs.copy()
    changed[:, k] += 1
    _, ys = rnn(cell, params, xs, reverse=reverse)
    _, other = rnn(cell, params, changed, reverse=reverse)
    past, future = (slice(k + 1, None), slice(k + 1)) if reverse else (slice(k), slice(k, None))
    assert_equal(other[:, past], ys[:, past])
    assert (abs(other[:, future] - ys[:, future]).max((0, 2)) > 1e-4).all()


@every_cell
def test_initial_state_is_zero_and_follows_the_input(cell):
    params, xs, state = random_problem(4, cell)
    fresh = cell.initial_state(params, cell.project(params, xs[:, 0]))
    assert_equal(fresh, jax.tree.map(np.zeros_like, state))
    assert jax.tree.structure(fresh) == jax.tree.structure(state)


@pytest.mark.parametrize(
    "name", ["simple_rnn", "gru", "gru-reset_before", "lstm-all", "sru", "stacked"]
)
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
    params, xs, _ = random_problem(5, cell)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, of_params), params)
    x = jnp.asarray(xs[:, 0], of_x)
    state = cell.initial_state(params, cell.project(params, x))
    new, y = cell(params, state, x)
    assert y.dtype == of_y
    for leaf in jax.tree.leaves((state, new)):
        assert leaf.dtype == of_y


@pytest.mark.parametrize("name", ["simple_rnn", "gru", "gru-reset_before", "lstm"])
def test_a_wide_bias_is_not_rounded(name):
    """float32 beside 16-bit kernels: so is the projection, and with it the state."""
    cell = CELLS[name]
    params, xs, _ = random_problem(7, cell)
    bias = jnp.asarray(params.bias, jnp.float32)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), params)
    params, x = params._replace(bias=bias), jnp.asarray(xs[:, 0], jnp.bfloat16)
    z = cell.project(params, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(z)} == {jnp.dtype("float32")}
    exact = np.asarray(x, float) @ np.asarray(params.kernel, float)
    exact = exact + np.asarray(bias[0] if bias.ndim == 2 else bias, float)
    z = jnp.concatenate(z, -1) if isinstance(z, tuple) else z
    assert_close(z, exact, 1e-5)
    assert cell(params, None, x)[1].dtype == jnp.float32


@every_cell
def test_cell_is_a_value(cell):
    again = (
        type(cell)(cell.cells) if isinstance(cell, StackedCell) else cell.__class__(**vars(cell))
    )
    assert again is not cell
    assert again == cell
    assert hash(again) == hash(cell)
    assert {cell: 0, **{other: 1 for other in CELLS.values() if other is not cell}}[again] == 0


def test_stack_feeds_each_cell_the_one_below():
    cell = CELLS["stacked"]
    params, xs, _ = random_problem(6, cell)
    states = []
    ys = xs
    for one, own in zip(cell.cells, params, strict=True):
        state, ys = rnn(one, own, ys)
        states.append(state)
    assert_close(rnn(cell, params, xs), (states, ys))
    assert xs.shape == (B, T, F)
