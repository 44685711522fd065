"""Columns of the contract grid: dtypes, shapes, what arrays may be, and JAX's checks."""

import contextlib

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np

from tests.cases import assert_close, assert_equal
from tests.contract.reference import (
    column,
    compiled,
    differentiated,
    of_type,
    plain,
    reference,
)
from tests.contract.subjects import B, arguments


def dtypes(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


def check_dtype(s, dtype, tolerance):
    """Outputs and gradient have the dtype, and are near those of float64."""
    args = of_type(arguments(s), dtype)
    result = compiled(s)(*args)
    assert dtypes(result) == {jnp.dtype(dtype).name}, "wrong dtype"
    assert_close(of_type(result, float), plain(s)(*of_type(args, float)), tolerance)


@column("Dtypes", "float64")
def float64(s):
    """All is float64, and equal to the plain computation run eagerly, within 1e-12."""
    args = arguments(s)
    outputs = s.call(*args)
    assert dtypes(outputs) == {"float64"}, "wrong dtype"
    assert_close(outputs, s.plain(*args), 1e-12)


@column("Dtypes", "float32")
def float32(s):
    """All that comes out is float32, the gradient too, within 1e-5 of float64."""
    check_dtype(s, jnp.float32, 1e-5)


@column("Dtypes", "bfloat16")
def bfloat16(s):
    """All that comes out is bfloat16, the gradient too, within 0.1 of float64."""
    check_dtype(s, jnp.bfloat16, 0.1)


@column("Dtypes", "float16")
def float16(s):
    """All that comes out is float16, the gradient too, within 0.01 of float64."""
    check_dtype(s, jnp.float16, 0.01)


@column("Dtypes", "mixed")
def mixed(s):
    """A bfloat16 input with float32 parameters and state: what comes out is float32, and exact."""
    params, state, x = arguments(s)
    x = of_type(x, jnp.bfloat16)
    outputs, gradient = jax.jit(differentiated(s.call))(*of_type((params, state), jnp.float32), x)
    assert dtypes((outputs, gradient[:2])) == {"float32"}, "wrong dtype"
    wanted, known = plain(s)(params, state, of_type(x, float))
    assert_close(outputs, wanted, 1e-5)
    assert_close(gradient[:2], known[:2], 1e-5)
    assert gradient[2].dtype == jnp.bfloat16, "wrong dtype"


@column("Dtypes", "integers")
def integers(s):
    """An input of integers: taken as the same numbers in floating point, or refused."""
    params, state, x = arguments(s)
    x = np.round(3 * x).astype(int)
    assert_close(s.call(params, state, x), s.call(params, state, x.astype(float)))


@column("Shapes", "batch 0")
def batch_0(s):
    """No rows: empty outputs of the right shapes, and a gradient of zeros."""
    shapes = [(0, *leaf.shape[1:]) for leaf in jax.tree.leaves(reference(s).outputs)]
    outputs, (of_params, *_) = differentiated(s.call)(*arguments(s, (0,)))
    assert [leaf.shape for leaf in jax.tree.leaves(outputs)] == shapes, "wrong shape"
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(of_params)), "wrong gradient"


@column("Shapes", "T = 0")
def t_0(s):
    """No steps: the state comes back as it was, and the parameters' gradient is zero."""
    params, state, x = arguments(s, steps=0)
    outputs, (of_params, *_) = differentiated(s.call)(params, state, x)
    known = [leaf.shape for leaf in jax.tree.leaves(reference(s).outputs)]
    outputs, given = jax.tree.leaves(outputs), jax.tree.leaves(state)
    assert [leaf.ndim for leaf in outputs] == [len(shape) for shape in known], "wrong shape"
    for leaf in outputs:
        assert leaf.size == 0 or any(np.array_equal(leaf, one) for one in given), "wrong state"
    assert any(leaf.size == 0 for leaf in outputs), "wrong shape"
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(of_params)), "wrong gradient"


@column("Shapes", "T = 1")
def t_1(s):
    """One step: outputs and gradient."""
    args = arguments(s, steps=1)
    assert_close(compiled(s)(*args), plain(s)(*args))


@column("Shapes", "no batch")
def no_batch(s):
    """No batch axis: as the only row of a batch."""
    params, *row = arguments(s, ())
    batch = jax.tree.map(lambda leaf: leaf[None], row)
    outputs = s.call(params, *row)
    if s.key:  # another shape is other random numbers
        assert_close(outputs, s.plain(params, *row))
    else:
        wanted = s.plain(params, *batch)
        assert_close(outputs, jax.tree.map(lambda leaf: leaf[0], wanted))


@column("Shapes", "two batch axes")
def two_batch_axes(s):
    """Two batch axes: as one of all rows."""
    params, *rows = arguments(s, (3, B))
    batch = jax.tree.map(lambda leaf: leaf.reshape(3 * B, *leaf.shape[2:]), rows)
    outputs = s.call(params, *rows)
    if s.key:
        assert_close(outputs, s.plain(params, *rows))
    else:
        wanted = s.plain(params, *batch)
        assert_close(
            outputs, jax.tree.map(lambda leaf: leaf.reshape(3, B, *leaf.shape[1:]), wanted)
        )


@column("Shapes", "strided NumPy")
def strided(s):
    """NumPy arrays that are not contiguous, read-only: the same bits."""
    args = arguments(s)

    def scattered(leaf):
        spread = np.repeat(leaf, 2, axis=-1)[..., ::-2][..., ::-1]
        spread.flags.writeable = False
        assert leaf.shape[-1] == 1 or not spread.flags.c_contiguous
        return spread

    assert_equal(s.call(*jax.tree.map(scattered, args)), s.call(*args))


def check_under(setting, s):
    """Outputs and gradient, compiled anew, under a setting of JAX."""
    known = reference(s)  # made without it
    with setting:
        result = jax.jit(differentiated(s.call))(*known.args)
    assert_close(result, (known.outputs, known.gradient))


@column("Checks", "key reuse")
def key_reuse(s):
    """`jax.debug_key_reuse(True)`: no random key is used twice."""
    check_under(jax.debug_key_reuse(True), s)


@column("Checks", "debug_nans")
def debug_nans(s):
    """`jax.debug_nans(True)`: no NaN arises on the way."""
    check_under(jax.debug_nans(True), s)


@column("Checks", "leaks")
def leaks(s):
    """`jax.checking_leaks()`: no traced value outlives its trace."""
    check_under(jax.checking_leaks(), s)


@column("Checks", "strict dtypes")
def strict_dtypes(s):
    """`jax.numpy_dtype_promotion("strict")`, float32 where float64 is the default."""
    with jax.numpy_dtype_promotion("strict"):
        check_dtype(s, jnp.float32, 1e-5)


@column("Checks", "strict ranks")
def strict_ranks(s):
    """`jax.numpy_rank_promotion("raise")`."""
    check_under(jax.numpy_rank_promotion("raise"), s)


@column("Checks", "one trace")
def one_trace(s):
    """A second call with other numbers of the same shapes traces and compiles nothing."""
    s.call(*jax.tree.map(jnp.asarray, arguments(s)))
    again = jax.tree.map(jnp.asarray, arguments(s, seed=1))
    with compilations() as counted:
        outputs = s.call(*again)
    assert counted == [], "wrong: it traces again"
    assert_close(outputs, plain(s)(*again)[0])


@contextlib.contextmanager
def compilations():
    """Yields a list that grows by one for everything that JAX traces or compiles."""
    counted = []

    def count(event, duration, **_):
        if event.startswith("/jax/core/compile/"):
            counted.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    yield counted
    jax.monitoring.unregister_event_duration_listener(count)
