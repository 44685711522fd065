"""Truncated backpropagation through time: gradients that end at the borders of chunks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import State, check_sizes, check_structure
from jrnn.cells.noise import Clock

Loss = Callable[[Any, State, Any], tuple[jax.Array, State]]


def truncated_bptt(
    loss: Loss,
    *,
    chunk: int,
    time_axis: int = 1,
    initial_state: Callable[[Any], State] | None = None,
) -> Callable[..., tuple[tuple[jax.Array, State], Any]]:
    """Returns a function like ``jax.value_and_grad(loss)`` that goes back ``chunk`` steps at most.

    ``run(params, state, batch, reset=None)`` returns ``((value, state), gradient)`` and equals::

        state = where(reset, initial_state(params), state)
        for part in batch cut into chunks along time:
            (one, state), g = jax.value_and_grad(loss, has_aux=True)(params, state, part)
            value, gradient = value + share * one, gradient + share * g   # share: its part of T

    so that a loss that is a mean over steps gives the mean over all of them. Each chunk starts
    where the one before it ended, by value: no gradient crosses the border. Residuals are kept for
    one chunk at a time. The state that is returned goes into the next call, for batches that
    continue one another.

    Args:
        loss: ``loss(params, state, part) -> (value, state)``, of anything that has a state: a call
            of ``rnn(..., initial_state=state)`` as a rule, and what is made of its outputs.
            ``params`` is any pytree of floating-point arrays.
        chunk: How many steps a chunk has; the last may have fewer.
        time_axis: Of the arrays of the batch, any pytree.
        initial_state: ``initial_state(params) -> state``, with leaves [B, U] or broadcastable to
            that: what a row starts from. The gradient flows through it, so that it can be learned.
            None for the cell's own start, and for zeros where ``reset`` asks for it.

    Returns:
        ``run(params, state, batch, reset=None)``. ``state`` None starts all rows; ``reset`` [B]
        (true or false) starts some of them, and the others go on from ``state``.

    Raises:
        ValueError: If ``chunk`` is no positive integer, the arrays of the batch differ in their
            number of steps or have none, ``reset`` is given without a state or does not fit it.

    Source: Williams and Peng, 1990, *An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories*.
    """
    check_sizes("jrnn.truncated_bptt", chunk=chunk)
    if initial_state is not None and not callable(initial_state):
        raise ValueError(
            f"jrnn.truncated_bptt: initial_state is a {type(initial_state).__name__}, but a "
            "function from params to a state is needed, such as lambda params: params['start']"
        )

    def run(params, state, batch, reset=None):
        steps = _steps(batch, time_axis)
        carried = None if state is None else jax.lax.stop_gradient(state)
        if reset is not None and state is None:
            raise ValueError(
                "jrnn.truncated_bptt: reset is given, but state is None, which starts all rows; "
                "give the state of the batch before, or leave reset out"
            )

        def first(params, part):
            return loss(params, _start(params, carried, reset, initial_state), part)

        def differentiated(loss, *args):
            return jax.value_and_grad(loss, has_aux=True)(params, *args)

        def add(total, state, part):
            (value, state), gradient = differentiated(loss, state, part)
            share = _steps(part, time_axis) / steps
            return _sum(total, (value, gradient), share), state

        size = min(chunk, steps)
        (value, state), gradient = differentiated(first, _cut(batch, 0, size, time_axis))
        total = jax.tree.map(lambda leaf: leaf * (size / steps), (value, gradient))

        def body(carry, number):
            total, state = carry
            part = jax.tree.map(
                lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number * size, size, time_axis),
                batch,
            )
            return add(total, state, part), None

        whole = steps // size
        if whole > 1:
            (total, state), _ = jax.lax.scan(body, (total, state), jnp.arange(1, whole))
        if whole * size < steps:
            total, state = add(total, state, _cut(batch, whole * size, steps, time_axis))
        value, gradient = total
        return (value, jax.lax.stop_gradient(state)), gradient

    return run


def _steps(batch: Any, axis: int) -> int:
    """Returns how many steps the arrays of the batch have, all of them."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if any(not -len(shape) <= axis < len(shape) for shape in shapes):
        raise ValueError(
            f"jrnn.truncated_bptt: the batch's arrays have shapes {shapes}, but all need time as "
            f"axis {axis}"
        )
    sizes = {shape[axis] for shape in shapes}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"jrnn.truncated_bptt: the batch's arrays have {sorted(sizes)} steps on axis {axis}, "
            "but one number above 0 is needed"
        )
    return sizes.pop()


def _cut(batch: Any, start: int, stop: int, axis: int) -> Any:
    return jax.tree.map(
        lambda leaf: jax.lax.slice_in_dim(jnp.asarray(leaf), start, stop, axis=axis), batch
    )


def _sum(total: Any, parts: Any, share: float) -> Any:
    return jax.tree.map(lambda one, other: one + other * share, total, parts)


def _start(params: Any, carried: State | None, reset: ArrayLike | None, initial_state) -> State:
    """Returns what the first chunk starts from."""
    if carried is None:
        return None if initial_state is None else initial_state(params)
    if reset is None:
        return carried
    reset = jnp.asarray(reset).astype(bool)

    def chosen(old, new):
        if isinstance(old, Clock):  # it runs on, so that no noise comes twice
            return old
        if reset.shape != old.shape[: reset.ndim]:
            raise ValueError(
                f"jrnn.truncated_bptt: reset has shape {reset.shape}, but the state has an array "
                f"of shape {old.shape}; one flag for each row, and rows in every array, are needed"
            )
        flags = reset.reshape(*reset.shape, *[1] * (old.ndim - reset.ndim))
        return jnp.where(flags, jnp.broadcast_to(new, old.shape).astype(old.dtype), old)

    fresh = carried if initial_state is None else initial_state(params)
    check_structure("jrnn.truncated_bptt: initial_state(params)", fresh, carried)
    if initial_state is None:
        fresh = jax.tree.map(jnp.zeros_like, carried)
    return jax.tree.map(chosen, carried, fresh, is_leaf=lambda node: isinstance(node, Clock))
