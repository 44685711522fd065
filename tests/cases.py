"""The cells that every law is checked on, with random weights, and how results are compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import GRUCell, LSTMCell, SimpleRNNCell, SRUCell, StackedCell

# No two sizes alike, so that no axis passes for another.
B, T, F, U, P = 3, 5, 2, 4, 6

CELLS = {
    "simple_rnn": SimpleRNNCell(),
    "simple_rnn-elu-no_bias": SimpleRNNCell("elu", use_bias=False),
    "gru": GRUCell(),
    "gru-no_bias": GRUCell(use_bias=False),
    "gru-reset_before": GRUCell(reset_after=False),
    "gru-reset_before-no_bias": GRUCell(reset_after=False, use_bias=False),
    "gru-softsign-hard": GRUCell("softsign", "hard_sigmoid"),
    "lstm": LSTMCell(),
    "lstm-no_bias": LSTMCell(use_bias=False),
    "lstm-relu-hard": LSTMCell("relu", "hard_sigmoid"),
    "lstm-peephole": LSTMCell(peephole=True),
    "lstm-projection": LSTMCell(projection=P),
    "lstm-clip": LSTMCell(cell_clip=0.2),
    "lstm-outer_softsign": LSTMCell(output_activation="softsign"),
    "lstm-all": LSTMCell(
        peephole=True,
        projection=P,
        cell_clip=0.3,
        use_bias=False,
        output_activation="elu",
        projection_clip=0.1,
    ),
    "sru": SRUCell(),
    "sru-softsign-no_bias": SRUCell("softsign", use_bias=False),
    "sru-square": StackedCell([SimpleRNNCell(), SRUCell()]),  # as many features as units
    "sru-square-no_bias": StackedCell([SRUCell("linear"), SRUCell("elu", use_bias=False)]),
    "stacked": StackedCell([GRUCell(), LSTMCell(peephole=True, projection=P), SimpleRNNCell()]),
}
PLAIN = [CELLS[name] for name in ("simple_rnn", "gru", "gru-reset_before", "lstm", "sru")]


def random_like(rng, tree):
    """The tree with standard normal float64 leaves of the same shapes: no zeros, no symmetry."""
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), tree)


def random_params(rng, cell, features=F, units=U):
    """Random parameters, biases and peepholes too; halved, lest gates saturate."""
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), features, units))
    return jax.tree.map(lambda leaf: 0.5 * leaf, random_like(rng, shapes))


def random_state(rng, cell, params, batch=(B,)):
    """A random state for a batch."""
    features = jax.tree.leaves(params)[0].shape[0]

    def fresh():
        return cell.initial_state(params, cell.project(params, jnp.zeros((*batch, features))))

    return random_like(rng, jax.eval_shape(fresh))


def random_problem(seed, cell, batch=(B,), steps=T):
    """`(params, xs, state)` for a cell."""
    rng = np.random.default_rng(seed)
    params = random_params(rng, cell)
    return params, rng.normal(size=(*batch, steps, F)), random_state(rng, cell, params, batch)


SLOW_BFLOAT16 = pytest.param("bfloat16", marks=pytest.mark.slow)


def every_other(cases):
    """Parameters of a test out of a dict, by name; every second one is slow."""
    return [
        pytest.param(value, id=name, marks=[pytest.mark.slow] if k % 2 else [])
        for k, (name, value) in enumerate(cases.items())
    ]


def assert_close(actual, expected, tolerance=1e-12):
    """The leaves have the same shapes and differ by less than the tolerance."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape, "wrong shape"
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


def assert_equal(actual, expected):
    """The leaves agree in shape, dtype and every bit."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        np.testing.assert_array_equal(a, e)
