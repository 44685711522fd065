"""Cells that hold cells as modules: what they draw, their carries, parameters of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jrnn
from jrnn.flax_wrappers import linen
from jrnn.flax_wrappers import nnx as wrapped
from tests.cases import assert_equal

B, T, F, U = 2, 5, 3, 4
CELL = jrnn.ResidualCell(
    jrnn.ZoneoutCell(jrnn.LayerNormCell(jrnn.LSTMCell()), hidden=0.4, cell_state=0.3), "concat"
)
XS = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
LENGTHS = jnp.array([5, 3])


def plain(weights, key=None, **options):
    return jrnn.rnn(CELL, weights, XS, key=key, **options)


def as_state(carry):
    """A carry of this cell as the state that it is of."""
    cell, hidden = carry.state
    return carry._replace(state=jrnn.LSTMState(hidden, cell))


def test_nnx():
    module = wrapped.RNN(
        wrapped.RNNCell(CELL, F, U, rngs=nnx.Rngs(0)), return_carry=True, rngs=nnx.Rngs(3)
    )
    weights = module.cell.weights()
    assert isinstance(module.cell.params.cell.gain, nnx.Param)
    carry, ys = module(XS, seq_lengths=LENGTHS)
    known = plain(weights, nnx.Rngs(3).dropout.fork()(), lengths=LENGTHS)
    assert_equal((as_state(carry), ys), known)
    assert carry.clock.steps.tolist() == [5, 3]
    module.eval()
    carry, ys = module(XS)
    assert_equal((as_state(carry), ys), plain(weights))
    again, ys = module(XS, initial_carry=carry)
    assert_equal((as_state(again), ys), plain(weights, initial_state=as_state(carry)))
    step, y = module.cell(carry, XS[:, 0])
    known = CELL(weights, as_state(carry), XS[:, 0])
    assert_equal((as_state(step), y), known)


def test_linen():
    module = linen.RNN(linen.RNNCell(CELL, U), return_carry=True)
    variables = module.init(jax.random.key(0), XS)
    weights = variables["params"]["cell"]["cell"]
    carry, ys = module.apply(variables, XS, rngs={"dropout": jax.random.key(1)})
    other = module.apply(variables, XS, rngs={"dropout": jax.random.key(2)})[1]
    assert np.abs(ys - other).max() > 1e-2
    assert carry.clock.steps.tolist() == [T] * B
    carry, ys = module.apply(variables, XS, deterministic=True)
    assert_equal((as_state(carry), ys), plain(weights))


@pytest.mark.parametrize("flax", ["nnx", "linen"])
def test_a_first_carry_that_is_drawn(flax):
    """Its clock is at 0 all the same."""
    draw = nn.initializers.normal()
    if flax == "nnx":
        cell = wrapped.RNNCell(CELL, F, U, carry_init=draw, rngs=nnx.Rngs(0))
        carry = cell.initialize_carry((B, F), nnx.Rngs(0))
    else:
        cell = linen.RNNCell(CELL, U, param_dtype=jnp.float32, carry_init=draw)
        carry = cell.initialize_carry(jax.random.key(0), (B, F))
    assert all(np.all(leaf != 0) for leaf in carry.state)
    assert carry.clock.steps.tolist() == [0] * B
    assert carry.clock.steps.dtype == jnp.int32


def test_metadata():
    """Of a field that holds parameters of an inner cell, for each array of it."""
    cell = jrnn.ProjectionCell(jrnn.GRUCell(), 2)
    module = wrapped.RNNCell(
        cell,
        F,
        U,
        metadata={"kernel": {"part": "upper"}, "params": {"part": "inner"}},
        rngs=nnx.Rngs(0),
    )
    assert module.params.kernel.get_metadata()["part"] == "upper"
    assert module.params.params.bias.get_metadata()["part"] == "inner"
    assert "part" not in module.params.bias.get_metadata()
    assert_equal(wrapped.RNN(module)(XS), jrnn.rnn(cell, module.weights(), XS)[1])


def test_both_flaxes():
    """From NNX to Linen and back, a cell whose own kernel is not that of the input."""
    cell = jrnn.ProjectionCell(jrnn.GRUCell(), 2)
    module = wrapped.RNN(wrapped.RNNCell(cell, F, U, rngs=nnx.Rngs(0)))
    other, variables = linen.from_nnx(module)
    assert_equal(other.apply(variables, XS), module(XS))
    back = linen.to_nnx(other, variables)
    assert_equal(back(XS), module(XS))
