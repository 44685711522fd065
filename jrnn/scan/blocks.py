"""Time in blocks: one long loop as a loop over blocks of steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Plan(NamedTuple):
    """How a loop runs: what it computes does not depend on it."""

    reverse: bool = False  # from the last step to the first: this alone is part of the result
    unroll: int = 1  # steps for each iteration
    block: int | None = 1  # how many steps' inputs are projected at once; None: all, 1: in the loop
    gradient_block: int | None = None  # how many steps' derivatives are computed at once
    save_products: bool = (
        False  # keep each step's products for the gradient: more memory, less work
    )
    segment: int | None = None  # of so many steps the gradient keeps the first state; None: all


class Blocks(NamedTuple):
    """``number`` blocks of ``size`` steps, and ``rest`` steps at the end of time."""

    size: int
    number: int
    rest: int


def split_steps(steps: int, size: int | None) -> Blocks:
    """Returns blocks of at most ``size`` steps, without a rest where a near divisor allows it."""
    if size is None:
        return Blocks(steps, 1, 0)
    size = max(1, min(size, steps))
    for candidate in range(size, max(size // 2, 1) - 1, -1):
        if steps % candidate == 0:
            return Blocks(candidate, steps // candidate, 0)
    return Blocks(size, steps // size, steps % size)


def over_blocks(
    one_block: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    xs: Any,
    blocks: Blocks,
    reverse: bool,
) -> tuple[Any, Any]:
    """Runs ``one_block(state, xs of a block) -> (state, ys)`` over all blocks, ys end to end."""
    if blocks.number == 1 and not blocks.rest:
        return one_block(state, xs)
    main = blocks.size * blocks.number

    def main_blocks(state):
        split = jax.tree.map(
            lambda x: x[:main].reshape(blocks.number, blocks.size, *x.shape[1:]), xs
        )
        state, ys = jax.lax.scan(one_block, state, split, reverse=reverse)
        return state, jax.tree.map(lambda y: y.reshape(main, *y.shape[2:]), ys)

    def rest(state):
        return one_block(state, jax.tree.map(lambda x: x[main:], xs))

    if not blocks.rest:
        return main_blocks(state)
    if reverse:
        state, late = rest(state)
        state, early = main_blocks(state)
    else:
        state, early = main_blocks(state)
        state, late = rest(state)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), early, late)
