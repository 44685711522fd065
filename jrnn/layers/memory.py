"""How much memory a layer's gradient will take."""

import functools
import math
from typing import Any, NamedTuple, Unpack

import jax

from jrnn.cells.base import Cell, Params, check_cell
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
    where time is not its first axis or some steps do not count. Nothing is computed.

    Args:
        cell: As for ``rnn``.
        params: Arrays, or ``jax.ShapeDtypeStruct`` in their places.
        xs: Likewise.
        **options: As for ``rnn``.

    Returns:
        ``MemoryPlan(kept, working, outputs, total)``, in bytes.

    Raises:
        ValueError: As in ``rnn``.

    Source: XLA's ``memory_analysis()``, with which the tests compare it.
    """
    check_cell("jrnn.memory_plan", cell)
    feature_ndim = getattr(cell, "feature_ndim", 1)
    measured = functools.partial(run_loop, gradient_bytes, cell, feature_ndim, **options)
    found, _ = jax.eval_shape(measured, params, xs)
    copies = _bytes(xs) if _copied(jax.tree.leaves(xs)[0].shape, feature_ndim, options) else 0
    return MemoryPlan(found.kept + copies, found.working, found.outputs, found.total + copies)


def _copied(shape: tuple[int, ...], feature_ndim: int, options: TimeOptions) -> bool:
    """Returns whether the loop goes over a copy of its input.

    Time is brought to the front, what does not count is set to zero, and XLA wants a single row in
    another layout.
    """
    if options.get("mask") is not None or options.get("lengths") is not None:
        return True
    batch = len(shape) - feature_ndim - 1
    rows = shape[1 : batch + 1] if options.get("time_major", False) else shape[:batch]
    return math.prod(rows) == 1 or (batch > 0 and not options.get("time_major", False))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
