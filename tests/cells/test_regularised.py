"""Cells that hold cells, in one another: NumPy loops with what was drawn, and in pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrnn import (
    ClockedState,
    DropConnectCell,
    DropoutCell,
    GRUCell,
    LayerNormCell,
    LSTMCell,
    NormCell,
    ProjectionCell,
    ResidualCell,
    SimpleRNNCell,
    SRUCell,
    StackedCell,
    ZoneoutCell,
    bidirectional,
    rnn,
)
from jrnn.cells.noise import draws
from tests import regularised_oracle as oracle
from tests.cases import assert_close, assert_equal, random_params

pytestmark = pytest.mark.usefixtures("x64")

B, T, F, U = 2, 6, 3, 4
KEY = jax.random.key(3)
CELLS = {
    "zoneout": ZoneoutCell(LSTMCell(), 0.4, 0.3),
    "zoneout of a cell": ZoneoutCell(SRUCell(), cell_state=0.5),
    "outputs": DropoutCell(LSTMCell(), 0.3, 0.4, output_dropout=0.5),
    "per step": DropoutCell(GRUCell(), 0.3, 0.4, output_dropout=0.5, per_step=True),
    "per step and gate": DropoutCell(LSTMCell(), 0.3, 0.4, True, False, 0.2, per_step=True),
    "state per step": DropoutCell(GRUCell(), 0.0, 0.4, drops_state=True, per_step=True),
    "weights": DropConnectCell(GRUCell(reset_after=False), 0.4),
    "around zoneout": DropoutCell(
        ResidualCell(ZoneoutCell(ProjectionCell(SimpleRNNCell(), F), 0.4)),
        0.3,
        output_dropout=0.4,
        per_step=True,
    ),
    "stack": StackedCell(
        [
            ResidualCell(ZoneoutCell(DropoutCell(LSTMCell(), 0.2, 0.3, True), 0.3, 0.2), "concat"),
            DropoutCell(
                NormCell(LayerNormCell(GRUCell(), "contrib"), "output"), 0.3, per_step=True
            ),
        ]
    ),
}


def problem(cell, seed=0, steps=T):
    rng = np.random.default_rng(seed)
    params = random_params(rng, cell, F, U)
    return params, rng.normal(size=(B, steps, F))


def compare(actual, rows):
    """A result with all states, and the oracle's rows."""
    states, ys = actual
    for b, (known, outputs) in enumerate(rows):
        np.testing.assert_allclose(ys[b], np.stack(outputs), 1e-11, 1e-11)
        for t, state in enumerate(known):
            given = [leaf[b, t] for leaf in jax.tree.leaves(states)]
            assert_close(given, list(map(np.asarray, jax.tree.leaves(state))), 1e-11)


def random_cell(rng, features, depth):
    """A cell in cells, and the size of its output."""
    if depth == 0:
        cell = [SimpleRNNCell(), GRUCell(), GRUCell(reset_after=False), LSTMCell(), SRUCell()]
        return cell[rng.integers(5)], U
    cell, size = random_cell(rng, features, depth - 1)
    names = oracle.cell_names(cell)
    plain = isinstance(cell, SimpleRNNCell | GRUCell | LSTMCell)
    match rng.integers(8):
        case 0:
            rates = 0.4 * ("hidden" in names), 0.3 * ("cell" in names)
            return ZoneoutCell(cell, *rates), size
        case 1:
            options = {"recurrent_dropout": 0.3, "per_gate": bool(rng.integers(2))} if plain else {}
            return DropoutCell(cell, 0.3, output_dropout=0.2, **options), size
        case 2:
            options = {"recurrent_dropout": 0.3} if plain else {}
            return DropoutCell(cell, 0.3, output_dropout=0.2, per_step=True, **options), size
        case 3:
            return (cell if names == ["cell"] else DropConnectCell(cell, 0.4)), size
        case 4 if plain:
            variants = ("paper", "addons", "contrib")
            return LayerNormCell(cell, variants[rng.integers(3)], rms=bool(rng.integers(2))), size
        case 5:
            if size == features:
                return ResidualCell(cell), size
            return ResidualCell(cell, "concat"), features + size
        case 6:
            return ProjectionCell(cell, features, activation="tanh"), features
        case 7:
            upper, size = random_cell(rng, size, depth - 1)
            return StackedCell([cell, upper]), size
    return NormCell(cell, ("input", "output")[rng.integers(2)]), size


def random_cells(number):
    return [random_cell(np.random.default_rng(seed), F, 2 + seed % 2)[0] for seed in range(number)]


SLOW = [pytest.param(cell, marks=pytest.mark.slow) for cell in random_cells(16)]
RARELY = ("weights", "per step", "per step and gate", "zoneout of a cell")
QUICK = [
    pytest.param(cell, id=name, marks=pytest.mark.slow if name in RARELY else ())
    for name, cell in CELLS.items()
]


@pytest.mark.parametrize("cell", QUICK + SLOW)
def test_loop_and_pieces(cell):
    """All states and outputs are the oracle's; in pieces they are the same, with a mask, too."""
    params, xs = problem(cell)
    drawn, key = params, None
    if draws(cell):
        key = KEY
        drawn = cell.draw(key, params, xs[:, 0])
    valid = np.random.default_rng(1).random((B, T)) < 0.7
    xs[~valid] = np.nan
    whole = rnn(cell, params, xs, key=key, mask=valid, return_all_states=True)
    compare(whole, oracle.run(cell, drawn, np.nan_to_num(xs), valid=valid))
    state, pieces = cell.initial_state(drawn, cell.project(drawn, xs[:, 0])), []
    for piece in (slice(0, T // 2), slice(T // 2, T)):
        options = {"mask": valid[:, piece], "initial_state": state, "return_all_states": True}
        pieces.append(rnn(cell, drawn, xs[:, piece], **options))
        state = jax.tree.map(lambda leaf: leaf[:, -1], pieces[-1][0])
    assert_close(jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *pieces), whole)


@pytest.mark.parametrize("name", ["zoneout", "around zoneout", "stack"])
def test_without_a_key(name):
    """What is expected of zoneout, and no dropout."""
    cell = CELLS[name]
    params, xs = problem(cell)
    compare(rnn(cell, params, xs, return_all_states=True), oracle.run(cell, params, xs))


@pytest.mark.parametrize(
    "name",
    [
        "around zoneout",
        pytest.param("per step", marks=pytest.mark.slow),
        pytest.param("stack", marks=pytest.mark.slow),
    ],
)
def test_gradient(name):
    """The loop's gradient against differences, and padding against its absence."""
    cell = CELLS[name]
    params, xs = problem(cell, steps=3)
    drawn = cell.draw(KEY, params, xs[:, 0])
    padded = jnp.concatenate([xs, jnp.full_like(xs, jnp.nan)], 1)

    def run(params, xs):
        return rnn(cell, params, xs, key=KEY)[1]

    check_grads(run, (params, xs), 1, ("rev",), 1e-5, 1e-5, eps=1e-5)
    _, ys = rnn(cell, drawn, padded, lengths=jnp.full(B, 3))
    assert_close(ys[:, :3], run(params, xs))


def test_rows_are_independent():
    """A row's result says nothing of the other's, and their noise is not the same."""
    cell = CELLS["around zoneout"]
    params, xs = problem(cell)
    other = np.stack([xs[0], xs[0]])
    ys, same = (rnn(cell, params, x, key=KEY)[1] for x in (xs, other))
    assert_equal(ys[0], same[0])
    assert np.abs(same[0] - same[1]).max() > 0.1


def test_batch_axes():
    """No axis and two: what is drawn is the oracle's of the keys drawn."""
    cell = CELLS["per step"]
    params, xs = problem(cell)
    for some in (xs[0], xs[None]):
        drawn = cell.draw(KEY, params, some[..., 0, :])
        flat = jax.tree.map(lambda keys: keys.reshape(-1), drawn[1:])
        rows = oracle.run(
            cell,
            drawn._replace(**dict(zip(drawn._fields[1:], flat, strict=True))),
            some.reshape(-1, T, F),
        )
        ys = rnn(cell, params, some, key=KEY)[1]
        np.testing.assert_allclose(ys.reshape(-1, T, U), [row[1] for row in rows], 1e-11, 1e-11)


@pytest.mark.parametrize("name", ["zoneout", "per step"])
def test_a_reset_does_not_turn_the_clock_back(name):
    """Two equal sequences packed into a row: fresh states, but other noise."""
    cell = CELLS[name]
    params, xs = problem(cell)
    packed = np.concatenate([xs, xs], 1)
    resets = np.zeros((B, 2 * T), bool)
    resets[:, T] = True
    state, ys = rnn(cell, params, packed, resets=resets, key=KEY)
    assert np.abs(ys[:, :T] - ys[:, T:]).max() > 0.1
    drawn = cell.draw(KEY, params, xs[:, 0])
    after, first = rnn(cell, drawn, xs)
    fresh = cell.initial_state(drawn, cell.project(drawn, xs[:, 0]))
    again = rnn(cell, drawn, xs, initial_state=ClockedState(fresh.state, after.clock))
    assert_close(ys[:, :T], first)
    assert_close((state, ys[:, T:]), again)
    np.testing.assert_array_equal(state.clock.steps, 2 * T)


def test_kinds_of_keys():
    """Keys of the old kind draw the same; other generators stay what they are."""
    cell = CELLS["zoneout"]
    params, xs = problem(cell)
    new = cell.draw(KEY, params, xs[:, 0])
    old = cell.draw(jax.random.key_data(KEY), params, xs[:, 0])
    assert_equal(*(jax.tree.map(jax.random.key_data, one.keys) for one in (old, new)))
    drawn = cell.draw(jax.random.key(3, impl="rbg"), params, xs[:, 0])
    assert str(jax.random.key_impl(drawn.keys[0])) == "rbg"
    assert np.isfinite(rnn(cell, drawn, xs)[1]).all()


def test_both_directions():
    cell = CELLS["zoneout"]
    params, xs = problem(cell)
    keys = jax.random.split(KEY)
    state, ys = bidirectional(cell, (params, params), xs, key=KEY, merge=None)
    back = rnn(cell, params, xs[:, ::-1], key=keys[1])
    assert_close(ys[0], rnn(cell, params, xs, key=keys[0])[1])
    assert_close((state.backward, ys[1]), (back[0], back[1][:, ::-1]))


class Shaken(GRUCell):
    """A cell of one's own, whose bias is drawn for a sequence."""

    def draw(self, key, params, x):
        del x
        return params._replace(bias=params.bias + jax.random.normal(key, params.bias.shape))


def test_a_cell_of_ones_own_draws():
    """It is asked for what it draws, wherever it stands."""
    cell = StackedCell([SimpleRNNCell(), ResidualCell(ProjectionCell(Shaken(), U))])
    params, xs = problem(cell)
    drawn = cell.draw(KEY, params, xs[:, 0])
    key = jax.random.split(KEY)[1]
    bias = params[1].params.bias + jax.random.normal(key, (2, 3 * U))
    assert_equal(drawn[1].params.bias, bias)
    inner = params[1]._replace(params=params[1].params._replace(bias=bias))
    plain = StackedCell([SimpleRNNCell(), ResidualCell(ProjectionCell(GRUCell(), U))])
    assert_close(rnn(cell, params, xs, key=KEY), rnn(plain, (params[0], inner), xs))


def test_init():
    """Parameters of all cells inside, of their sizes and in the dtype asked for."""
    cell = StackedCell([CELLS["around zoneout"], CELLS["stack"]])
    params = jax.eval_shape(lambda: cell.init(KEY, F, (5, (4, 2)), jnp.float16))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float16")}
    assert params[0].kernel.shape == (5, F)
    assert params[0].bias.shape == (F,)
    assert params[1][1].norm.gain.shape == (2,)
