"""What callers hand to ``rnn``, checked."""

import numbers
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jrnn.cells.base import Cell
from jrnn.cells.noise import draws
from jrnn.scan import IMPLEMENTATIONS, Checkpoint


def layout(xs: Any, feature_ndim: int, time_major: bool) -> tuple[int, tuple[int, ...], int]:
    """Returns the time axis, the batch axes' sizes and the number of steps."""
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise ValueError("jrnn.rnn: xs holds no array, but the number of steps is read off it")
    widest = max(leaves, key=lambda leaf: leaf.ndim)
    batch_ndim = widest.ndim - feature_ndim - 1
    if batch_ndim < 0:
        raise ValueError(
            f"jrnn.rnn: xs has shape {widest.shape}, but [..., T, F] with {feature_ndim} feature "
            "axes is needed; add the missing axis (for one step, call the cell itself)"
        )
    axis = 0 if time_major else batch_ndim
    batch = widest.shape[1 : batch_ndim + 1] if time_major else widest.shape[:batch_ndim]
    steps = widest.shape[axis]
    leading = (steps, *batch) if time_major else (*batch, steps)
    for leaf in leaves:
        if leaf.shape[: len(leading)] != leading:
            raise ValueError(
                f"jrnn.rnn: xs has leaves of shapes {widest.shape} and {leaf.shape}, but all need "
                f"the leading axes {leading}"
            )
    return axis, batch, steps


def check_options(unroll: int, masked_output: str, implementation: str, **switches: Any) -> None:
    """Raises ``ValueError`` for an option that is none; ``switches`` are True or False."""
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(
                f"jrnn.rnn: {name} is a {type(value).__name__}, but True or False is needed; it "
                "chooses the program, so that an array, whose value may be traced, cannot say it"
            )
    if implementation == "cudnn":
        raise ValueError(
            "jrnn.rnn: implementation is 'cudnn', but only jrnn.lstm has that; call jrnn.lstm or "
            "use implementation='auto'"
        )
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"jrnn.rnn: implementation is {implementation!r}, but one of {IMPLEMENTATIONS} is "
            "needed"
        )
    if not isinstance(unroll, numbers.Integral) or isinstance(unroll, bool) or unroll < 1:
        raise ValueError(f"jrnn.rnn: unroll is {unroll!r}, but a positive integer is needed")
    if masked_output not in ("zero", "repeat"):
        raise ValueError(
            f"jrnn.rnn: masked_output is {masked_output!r}, but 'zero' or 'repeat' is needed"
        )


def check_key(key: Any, cell: Cell) -> None:
    """Raises ``ValueError`` if there is a key for a cell that draws nothing, or it is none."""
    if key is None:
        return
    if not draws(cell):
        raise ValueError(
            f"jrnn: key is given, but {type(cell).__name__} draws nothing; wrap the cell, as in "
            "DropoutCell(LSTMCell(), dropout=0.1), or leave the key out"
        )
    dtype, shape = getattr(key, "dtype", None), jnp.shape(key)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (shape == () if typed else dtype == jnp.uint32 and len(shape) == 1):
        what = type(key).__name__ if dtype is None else f"{dtype} of shape {shape}"
        raise ValueError(f"jrnn: key is {what}, but one key is needed: jax.random.key(0)")


def check_checkpoint(checkpoint: Checkpoint, steps: Any) -> None:
    """Raises ``ValueError`` for what is none, or where it cannot be known what it comes to."""
    if checkpoint is None:
        return
    number: Any = 1 if isinstance(checkpoint, str) and checkpoint == "sqrt" else checkpoint
    if not isinstance(number, numbers.Integral) or isinstance(number, bool) or number < 1:
        raise ValueError(
            f"jrnn.rnn: checkpoint is {checkpoint!r}, but None, 'sqrt' or a positive number of "
            "steps is needed"
        )
    if not isinstance(steps, int):
        raise ValueError(
            f"jrnn.rnn: checkpoint is {checkpoint!r}, but the number of steps is not known; use "
            "checkpoint=None"
        )


def cast(tree: Any, dtype: DTypeLike) -> Any:
    """Returns the tree with its floating-point arrays in another floating-point dtype."""
    try:
        floating = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ValueError(
            f"jrnn.rnn: dtype is {dtype!r}, but a floating-point dtype is needed, such as "
            "jnp.bfloat16, or None"
        )

    def one(leaf):
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)


def check_lengths(
    lengths: Any, batch: tuple[int, ...], steps: int, what: str = "jrnn.rnn: lengths"
) -> None:
    """Checks the shape always, and the values where this process knows all of them."""
    if lengths is None:
        return
    if any(isinstance(length, jax.core.Tracer) for length in jax.tree.leaves(lengths)):
        lengths = jnp.asarray(lengths)
    elif not isinstance(lengths, jax.Array):
        lengths = np.asarray(lengths) if np.size(lengths) else np.zeros(np.shape(lengths), int)
    if lengths.shape != batch or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"{what} is {lengths.dtype} of shape {lengths.shape}, but integers of "
            f"shape {batch} are needed, one per row of xs"
        )
    if isinstance(lengths, jax.core.Tracer) or lengths.size == 0 or not isinstance(steps, int):
        return
    if isinstance(lengths, jax.Array) and not lengths.is_fully_addressable:
        return
    known = np.asarray(lengths)  # under jit the minimum even of a known JAX array is traced
    low, high = int(known.min()), int(known.max())
    if low < 0 or high > steps:
        raise ValueError(f"{what} range from {low} to {high}, but xs has {steps} steps; clip them")


def flags(name: str, flags: Any, expected: tuple[int, ...]) -> jax.Array | None:
    """Returns a mask as an array of the shape that the input needs."""
    if flags is None:
        return None
    flags = jnp.asarray(flags)
    if flags.shape != expected:
        raise ValueError(
            f"jrnn.rnn: {name} has shape {flags.shape}, but xs needs {expected}, one per step"
        )
    return flags
