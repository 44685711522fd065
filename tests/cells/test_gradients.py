"""Gradients against finite differences in float64: every cell, every option, both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrnn import GRUCell, LSTMCell, SimpleRNNCell, bidirectional, rnn
from tests.cases import CELLS, PLAIN, assert_close, every_other, random_problem

pytestmark = pytest.mark.usefixtures("x64")
T = 4
LENGTHS = np.array([3, 0, 4])
MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0]], bool)
RESETS = np.array([[0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0]], bool)
OPTIONS = {
    "lengths": {"lengths": LENGTHS},
    "lengths-reverse": {"lengths": LENGTHS, "reverse": True},
    "mask": {"mask": MASK},
    "mask-repeat": {"mask": MASK, "masked_output": "repeat"},
    "mask-last": {"mask": MASK, "return_sequences": False},
    "resets": {"resets": RESETS},
    "resets-reverse": {"resets": RESETS, "reverse": True},
    "reverse": {"reverse": True},
    "unroll": {"unroll": 3},
    "last": {"return_sequences": False},
    "all_states": {"return_all_states": True},
    "all_states-last": {"return_all_states": True, "return_sequences": False},
    "everything": {
        **{"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "reverse": True, "unroll": 2},
        **{"return_all_states": True, "masked_output": "repeat"},
    },
}


def check(f, args, order=1):
    """Both modes, in random directions; the step of 1e-5 leaves errors of about 1e-10."""
    tolerance = 1e-7 if order == 1 else 1e-6
    check_grads(f, args, order, ("fwd", "rev"), tolerance, tolerance, eps=1e-5)


@pytest.mark.parametrize("cell", every_other(CELLS))
def test_every_cell(cell):
    params, xs, state = random_problem(10, cell, steps=T)
    check(lambda p, xs, s: rnn(cell, p, xs, initial_state=s), (params, xs, state))


@pytest.mark.parametrize(
    "cell",
    [
        *(SimpleRNNCell(name) for name in ("sigmoid", "softplus", "relu")),
        GRUCell("gelu", "softsign"),
        LSTMCell("mish", "hard_sigmoid"),
        LSTMCell("softmax", "sigmoid"),
    ],
    ids=lambda cell: f"{cell.activation}-{getattr(cell, 'recurrent_activation', '')}",
)
def test_activations(cell):
    params, xs, state = random_problem(11, cell, steps=T)
    check(lambda p, xs, s: rnn(cell, p, xs, initial_state=s), (params, xs, state))


@pytest.mark.parametrize("options", every_other(OPTIONS))
def test_every_option(options):
    cell = CELLS["lstm-peephole"]
    params, xs, state = random_problem(12, cell, steps=T)
    first_output = np.random.default_rng(12).normal(size=state.hidden.shape)

    def f(params, xs, state, y):
        return rnn(cell, params, xs, initial_state=state, initial_output=y, **options)

    check(f, (params, xs, state, first_output))


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_bidirectional(merge):
    cell = CELLS["gru"]
    forward, xs, state = random_problem(13, cell, steps=T)
    backward, _, other = random_problem(14, cell)

    def f(params, xs, states):
        options = {"initial_state": states, "lengths": LENGTHS, "resets": RESETS}
        return bidirectional(cell, params, xs, merge=merge, **options)

    check(f, ((forward, backward), xs, (state, other)))


@pytest.mark.parametrize(
    "cell",
    [PLAIN[0], *(pytest.param(cell, marks=pytest.mark.slow) for cell in PLAIN[1:])],
    ids=lambda cell: type(cell).__name__,
)
def test_second_order(cell):
    params, xs, state = random_problem(15, cell, steps=3)
    check(jax.jit(lambda p, xs, s: rnn(cell, p, xs, initial_state=s)), (params, xs, state), 2)


@pytest.mark.parametrize("name", ["gru", "lstm-all"])
def test_modes_agree(name):
    """The whole Jacobian, not one direction of it, and where forward meets reverse mode."""
    cell = CELLS[name]
    params, xs, state = random_problem(16, cell, batch=(), steps=3)

    def f(args):
        state, ys = rnn(cell, args[0], args[1], initial_state=args[2], lengths=2)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves((state, ys))])

    args = (params, xs, state)
    assert_close(jax.jit(jax.jacfwd(f))(args), jax.jit(jax.jacrev(f))(args))
