"""`Model.checkpointed`: the same gradients, with states of every loop over time computed again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn.model.recurrent import Recurrent
from jrnn.model.walk import walk
from tests.model.test_streaming import opened

# Masks and two directions, images, stacks, operations, a model over each step.
FILES = (
    "keras-3.15-jax/mask_bidir",
    "keras-3.15-jax/convlstm2d_bidir",
    "keras-2.2.4/stacked_cells_state",
    "keras-3.15-jax/op_nodes",
    "keras-3.15-jax/nested_timedistributed_model",
)
QUICK = FILES[0]


def loss(model, xs, params):
    outputs = jax.tree.leaves(model.apply(params, *xs))
    return sum(jnp.sin(leaf).sum() for leaf in outputs)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in FILES],
)
def test_same_gradients_of_states_computed_again(name):
    model, params, xs = opened(name)
    dialled = model.checkpointed(2)
    loops = [layer for layer in walk(dialled) if isinstance(layer, Recurrent)]
    assert loops
    assert all(layer.checkpoint == 2 for layer in loops)
    gradients = [
        jax.value_and_grad(functools.partial(loss, one, xs), allow_int=True)
        for one in (model, dialled)
    ]
    (value, known), (same, found) = (jax.jit(one)(params) for one in gradients)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(known), strict=True):
        if a.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    remat = [str(jax.make_jaxpr(one)(params)).count("remat") for one in gradients]
    assert remat[0] == 0
    assert remat[1] >= len(loops)
    assert dialled.checkpointed(None) == model


def test_what_it_is_not():
    model, *_ = opened(QUICK)
    with pytest.raises(ValueError, match="checkpoint is 'root'"):
        model.checkpointed("root")
