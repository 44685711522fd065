"""Truncated backpropagation through time: gradients that end at the borders of chunks."""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import State, check_sizes, check_structure, narrowed, wide
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
    one chunk at a time. Values and gradients of 16 bits are added up in float32, and rounded at
    the end. The state that is returned goes into the next call, for batches that continue one
    another.

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
        (true or false) starts some of them, and the others go on from ``state``. True or False
        alone is for all rows, or for the one row of a state without a batch axis.

    Raises:
        ValueError: If ``loss`` or ``initial_state`` is no function, ``chunk`` no positive integer
            or ``time_axis`` no integer; ``run`` raises it if ``params`` has integers, the arrays
            of the batch differ in their number of steps or have none, ``reset`` is given without a
            state, ``reset`` or ``initial_state(params)`` does not fit it, the loss does not return
            a floating-point number and a state, or a chunk returns another form of state than it
            got from the one before.

    Source: Williams and Peng, 1990, *An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories*.
    """
    _check_choices(loss, chunk, time_axis, initial_state)

    def run(params, state, batch, reset=None):
        _check_call(params, state, reset)
        steps = _steps(batch, time_axis)
        size = min(chunk, steps)
        carried = None if state is None else jax.lax.stop_gradient(state)

        def first(params, state, part):
            return loss(params, _start(params, state, reset, initial_state), part)

        def differentiated(loss, state, part):
            return jax.value_and_grad(_checked(loss), has_aux=True)(params, state, part)

        def add(total, state, part):
            (value, state), gradient = differentiated(loss, state, part)
            return _sum(total, (value, gradient), _steps(part, time_axis) / steps), state

        (value, state), gradient = differentiated(first, carried, _cut(batch, 0, size, time_axis))
        parts = value, gradient
        total = jax.tree.map(lambda leaf: leaf * (size / steps), wide(parts))
        total, state = _over_later_chunks(add, total, state, batch, size, time_axis)
        value, gradient = jax.tree.map(lambda one, like: narrowed(one, like.dtype), total, parts)
        return (value, jax.lax.stop_gradient(state)), gradient

    return run


def _over_later_chunks(add, total: Any, state: State, batch: Any, size: int, axis: int) -> Any:
    """Returns ``total, state = add(total, state, part)`` after every chunk but the first."""

    def body(carry, number):
        part = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number * size, size, axis), batch
        )
        total, state = add(*carry, part)
        _check_same_form(carry[1], state)
        return (total, state), None

    steps = _steps(batch, axis)
    whole = steps // size
    if whole > 1:
        (total, state), _ = jax.lax.scan(body, (total, state), jnp.arange(1, whole))
    if whole * size < steps:
        total, state = add(total, state, _cut(batch, whole * size, steps, axis))
    return total, state


def _checked(loss: Loss) -> Loss:
    """Returns the loss; what it returns is checked before JAX differentiates it."""

    def checked(params, state, part):
        result = loss(params, state, part)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise ValueError(
                f"jrnn.truncated_bptt: loss returns {_forms(result)}, but (value, state) is "
                "needed; return the state after the last step too, None if there is none"
            )
        value, state = result
        form = _forms(value)
        if getattr(form, "shape", None) != () or not jnp.issubdtype(form.dtype, jnp.floating):
            raise ValueError(
                f"jrnn.truncated_bptt: loss returns the value {form}, but one floating-point "
                "number is needed, such as its mean"
            )
        return jnp.asarray(value), state

    return checked


def _forms(tree: Any) -> Any:
    """Returns the tree with shape and dtype for each array."""
    return jax.tree.map(jax.typeof, tree)


def _check_same_form(before: State, after: State) -> None:
    """Raises ``ValueError`` unless one chunk's state can be the next one's in a ``lax.scan``."""
    before, after = _forms(before), _forms(after)
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=False)
    if jax.tree.structure(before) != jax.tree.structure(after) or any(
        # scan gives a weak type the dtype that is needed
        old.shape != new.shape or (old.dtype != new.dtype and not old.weak_type)
        for old, new in pairs
    ):
        raise ValueError(
            f"jrnn.truncated_bptt: loss takes the state {before} of the chunk before and returns "
            f"{after}, but one form is needed; keep its structure, shapes and dtypes"
        )


def _check_choices(loss: Any, chunk: Any, time_axis: Any, initial_state: Any) -> None:
    check_sizes("jrnn.truncated_bptt", chunk=chunk)
    if not isinstance(time_axis, numbers.Integral) or isinstance(time_axis, bool):
        raise ValueError(
            f"jrnn.truncated_bptt: time_axis is {time_axis!r}, but an integer is needed, such as 1"
        )
    if not callable(loss):
        raise ValueError(
            f"jrnn.truncated_bptt: loss is a {type(loss).__name__}, but a function is needed that "
            "takes params, state and a part of the batch and returns (value, state)"
        )
    if initial_state is not None and not callable(initial_state):
        raise ValueError(
            f"jrnn.truncated_bptt: initial_state is a {type(initial_state).__name__}, but a "
            "function from params to a state is needed, such as lambda params: params['start']"
        )


def _check_call(params: Any, state: State | None, reset: ArrayLike | None) -> None:
    for path, leaf in jax.tree.leaves_with_path(params):
        dtype = jax.typeof(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(
                f"jrnn.truncated_bptt: params{jax.tree_util.keystr(path)} has dtype {dtype}, but a "
                "floating-point dtype is needed; what is not trained goes into the loss itself"
            )
    if reset is not None and state is None:
        raise ValueError(
            "jrnn.truncated_bptt: reset is given, but state is None, which starts all rows; "
            "give the state of the batch before, or leave reset out"
        )


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
    return jax.tree.map(lambda one, other: one + other * share, total, wide(parts))


def _start(params: Any, carried: State | None, reset: ArrayLike | None, initial_state) -> State:
    """Returns what the first chunk starts from."""
    if carried is None:
        return None if initial_state is None else initial_state(params)
    if reset is None:
        return carried
    reset = jnp.asarray(reset).astype(bool)
    carried = jax.tree.map(jnp.asarray, carried)

    def chosen(old, new):
        if isinstance(old, Clock):  # it runs on, so that no noise comes twice
            return old
        if reset.shape != old.shape[: reset.ndim]:
            raise ValueError(
                f"jrnn.truncated_bptt: reset has shape {reset.shape}, but the state has an array "
                f"of shape {old.shape}; one flag for each row, and rows in every array, are needed"
            )
        pairs = zip(jnp.shape(new)[::-1], old.shape[::-1], strict=False)
        if jnp.ndim(new) > old.ndim or any(got not in (1, needed) for got, needed in pairs):
            raise ValueError(
                f"jrnn.truncated_bptt: initial_state(params) has an array of shape "
                f"{jnp.shape(new)}, but the state has one of shape {old.shape}; what a row starts "
                "from is needed, or all rows"
            )
        flags = reset.reshape(*reset.shape, *[1] * (old.ndim - reset.ndim))
        return jnp.where(flags, jnp.broadcast_to(new, old.shape).astype(old.dtype), old)

    if initial_state is None:
        fresh = jax.tree.map(jnp.zeros_like, carried)
    else:
        fresh = initial_state(params)
        check_structure("jrnn.truncated_bptt: initial_state(params)", fresh, carried)
    return jax.tree.map(chosen, carried, fresh, is_leaf=lambda node: isinstance(node, Clock))
