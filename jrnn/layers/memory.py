"""How much memory a layer's gradient will take."""

import functools
import math
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell, Params, check_cell
from jrnn.layers.arguments import layout
from jrnn.layers.recurrent import TimeOptions, run_loop
from jrnn.scan.memory import gradient_bytes


class MemoryPlan(NamedTuple):
    """Bytes that the gradient of a layer takes besides its arguments and results."""

    kept: int  # from the forward pass until the gradient has been there
    working: int  # what the way back is busy with, at most at one time
    outputs: int  # those of all steps, if they are returned; their cotangents take as much
    total: int  # the most at one time: less than the sum where the loss is done with the outputs


def memory_plan(cell: Cell, params: Params, xs: Any, **options: Unpack[TimeOptions]) -> MemoryPlan:
    """Returns the bytes that the gradient of ``rnn(cell, params, xs, **options)`` will take.

    What is kept is ``T * state``, or ``T / k * state`` with ``checkpoint=k``, and a copy of ``xs``
    where time is not its first axis or some steps do not count. Nothing is computed. Of 16-bit
    computations XLA's CPU backend makes wider copies that the plan does not know of.

    Args:
        cell: As for ``rnn``.
        params: Arrays, or ``jax.ShapeDtypeStruct`` in their places.
        xs: Likewise.
        **options: As for ``rnn``; of arrays, such as ``mask``, the shapes will do.

    Returns:
        ``MemoryPlan(kept, working, outputs, total)``, in bytes.

    Raises:
        ValueError: As in ``rnn``.

    Source: XLA's ``memory_analysis()``, with which the tests compare it.
    """
    check_cell("jrnn.memory_plan", cell)
    feature_ndim = getattr(cell, "feature_ndim", 1)
    shapes = {name: value for name, value in options.items() if _holds_shapes(value)}
    known = {name: value for name, value in options.items() if name not in shapes}
    measured = functools.partial(run_loop, gradient_bytes, cell, feature_ndim, **known)
    found, _ = jax.eval_shape(measured, params, xs, **shapes)
    copy = _copied_bytes(jax.tree.leaves(xs), feature_ndim, found.slices, options)
    return MemoryPlan(found.kept + copy, found.working, found.outputs, found.total + copy)


def _holds_shapes(option: Any) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(option))


def _copied_bytes(arrays: list, feature_ndim: int, slices: bool, options: TimeOptions) -> int:
    """Returns the bytes of the copy of its input that the loop goes over, if it is one.

    The dtype is changed, time brought to the front, what does not count set to zero; and to go
    over a single row, other than to cut slices out of it, XLA wants another layout.
    """
    time_major = options.get("time_major", False)
    _, batch, _ = layout(arrays, feature_ndim, time_major)
    dtype = options.get("dtype")
    given = [jax.dtypes.canonicalize_dtype(leaf.dtype) for leaf in arrays]
    dtypes = [
        jnp.dtype(dtype) if dtype is not None and jnp.issubdtype(own, jnp.floating) else own
        for own in given
    ]
    is_copied = (
        dtypes != given
        or options.get("mask") is not None
        or options.get("lengths") is not None
        or (math.prod(batch) == 1 and not slices)
        or (batch and not time_major)
    )
    sizes = [leaf.size * own.itemsize for leaf, own in zip(arrays, dtypes, strict=True)]
    return sum(sizes) if is_copied else 0
