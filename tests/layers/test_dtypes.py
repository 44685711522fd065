"""The policy of dtypes: what comes out is what was promised, and sums are made in float32."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from tests.cases import CELLS, PLAIN, B, F, T, U, assert_equal

NARROW = (jnp.bfloat16, jnp.float16)
CONV = jrnn.ConvLSTMCell(rank=1, kernel_size=2, padding="same")


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def of_type(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def problem(cell, steps=T, rows=B, features=F, units=U):
    """Parameters with biases that are not zero, and an input, both float32."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), features, units))
    params = jax.tree.map(lambda s: 0.3 * rng.normal(size=s.shape).astype(np.float32), shapes)
    between = () if cell is not CONV else (4,)
    return params, rng.normal(size=(rows, steps, *between, features)).astype(np.float32)


@pytest.mark.parametrize("cell", [*PLAIN, CELLS["stacked"], CONV], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("dtype", NARROW)
def test_dtype_is_that_of_the_computation(cell, dtype):
    """Whatever parameters, input and initial state are; and as if these had been cast before."""
    params, xs = problem(cell)
    wanted = jrnn.rnn(cell, of_type(params, dtype), of_type(xs, dtype))
    assert dtypes(wanted) == {jnp.dtype(dtype)}
    for of_params, of_xs in itertools.product((dtype, jnp.float32), repeat=2):
        zeros = jax.tree.map(jnp.zeros_like, of_type(wanted[0], jnp.float32))
        given = jrnn.rnn(
            cell, of_type(params, of_params), of_type(xs, of_xs), initial_state=zeros, dtype=dtype
        )
        assert_equal(given, wanted)


def test_without_it_dtypes_are_promoted():
    cell = CELLS["lstm"]
    params, xs = problem(cell)
    pairs = {
        (jnp.bfloat16, jnp.bfloat16): jnp.bfloat16,
        (jnp.bfloat16, jnp.float32): jnp.float32,
        (jnp.float32, jnp.bfloat16): jnp.float32,
        (jnp.float16, jnp.bfloat16): jnp.float32,
    }
    for (of_params, of_xs), expected in pairs.items():
        out = jrnn.lstm(of_type(params, of_params), of_type(xs, of_xs))
        assert dtypes(out) == {jnp.dtype(expected)}


@pytest.mark.parametrize("dtype", NARROW)
def test_the_carried_dtype_is_stable(dtype):
    """A state goes into the next call as it came out, in a scan too."""
    cell = CELLS["lstm"]
    params, xs = problem(cell)

    def chunk(state, xs):
        return jrnn.rnn(cell, params, xs, initial_state=state, dtype=dtype)

    start, _ = chunk(None, xs)
    state, ys = jax.lax.scan(chunk, start, jnp.stack([xs, xs]))
    assert dtypes((state, ys)) == {jnp.dtype(dtype)}


def test_gradients_have_the_dtypes_of_what_they_are_of():
    params, xs = problem(CELLS["lstm"])

    def loss(params, xs):
        return jrnn.lstm(params, xs, dtype=jnp.bfloat16)[1].astype(jnp.float32).sum()

    of_params, of_xs = jax.grad(loss, (0, 1))(params, of_type(xs, jnp.float16))
    assert dtypes(of_params) == {jnp.dtype(jnp.float32)}
    assert of_xs.dtype == jnp.float16


def relative(given, exact):
    given, exact = np.asarray(given, np.float64), np.asarray(exact, np.float64)
    return np.linalg.norm(given - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("cell", [*PLAIN, CONV], ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("checkpoint", [None, pytest.param(40, marks=pytest.mark.slow)])
def test_weight_gradients_are_summed_in_float32(cell, checkpoint):
    """Over 2000 steps the error stays that of rounding once or twice, 2^-8 each."""
    steps = 2000 if cell is not CONV else 200
    params, xs = of_type(problem(cell, steps=steps, rows=4), jnp.bfloat16)

    def loss(params, xs):
        ys = jrnn.rnn(cell, params, xs, checkpoint=checkpoint)[1]
        return (ys.astype(jnp.float32) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))
    given, exact = gradient(params, xs), gradient(*of_type((params, xs), jnp.float32))
    for one, other in zip(jax.tree.leaves(given), jax.tree.leaves(exact), strict=True):
        assert relative(one, other) < 2 * 2**-8


@pytest.mark.parametrize("dtype", NARROW)
def test_products_are_summed_in_float32(dtype):
    """4096 terms of one size, of which 16-bit sums would lose most."""
    cell = jrnn.SimpleRNNCell(activation="linear")
    ones = jnp.full((4096, 1), 2.0**-8, dtype)
    params = jrnn.SimpleRNNParams(ones, jnp.zeros((1, 1), dtype), jnp.zeros(1, dtype))
    _, ys = jrnn.rnn(cell, params, jnp.full((1, 3, 4096), 2.0**-8, dtype))
    assert_equal(ys, jnp.full((1, 3, 1), 2.0**-4, dtype))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("cell", PLAIN, ids=lambda cell: type(cell).__name__)
def test_16_bits_under_strict_promotion(cell, dtype):
    params, xs = of_type(problem(cell), dtype)
    loose = jrnn.rnn(cell, params, xs)
    with jax.numpy_dtype_promotion("strict"):
        assert_equal(jrnn.rnn(cell, params, xs), loose)


@pytest.mark.parametrize("dtype", [*NARROW, jnp.float32, jnp.float64])
def test_fresh_parameters_under_strict_promotion(dtype):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        assert dtypes(jrnn.LSTMCell().init(jax.random.key(0), F, U, dtype)) == {jnp.dtype(dtype)}


def test_a_wider_bias_is_not_narrowed():
    params, xs = of_type(problem(CELLS["lstm"]), jnp.bfloat16)
    params = params._replace(bias=params.bias.astype(jnp.float32))
    assert jrnn.lstm(params, xs)[1].dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.int32, "float99", bool, jnp.complex64, 3])
def test_what_it_is_not(dtype):
    params, xs = problem(CELLS["lstm"])
    with pytest.raises(ValueError, match=r"dtype is .* but a floating-point dtype is needed"):
        jrnn.lstm(params, xs, dtype=dtype)


def test_integers_are_refused_with_it_too():
    params, xs = problem(CELLS["lstm"])
    with pytest.raises(ValueError, match="x has dtype int32"):
        jrnn.lstm(params, xs.astype(np.int32), dtype=jnp.bfloat16)
