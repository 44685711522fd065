"""Columns of the contract grid: rows of unlike lengths, and no state given."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.cases import assert_close
from tests.contract.inputs import dtypes
from tests.contract.reference import column, differentiated, of_type, plain
from tests.contract.subjects import T, arguments, counting

LENGTHS = (T, 1, T - 1)


def leaves_of(final, rows):
    """What is compared: the final state, and of each row the outputs of its own steps."""
    return jax.tree.leaves(final), rows


def unpadded(s, lengths):
    """Each row cut to its own length."""

    def call(params, state, x):
        untouched = counting(lambda params, state, x: state, s.shapes[1])(params, state, x)
        finals, rows = [], []
        for k, length in enumerate(lengths):
            final, ys = untouched, None
            if length:
                cut = jax.lax.slice_in_dim(x, 0, length, axis=s.time_axis % x.ndim)
                final, ys = s.plain(params, state, cut)
            finals.append([leaf[k] for leaf in jax.tree.leaves(final)])
            rows += [] if ys is None else [ys[k]]
        return leaves_of([jnp.stack(leaves) for leaves in zip(*finals, strict=True)], rows)

    return call


def padded(s, lengths):
    """All rows at once, with lengths."""

    def call(params, state, x):
        final, ys = s.padded(params, state, x, np.array(lengths, np.int32))
        return leaves_of(final, [ys[k, :length] for k, length in enumerate(lengths) if length])

    return call


def check_lengths(s, lengths, filling=None):
    """Outputs and gradient of the padded rows are those of the rows alone."""
    params, state, x = arguments(s, (len(lengths),))
    known = jax.jit(differentiated(unpadded(s, lengths)))(params, state, x)
    if filling is not None:
        x = x.copy()  # what was dispatched may still be reading
        for k, length in enumerate(lengths):
            x[k, length:] = filling
    assert_close(jax.jit(differentiated(padded(s, lengths)))(params, state, x), known)


@column("Padding", "lengths")
def lengths(s):
    """Rows of unlike lengths in one batch: final states, each row's own outputs, the gradient."""
    check_lengths(s, LENGTHS)


@column("Padding", "length 0")
def length_0(s):
    """A row of length 0 among others: it keeps its state."""
    check_lengths(s, (T - 1, 0))


@column("Padding", "NaN padding")
def nan_padding(s):
    """Padding of NaN, which must reach neither values nor gradients."""
    check_lengths(s, LENGTHS, np.nan)


def from_zeros(s, state):
    """The plain computation from a state of zeros, of params and x."""

    def call(params, x, _):
        return s.plain(params, jax.tree.map(jnp.zeros_like, state), x)

    return call


def without_state(s):
    """The call with no state given, of three arguments as ``differentiated`` needs them."""
    return lambda params, x, _: s.fresh(params, x)


@column("Padding", "no state")
def no_state(s):
    """No state is given: zeros; outputs and gradient."""
    params, state, x = arguments(s)
    result = jax.jit(differentiated(without_state(s)))(params, x, 0.0)
    assert_close(result, jax.jit(differentiated(from_zeros(s, state)))(params, x, 0.0))


@column("Dtypes", "no state, bfloat16")
def no_state_bfloat16(s):
    """No state is given and all is bfloat16: so is all that comes out, within 0.1 of float64."""
    params, state, x = of_type(arguments(s), jnp.bfloat16)
    outputs, gradient = jax.jit(differentiated(without_state(s)))(params, x, 0.0)
    assert dtypes((outputs, gradient[:2])) == {"bfloat16"}, "wrong dtype"
    known, _ = plain(s)(*of_type((params, jax.tree.map(jnp.zeros_like, state), x), float))
    assert_close(of_type(outputs, float), known, 0.1)
