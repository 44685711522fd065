"""Time in blocks: one long loop as a loop over blocks of steps."""

import functools
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


Results = tuple[Any, Any]  # the state after some steps, and their ys
OneBlock = Callable[[Any, Any], Results]  # of the state before a block, and the block's xs


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


def segments_of(steps: int, size: int) -> Blocks:
    """Returns blocks of ``size`` steps, and what is left."""
    size = max(1, min(size, steps))
    return Blocks(size, *divmod(steps, size))


def over_blocks(one_block: OneBlock, state: Any, xs: Any, blocks: Blocks, reverse: bool) -> Results:
    """Runs ``one_block(state, xs of a block) -> (state, ys)`` over all blocks, ys end to end."""
    if blocks.number == 1 and not blocks.rest:
        return one_block(state, xs)
    main = blocks.size * blocks.number

    def main_blocks(state):
        split = jax.tree.map(
            lambda x: x[:main].reshape(blocks.number, blocks.size, *x.shape[1:]), xs
        )
        return jax.lax.scan(one_block, state, split, reverse=reverse)

    def rest(state):
        return one_block(state, jax.tree.map(lambda x: x[main:], xs))

    return _with_rest(main_blocks, rest, state, blocks, reverse)


def over_slices(one_block: OneBlock, state: Any, xs: Any, blocks: Blocks, reverse: bool) -> Results:
    """Does the same, and a gradient computes each block again; ``xs`` have no derivative.

    ``over_blocks`` goes over a copy of ``xs`` without their rest. Here the blocks are cut out one
    by one, whose derivative would be a sum of as many arrays as large as ``xs``.
    """
    main = blocks.size * blocks.number

    def one_slice(size, state, start):
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), xs)
        return one_block(state, part)

    one_slice = jax.checkpoint(one_slice, prevent_cse=False, static_argnums=0)

    def main_blocks(state):
        starts = jnp.arange(0, main, blocks.size)
        one_step = functools.partial(one_slice, blocks.size)
        return jax.lax.scan(one_step, state, starts, reverse=reverse)

    def rest(state):
        return one_slice(blocks.rest, state, main)

    return _with_rest(main_blocks, rest, state, blocks, reverse)


def _with_rest(
    main_blocks: Callable, rest: Callable, state: Any, blocks: Blocks, reverse: bool
) -> Results:
    """Returns the last state, and the ys of all blocks and of the rest end to end."""

    def main(state):
        state, ys = main_blocks(state)
        return state, jax.tree.map(
            lambda y: y.reshape(blocks.number * blocks.size, *y.shape[2:]), ys
        )

    if not blocks.rest:
        return main(state)
    if reverse:
        state, late = rest(state)
        state, early = main(state)
    else:
        state, early = main(state)
        state, late = rest(state)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), early, late)
