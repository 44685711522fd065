"""Cells of Flax, and of one's own in its form, run by jrnn's RNN: Flax's own RNN is the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jrnn
from jrnn.flax_wrappers import linen as jlinen
from jrnn.flax_wrappers import nnx as jnn
from tests.cases import assert_close

B, T, F, U = 3, 5, 2, 4
LENGTHS = np.array([5, 2, 4])
KEY = jax.random.key(0)
LOOPS = [{}, {"reverse": True}, {"reverse": True, "keep_order": True, "unroll": 2}]
every_loop = pytest.mark.parametrize("loop", LOOPS, ids=str)


def inputs(shape=(B, T, F)):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def random_like(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) / 2, a.dtype), tree)


class Leaky(nnx.RNNCellBase):
    """A cell of one's own, whose state starts at one and whose output is not its state."""

    def __init__(self, rngs):
        self.of_input = nnx.Linear(F, U, rngs=rngs)
        self.of_state = nnx.Linear(U, U, use_bias=False, rngs=rngs)

    def __call__(self, carry, inputs):
        new = 0.9 * carry["h"] + 0.1 * jnp.tanh(self.of_input(inputs) + self.of_state(carry["h"]))
        return {"h": new}, jnp.sin(new)

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        return {"h": jnp.ones((*input_shape[:-1], U))}

    @property
    def num_feature_axes(self):
        return 1


NNX_CELLS = {
    "lstm": lambda rngs: nnx.LSTMCell(F, U, rngs=rngs),
    "residual": lambda rngs: nnx.SimpleCell(F, F, residual=True, rngs=rngs),
    "leaky": Leaky,
}


@every_loop
@pytest.mark.parametrize("name", NNX_CELLS)
def test_nnx_cells(name, loop):
    cell = NNX_CELLS[name](nnx.Rngs(0))
    nnx.update(cell, random_like(nnx.state(cell, nnx.Param)))
    theirs, ours = nnx.RNN(cell, **loop), jnn.RNN(cell, **loop)
    expected = theirs(inputs(), return_carry=True)
    assert_close(ours(inputs(), return_carry=True), expected, 1e-6)
    x = inputs().at[1, 2:].set(jnp.nan)
    carry, ys = ours(x, seq_lengths=LENGTHS, return_carry=True)
    carry_theirs, ys_theirs = theirs(inputs(), seq_lengths=LENGTHS, return_carry=True)
    counts = np.arange(T) < LENGTHS[:, None]
    assert_close((carry, ys[counts]), (carry_theirs, ys_theirs[counts]), 1e-6)
    start = random_like(carry, 3)
    assert_close(ours(inputs(), initial_carry=start), theirs(inputs(), initial_carry=start), 1e-6)

    def gradient(rnn):
        return nnx.grad(lambda rnn: (rnn(inputs()) ** 2).sum())(rnn).cell

    assert_close(jax.tree.leaves(gradient(ours)), jax.tree.leaves(gradient(theirs)), 1e-5)


def test_transforms_and_both_directions_of_nnx_cells():
    def make(rnn, both):
        runs = [rnn(NNX_CELLS[name](nnx.Rngs(4))) for name in ("leaky", "lstm")]
        return both(*runs)

    ours, theirs = make(jnn.RNN, jnn.Bidirectional), make(nnx.RNN, nnx.Bidirectional)
    expected = theirs(inputs())
    assert_close(nnx.jit(lambda m, x: m(x))(ours, inputs()), expected, 1e-6)
    rows = nnx.vmap(lambda m, x: m(x), in_axes=(None, 0))(ours, inputs())
    assert_close(rows, expected, 1e-6)


class MGU(nn.Module):
    """Flax's cell in a module of one's own."""

    @nn.compact
    def __call__(self, x, rnn=jlinen.RNN, **options):
        x = nn.Dense(3)(x)
        return rnn(nn.MGUCell(U), **options)(x, seq_lengths=LENGTHS, return_carry=True)


@every_loop
def test_a_linen_cell_inside_a_module(loop):
    theirs = MGU().init(KEY, inputs(), rnn=nn.RNN)
    fresh = MGU().init(KEY, inputs())
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, theirs)
    variables = random_like(theirs)
    carry, ys = MGU().apply(variables, inputs(), rnn=nn.RNN, **loop)
    own_carry, own = MGU().apply(variables, inputs(), **loop)
    counts = np.arange(T) < LENGTHS[:, None]
    assert_close((own_carry, own[counts]), (carry, ys[counts]), 1e-6)

    def gradient(rnn):
        def loss(variables):
            return (MGU().apply(variables, inputs(), rnn=rnn, **loop)[1][counts] ** 2).sum()

        return jax.grad(loss)(variables)

    assert_close(gradient(jlinen.RNN), gradient(nn.RNN), 1e-5)


def test_to_flax_leaves_cells_of_flax_alone():
    rnn = jnn.RNN(Leaky(nnx.Rngs(0)), reverse=True)
    back = jnn.to_flax(rnn)
    assert isinstance(back, nnx.RNN)
    assert back.cell is rnn.cell
    module, params = jlinen.to_flax(jlinen.RNN(nn.MGUCell(U), reverse=True), {"cell": {"a": 1}})
    assert (module, params) == (nn.RNN(nn.MGUCell(U), reverse=True), {"cell": {"a": 1}})


@pytest.mark.parametrize(
    "cell",
    [
        nn.SimpleCell(F, residual=True),
        nn.ConvLSTMCell(U, (3, 2), padding="CIRCULAR"),
        nn.GRUCell(U, carry_init=nn.initializers.normal()),
    ],
    ids=["residual", "conv_lstm", "carry_init"],
)
def test_linen_cells(cell):
    x = inputs((B, T, 6, 5, F)) if cell.num_feature_axes == 3 else inputs()
    theirs, ours = nn.RNN(cell, return_carry=True), jlinen.RNN(cell, return_carry=True)
    variables = random_like(theirs.init(KEY, x))
    assert_close(ours.apply(variables, x), theirs.apply(variables, x), 1e-6)
    drawn = {"init_key": jax.random.key(7)}
    assert_close(ours.apply(variables, x, **drawn), theirs.apply(variables, x, **drawn), 1e-6)


class Noisy(nnx.LSTMCell):
    """A cell with variables beside its parameters."""

    def __init__(self, rngs):
        super().__init__(F, U, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


class Counting(nn.GRUCell):
    """A cell with variables beside its parameters."""

    @nn.compact
    def __call__(self, carry, inputs):
        self.variable("counts", "n", lambda: jnp.zeros(()))
        return super().__call__(carry, inputs)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda: jnn.RNN(Noisy(nnx.Rngs(0)))(inputs()), "Noisy holds Rng.*flax.nnx.RNN runs"),
        (
            lambda: jnn.RNN(nnx.Linear(F, U, rngs=nnx.Rngs(0)))(inputs()),
            "Linear, but a cell",
        ),
        (lambda: jnn.RNN(jrnn.LSTMCell())(inputs()), "goes into RNNCell"),
        (lambda: jlinen.RNN(nn.Dense(U)).init(KEY, inputs()), "Dense, but a cell"),
        (lambda: jlinen.RNN(jrnn.LSTMCell()).init(KEY, inputs()), "goes into RNNCell"),
        (lambda: jlinen.RNN(Counting(U)).init(KEY, inputs()), r"\['counts'\].*flax.linen.RNN runs"),
    ],
)
def test_what_no_cell_is_and_what_is_no_mere_cell(run, says):
    with pytest.raises(ValueError, match=says):
        run()
