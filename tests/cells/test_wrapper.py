"""What cells share that hold cells: rates, and names of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn import DropConnectCell, DropoutCell, GRUCell, LSTMCell, rnn
from jrnn.cells.wrapper import array_names
from tests.cases import assert_close, assert_equal

B, T, F, U = 2, 4, 3, 5
KEY = jax.random.key(3)


@pytest.mark.parametrize("make", [np.float32, np.float64, np.float16])
def test_rates_of_numpy(make):
    """They are what the number is, and widen no 16-bit state."""
    rates = (make(0.5), make(0.25))
    for cell, same in (
        (DropoutCell(LSTMCell(), *rates), DropoutCell(LSTMCell(), 0.5, 0.25)),
        (DropConnectCell(LSTMCell(), rates[0]), DropConnectCell(LSTMCell(), 0.5)),
    ):
        assert cell == same
        params = cell.init(KEY, F, U, jnp.bfloat16)
        xs = jax.random.normal(KEY, (B, T, F), jnp.bfloat16)
        state, ys = rnn(cell, params, xs, key=KEY)
        assert {leaf.dtype for leaf in (*state, ys)} == {jnp.dtype("bfloat16")}
        assert_close(ys, rnn(same, params, xs, key=KEY)[1])


class Named(jrnn.Cell):
    """A cell of one's own, whose parameters are a dict."""

    def initial_state(self, params, z):
        return jnp.zeros_like(z)

    def project(self, params, xs):
        return xs @ params["kernel"]

    def step(self, params, state, z):
        state = jnp.tanh(z + state @ params["recurrent_kernel"])
        return state, state


def test_weights_of_a_dict():
    """DropConnect finds them by their key: some are dropped, all others twice as large."""
    shapes = {"kernel": (F, U), "recurrent_kernel": (U, U)}
    params = {name: jax.random.normal(KEY, shape) for name, shape in shapes.items()}
    drawn = DropConnectCell(Named(), 0.5).draw(KEY, params, jnp.ones((B, F)))
    assert drawn["kernel"] is params["kernel"]
    kept = np.asarray(drawn["recurrent_kernel"] != 0)
    assert 0 < kept.sum() < kept.size
    assert_equal(drawn["recurrent_kernel"], 2 * kept * params["recurrent_kernel"])


def test_names_of_arrays():
    """Fields and keys; none for what lies in a list or is the whole."""
    params = GRUCell(use_bias=False).init(KEY, F, U)
    names = ["a", "kernel", "recurrent_kernel", "", ""]
    assert array_names({"a": 1.0, "b": params, "c": [1.0, 2.0]}) == names
    assert array_names(jnp.ones(2)) == [""]
