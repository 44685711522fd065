"""Freshly drawn parameters: their shapes, dtypes and distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import GRUCell, LSTMCell, SimpleRNNCell, SRUCell, StackedCell

F, U, P = 40, 60, 50
KEY = jax.random.key(7)


def shapes(params):
    return jax.tree.map(lambda leaf: leaf.shape, params._asdict())


def assert_glorot_uniform(array):
    limit = np.sqrt(6 / sum(array.shape))
    assert 0.98 * limit < abs(array).max() <= limit
    np.testing.assert_allclose(array.mean(), 0, atol=0.02 * limit)
    np.testing.assert_allclose(array.std(), limit / np.sqrt(3), rtol=0.02)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (SimpleRNNCell(), [(F, U), (U, U), (U,)]),
        (SimpleRNNCell(use_bias=False), [(F, U), (U, U), None]),
        (GRUCell(), [(F, 3 * U), (U, 3 * U), (2, 3 * U)]),
        (GRUCell(reset_after=False), [(F, 3 * U), (U, 3 * U), (3 * U,)]),
        (GRUCell(use_bias=False), [(F, 3 * U), (U, 3 * U), None]),
        (LSTMCell(), [(F, 4 * U), (U, 4 * U), (4 * U,), None, None]),
        (LSTMCell(use_bias=False), [(F, 4 * U), (U, 4 * U), None, None, None]),
        (LSTMCell(peephole=True), [(F, 4 * U), (U, 4 * U), (4 * U,), (3, U), None]),
        (SRUCell(), [(F, 3 * U), (2 * U,), (F, U)]),
        (SRUCell(use_bias=False), [(F, 3 * U), None, (F, U)]),
        (LSTMCell(projection=P), [(F, 4 * U), (P, 4 * U), (4 * U,), None, (U, P)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
def test_shapes_and_dtypes(cell, expected, dtype):
    params = cell.init(KEY, F, U) if dtype is None else cell.init(KEY, F, U, dtype)
    assert [leaf if leaf is None else leaf.shape for leaf in params] == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype or "float32")}


@pytest.mark.parametrize("cell", [SimpleRNNCell(), GRUCell(), LSTMCell(projection=P)], ids=str)
def test_defaults_are_those_of_keras(cell):
    params = cell.init(KEY, F, U)
    assert_glorot_uniform(params.kernel)
    recurrent = np.asarray(params.recurrent_kernel, np.float64)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(len(recurrent)), atol=1e-5)
    if isinstance(cell, LSTMCell):
        assert_glorot_uniform(params.projection)
        assert params.bias.tolist() == [0] * U + [1] * U + [0] * 2 * U
    else:
        np.testing.assert_array_equal(params.bias, 0)


def test_forget_bias_is_one_whatever_the_initializer():
    bias = LSTMCell(bias_initializer="random_normal").init(KEY, F, U).bias
    drawn = LSTMCell(bias_initializer="random_normal", unit_forget_bias=False).init(KEY, F, U).bias
    assert (bias[U : 2 * U] == 1).all()
    assert (drawn != 0).all()
    np.testing.assert_array_equal(
        np.delete(bias, range(U, 2 * U)), np.delete(drawn, range(U, 2 * U))
    )


@pytest.mark.parametrize("make", [SimpleRNNCell, GRUCell, LSTMCell])
def test_each_initializer_draws_its_own(make):
    def full(value):
        return lambda key, shape, dtype: jnp.full(shape, value, dtype)

    options = {"bias_initializer": full(4)}
    if make is LSTMCell:
        options |= {"unit_forget_bias": False, "peephole": True, "projection": P}
        options["peephole_initializer"] = full(5)
    cell = make(kernel_initializer=full(2), recurrent_initializer=full(3), **options)
    params = cell.init(KEY, F, U)
    values = {"kernel": 2, "recurrent_kernel": 3, "bias": 4, "peephole": 5, "projection": 2}
    for name, leaf in params._asdict().items():
        assert (leaf == values[name]).all(), name


def test_no_two_arrays_are_drawn_alike():
    normal = dict.fromkeys(("kernel_initializer", "recurrent_initializer"), "normal")
    normal |= dict.fromkeys(("bias_initializer", "peephole_initializer"), "normal")
    cell = LSTMCell(peephole=True, projection=P, unit_forget_bias=False, **normal)
    one = cell.init(KEY, F, U)
    other = cell.init(jax.random.key(8), F, U)
    first = [float(leaf.ravel()[0]) for leaf in (*one, *other)]
    assert len(set(first)) == 2 * len(one)
    for a, b in zip(one, cell.init(KEY, F, U), strict=True):
        np.testing.assert_array_equal(a, b)


def test_peepholes_start_closed():
    assert not LSTMCell(peephole=True).init(KEY, F, U).peephole.any()


def test_stack_sizes_each_cell_for_the_one_below():
    cell = StackedCell([LSTMCell(projection=P), GRUCell(), SimpleRNNCell()])
    lstm, gru, simple = cell.init(KEY, F, [U, 30, 20])
    assert (lstm.kernel.shape, lstm.projection.shape) == ((F, 4 * U), (U, P))
    assert (gru.kernel.shape, simple.kernel.shape) == ((P, 90), (30, 20))
    same = StackedCell([GRUCell(), GRUCell()]).init(KEY, U, U, "bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(same)} == {jnp.dtype("bfloat16")}
    assert (same[0].kernel != same[1].kernel).any()
