"""What cells share that draw random numbers: who draws, and noise that knows its step.

Noise of a step is a function of a row's key and of how many steps the row has done. The keys ride
in the parameters, the number in the state, so that a sequence in pieces has the same noise.
"""

import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.cells.base import Params
from jrnn.cells.meshes import split_as


class Clock(NamedTuple):
    """How many steps each row has done.

    A step that does not count leaves it as it is, like all of a state. A reset does, too: or else
    every sequence packed into a row would have the same noise.
    """

    steps: jax.Array  # int32 [...]


class ClockedState(NamedTuple):
    """State of a cell whose noise is drawn anew at each step."""

    state: Any  # the inner cell's
    clock: Clock


def draws(cell: Any) -> bool:
    """Returns whether a cell draws random numbers in training: it has ``draw``.

    A cell that draws only if a cell inside does says so by ``is_random``.
    """
    return hasattr(cell, "draw") and getattr(cell, "is_random", True)


def drawn(cell: Any, key: jax.Array, params: Params, x: Any) -> Params:
    """Returns the parameters with what the cell draws, if it draws anything."""
    return cell.draw(key, params, x) if draws(cell) else params


def make_rates(cell: Any, *names: str) -> None:
    """Makes a new cell's rates Python's floats; raises ``ValueError`` unless they are 0 to 1."""
    for name in names:
        rate = getattr(cell, name)
        if (
            not isinstance(rate, numbers.Real)
            or isinstance(rate, bool)
            or not 0 <= float(rate) <= 1
        ):
            raise ValueError(
                f"{type(cell).__name__}: {name} is {rate!r}, but a number from 0 to 1 is needed"
            )
        # NumPy's would widen 16-bit arrays that they multiply.
        object.__setattr__(cell, name, float(rate))


def undrawn(params: Any, *drawn_types: type) -> Params:
    """Returns the inner cell's parameters: those inside if ``params`` hold what was drawn."""
    return params.params if isinstance(params, drawn_types) else params


def start(xs: Any, feature_ndim: int) -> Clock:
    """Returns the clock before the first step, for inputs [..., *features]."""
    x = jnp.asarray(jax.tree.leaves(xs)[0])
    # Zeros of a column of x, not of a shape: so its sharding and varying axes follow.
    return Clock(jnp.zeros_like(x[(..., *[0] * feature_ndim)], dtype=jnp.int32))


def tick(clock: Clock) -> Clock:
    """Returns the clock one step later."""
    return Clock(clock.steps + 1)


def row_keys(key: jax.Array, x: Any, feature_ndim: int) -> jax.Array:
    """Returns a key for each row of one step's input ``x`` [..., *features]."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    zeros = start(x, feature_ndim).steps[..., None].astype(jnp.uint32)
    data = jax.random.key_data(jax.random.split(key, zeros.shape[:-1]))
    # With zeros made from x the keys are sharded as x is, and vary over the axes that x does.
    return jax.random.wrap_key_data(data + zeros, impl=jax.random.key_impl(key))


def kept_now(keys: jax.Array, clock: Clock, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Returns booleans [..., *shape], false with probability ``rate``, of each row at its step."""

    def of_row(key, step):
        return jax.random.bernoulli(jax.random.fold_in(key, step), 1 - rate, shape)

    steps = split_as(clock.steps, keys)
    for _ in range(steps.ndim):
        of_row = jax.vmap(of_row)
    return of_row(keys, steps)


def float_type(*trees: Any) -> Any:
    """Returns the dtype of what floating-point arrays of trees make together."""
    leaves = [leaf for leaf in jax.tree.leaves(trees) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.result_type(*leaves)
