"""Derivatives while the input has none: blocks are cut out of it, and some steps are left over."""

import jax
import jax.numpy as jnp
import pytest

from jrnn.scan.blocks import Plan
from tests.cases import CELLS, assert_close
from tests.scan.test_loop import T, compiled, loss_of, problem

pytestmark = pytest.mark.usefixtures("x64")
PLANS = {
    "blocks": Plan(block=None, gradient_block=4),
    "blocks, products kept": Plan(gradient_block=4, save_products=True),
    "segments": Plan(block=None, gradient_block=4, segment=4),
    "blocks of segments": Plan(block=None, gradient_block=3, segment=8),
}


def gradient(loss):
    return jax.value_and_grad(loss, (0, 2))


def forward(loss):
    """Along parameters and state."""

    def call(params, xs, state):
        given = params, state
        return jax.jvp(lambda params, state: loss(params, xs, state), given, given)

    return call


def second(loss):
    """The gradient by the input of a gradient by the parameters."""

    def size(params, xs, state):
        found = jax.tree.leaves(jax.grad(loss)(params, xs, state))
        return sum(jnp.sin(leaf).sum() for leaf in found)

    return jax.grad(size, (0, 1, 2))


@pytest.mark.parametrize("derivative", [gradient, forward, second])
@pytest.mark.parametrize("reverse", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", PLANS)
def test_derivatives_are_those_of_a_plain_scan(name, reverse, derivative):
    cell = CELLS["gru" if reverse else "lstm-peephole"]
    given = problem(60, cell)
    assert T % 4
    assert T % 8
    ours, plain = (loss_of(plan, cell, reverse=reverse) for plan in (PLANS[name], None))
    assert "dynamic_slice" in str(jax.make_jaxpr(gradient(ours))(*given))
    got, wanted = (compiled(derivative(loss))(*given) for loss in (ours, plain))
    assert_close(got, wanted, 1e-10)
