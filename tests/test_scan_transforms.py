"""The loop under JAX's transformations, and what it costs: traces, memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn import GRUCell, rnn
from tests.cases import CELLS, B, T, U, assert_close, every_other, random_params, random_problem
from tests.devices import run_on_devices

pytestmark = pytest.mark.usefixtures("x64")
some_cells = pytest.mark.parametrize(
    "name", ["simple_rnn", "gru", "lstm-all", "sru-square", "stacked"]
)
LENGTHS = np.array([3, 0, T])
RESETS = np.arange(B * T).reshape(B, T) % 4 == 2


@some_cells
def test_jit_and_eager_agree(name):
    cell = CELLS[name]
    params, xs, state = random_problem(20, cell)

    def run(lengths, resets):
        options = {"initial_state": state, "reverse": True, "masked_output": "repeat"}
        return rnn(cell, params, xs, lengths=lengths, resets=resets, **options)

    compiled = jax.jit(run)(LENGTHS, RESETS)
    assert_close(compiled, run(LENGTHS, RESETS), 1e-14)
    with jax.disable_jit():
        assert_close(compiled, run(LENGTHS, RESETS), 1e-14)


@pytest.mark.parametrize("as_array", [np.array, jnp.array, list])
def test_known_lengths_inside_jit(as_array):
    params, xs, _ = random_problem(21, GRUCell())
    lengths = as_array(LENGTHS)
    inside = jax.jit(lambda xs: rnn(GRUCell(), params, xs, lengths=lengths))(xs)
    assert_close(inside, rnn(GRUCell(), params, xs, lengths=lengths), 1e-14)


@some_cells
def test_vmap_over_rows_is_the_batch(name):
    cell = CELLS[name]
    params, xs, state = random_problem(22, cell)

    def run(xs, state, lengths, resets):
        return rnn(cell, params, xs, initial_state=state, lengths=lengths, resets=resets)

    args = (xs, state, LENGTHS, RESETS)
    assert_close(jax.vmap(run)(*args), run(*args))


def test_vmap_over_params_is_an_ensemble():
    cell = CELLS["lstm-peephole"]
    members = [random_params(np.random.default_rng(seed), cell) for seed in range(3)]
    _, xs, _ = random_problem(23, cell)
    together = jax.vmap(lambda params: rnn(cell, params, xs))(
        jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    )
    for k, params in enumerate(members):
        assert_close(jax.tree.map(lambda leaf: leaf[k], together), rnn(cell, params, xs))  # noqa: B023


def test_more_batch_axes_are_rows():
    cell = CELLS["lstm-projection"]
    params, xs, state = random_problem(24, cell, batch=(2, B))
    lengths, resets = np.stack([LENGTHS, LENGTHS[::-1]]), np.stack([RESETS, ~RESETS])
    options = {"return_all_states": True, "reverse": True}
    whole = rnn(cell, params, xs, initial_state=state, lengths=lengths, resets=resets, **options)
    for a in range(2):
        entry = jax.tree.map(lambda leaf: leaf[a], state)  # noqa: B023
        options |= {"initial_state": entry, "lengths": lengths[a], "resets": resets[a]}
        part = rnn(cell, params, xs[a], **options)
        assert_close(jax.tree.map(lambda leaf: leaf[a], whole), part)  # noqa: B023


@some_cells
def test_checkpoint_changes_no_gradient(name):
    cell = CELLS[name]
    params, xs, _ = random_problem(25, cell)

    def loss(params, xs):
        return jnp.sin(rnn(cell, params, xs, lengths=LENGTHS)[1]).sum()

    plain, saved = jax.grad(loss, (0, 1)), jax.grad(jax.checkpoint(loss), (0, 1))
    assert_close(saved(params, xs), plain(params, xs), 1e-13)


@pytest.mark.parametrize("name", every_other(dict(zip(CELLS, CELLS, strict=True))))
def test_ranks_that_are_not_promoted(name):
    """Under ``jax_numpy_rank_promotion="raise"``, from a state to be broadcast."""
    cell = CELLS[name]
    params, xs, state = random_problem(29, cell)
    options = {"initial_state": jax.tree.map(lambda leaf: leaf[0], state), "lengths": LENGTHS}

    def loss(params, xs):
        states, ys = rnn(cell, params, xs, resets=RESETS, masked_output="repeat", **options)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves((states, ys)))

    known = jax.value_and_grad(loss, (0, 1))(params, xs)
    with jax.numpy_rank_promotion("raise"):
        assert_close(jax.value_and_grad(loss, (0, 1))(params, xs), known, 1e-14)


@dataclasses.dataclass(frozen=True)
class CountingCell(GRUCell):
    """A GRU that counts how often Python runs its step."""

    counts: list = dataclasses.field(default_factory=lambda: [0], compare=False)

    def step(self, params, state, z):
        self.counts[0] += 1
        return super().step(params, state, z)


def test_one_trace_for_one_shape():
    cell = CountingCell()
    params, xs, _ = random_problem(26, cell)
    rnn(cell, params, xs, lengths=LENGTHS)
    once = cell.counts[0]
    assert 1 <= once <= 2  # the loop's, and one for the shape of the output
    for seed in range(3):
        params, xs, _ = random_problem(seed, cell)
        rnn(cell, params, xs, lengths=np.array([seed, 1, 2]))
        rnn(dataclasses.replace(cell), params, xs, lengths=[seed, seed, seed])
    assert cell.counts[0] == once
    rnn(cell, params, xs[:2], lengths=LENGTHS[:2])
    assert cell.counts[0] == 2 * once


def test_one_trace_however_many_steps():
    cell = CountingCell()
    params, xs, _ = random_problem(27, cell, steps=50)
    rnn(cell, params, xs)
    assert cell.counts[0] == 1


def stored(cell, **options):
    """The shapes that a compiled run over 7 steps of 3 rows holds, as XLA writes them."""
    params, xs, _ = random_problem(28, cell, steps=7)
    run = jax.jit(lambda p, xs: rnn(cell, p, xs, implementation="hoisted", **options))
    text = run.lower(params, xs).compile().as_text()
    return {shape for shape in (f"f64[7,3,{U}]", f"f64[7,3,{4 * U}]") if shape in text}


def test_last_output_keeps_no_other():
    cell = CELLS["lstm-peephole"]
    inputs, outputs = f"f64[7,3,{4 * U}]", f"f64[7,3,{U}]"
    assert stored(cell, return_sequences=True) == {inputs, outputs}
    assert stored(cell, return_sequences=False, return_all_states=True) == {inputs, outputs}
    assert stored(cell, return_sequences=False) == {inputs}
    assert stored(cell, return_sequences=False, lengths=LENGTHS, reverse=True) == {inputs}


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, sys
from jax.sharding import PartitionSpec as P
from jrnn import bidirectional, rnn
from tests.cases import CELLS, random_problem, assert_close

jax.config.update("jax_enable_x64", True)
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
row = P("rows")
assert len(jax.devices()) == 4
for name in ("gru", "lstm-all", "sru-square"):
    cell = CELLS[name]
    params, xs, state = random_problem(29, cell, batch=(8,))
    lengths = np.arange(8) % 6
    resets = np.arange(40).reshape(8, 5) % 4 == 2
    def run(params, xs, lengths, resets, state):
        both = bidirectional(cell, (params, params), xs, lengths=lengths)
        given = rnn(cell, params, xs, initial_state=state, resets=resets, return_sequences=False)
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), state)
        return both, given, rnn(cell, params, xs, initial_state=zero, masked_output="repeat",
                                lengths=lengths)
    def loss(run):
        def total(params, xs, state):
            out = run(params, xs, lengths, resets, state)
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(out)), out
        return jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))
    sharded = jax.shard_map(run, mesh=mesh, in_specs=(P(), row, row, row, row), out_specs=row)
    assert_close(loss(sharded)(params, xs, state), loss(run)(params, xs, state), 1e-11)
print("done")
"""


@pytest.mark.slow
def test_shard_map():
    """Value and gradient on four devices, from the default, a given and a broadcast state."""
    run_on_devices(4, SHARDED)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (jrnn.SimpleRNNCell, jrnn.simple_rnn),
        (jrnn.GRUCell, jrnn.gru),
        (jrnn.LSTMCell, jrnn.lstm),
        (jrnn.SRUCell, jrnn.sru),
    ],
)
def test_named_layers_are_rnn(make, layer):
    for cell in (make(), make(activation="softsign", use_bias=False)):
        params, xs, state = random_problem(30, cell)
        options = {"initial_state": state, "lengths": LENGTHS, "reverse": True}
        given = {} if cell == make() else {"cell": cell}
        assert_close(layer(params, xs, **given, **options), rnn(cell, params, xs, **options), 1e-15)
