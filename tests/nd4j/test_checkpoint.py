"""`checkpoint=` of every op over time: the same numbers, of states that are computed again."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jrnn import nd4j
from tests.cases import assert_close
from tests.nd4j.table import OPS, arguments

pytestmark = pytest.mark.usefixtures("x64")
OVER_TIME = {name: op for name, op in OPS.items() if not name.endswith("_cell")}
QUICK = ("gru_layer", "lstm_layer-T2NS", "sru")


def loss(call, lengths, floats):
    outputs = jax.tree.leaves(call(*floats, *lengths))
    return sum(jnp.sin(leaf).sum() for leaf in outputs), outputs


@pytest.mark.parametrize(
    "op",
    [
        pytest.param(op, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, op in OVER_TIME.items()
    ],
)
def test_same_numbers_of_states_computed_again(op):
    args = arguments(op)
    floats, lengths = args[: len(op.shapes)], args[len(op.shapes) :]

    def gradient(**options):
        call = functools.partial(op.call, **options)
        return jax.value_and_grad(functools.partial(loss, call, lengths), has_aux=True)

    plain, dialled = gradient(), gradient(checkpoint=2)
    assert_close(jax.jit(dialled)(floats), jax.jit(plain)(floats))
    remat = ["remat" in str(jax.make_jaxpr(one)(floats)) for one in (plain, dialled)]
    assert remat == [False, True]


def test_what_it_is_not():
    op = OPS["lstm_layer"]
    with pytest.raises(ValueError, match="checkpoint is 0"):
        op.call(*arguments(op), checkpoint=0)
    with pytest.raises(TypeError, match="checkpoint"):
        nd4j.lstm_layer_cell(*arguments(OPS["lstm_layer_cell"]), checkpoint=2)
