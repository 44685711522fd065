"""What both kinds of modules refuse, and say."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jrnn.flax_wrappers import linen as jlinen
from jrnn.flax_wrappers import nnx as jnn

B, T, F, U = 3, 5, 2, 4
X = jnp.ones((B, T, F))
FILMS = jnp.ones((B, T, 6, 5, F))


def gru(features=F):
    return jnn.GRU(features, U, rngs=nnx.Rngs(0))


def run_nnx(module, x=X, **options):
    return module(x, **options)


def run_linen(module, x=X, **options):
    return module.init_with_output(jax.random.key(0), x, **options)


def both_ways(**options):
    run_nnx(jnn.Bidirectional(gru(), gru()), **options)


def both_ways_linen(**options):
    run_linen(jlinen.Bidirectional(jlinen.GRU(U), jlinen.GRU(U)), **options)


def stack(dropout):
    return jnn.StackedRNN([gru(), gru(U)], dropout=dropout)


def stack_linen(dropout):
    return run_linen(jlinen.StackedRNN([jlinen.GRU(U), jlinen.GRU(U)], dropout=dropout))


def conv(**options):
    return jnn.ConvLSTM(F, U, **{"kernel_size": (3, 3), **options}, rngs=nnx.Rngs(0))


def conv_linen(**options):
    return run_linen(jlinen.ConvLSTM(U, **{"kernel_size": (3, 3), **options}), FILMS)


@pytest.mark.parametrize("run", [both_ways, both_ways_linen])
@pytest.mark.parametrize(("carry", "got"), [(jnp.ones((2, U)), "Array"), ((None,), "tuple")])
def test_carries_of_two_directions(run, carry, got):
    with pytest.raises(ValueError, match=f"of type {got}.*, but a tuple of 2"):
        run(initial_carry=carry)


@pytest.mark.parametrize("make", [stack, stack_linen])
@pytest.mark.parametrize("dropout", [-0.1, 1.5])
def test_dropout_out_of_range(make, dropout):
    with pytest.raises(ValueError, match=f"dropout is {dropout}, but 0 to 1"):
        make(dropout)


@pytest.mark.parametrize("make", [conv, conv_linen])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kernel_size": 3}, "kernel_size=3"),
        ({"padding": [(1, 1), (1, 1)]}, r"padding=.\(1, 1\)"),
        ({"padding": "CIRCULAR"}, "padding is 'circular'"),
        ({"strides": (2,)}, r"strides is \(2,\)"),
        ({"strides": 0}, "strides"),
    ],
)
def test_windows(make, options, says):
    with pytest.raises(ValueError, match=says):
        make(**options)
