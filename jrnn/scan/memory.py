"""How many bytes the gradient of a loop takes, from shapes alone."""

import dataclasses
import math
from typing import Any

import jax

from jrnn.cells.base import Cell, Params
from jrnn.scan.blocks import segments_of, split_steps
from jrnn.scan.direction import Direction, direction, first_step
from jrnn.scan.linear import StepDerivative, is_floating
from jrnn.scan.plan import Checkpoint, Implementation, make_plan


@jax.tree_util.register_static  # so that a traced function can return it
@dataclasses.dataclass(frozen=True)
class GradientBytes:
    """Memory that the gradient of a loop takes; see ``jrnn.memory_plan``."""

    kept: int
    working: int
    outputs: int
    total: int
    slices: bool  # whether blocks are cut out of the input, which is then nowhere copied for them


def gradient_bytes(
    cell: Cell,
    params: Params,
    xs: Any,
    *,
    initial_state: Any = None,
    initial_output: Any = None,
    unroll: int = 1,
    implementation: Implementation = "auto",
    checkpoint: Checkpoint = None,
    **options: Any,
) -> tuple[GradientBytes, None]:
    """Returns the bytes for arguments like those of ``scan_cell``, in the place of its results."""
    options = {"reverse": False, "return_sequences": True, "return_all_states": False} | options
    one = direction(cell, params, xs, initial_state, initial_output, **options)
    plan = make_plan(
        implementation,
        False,
        unroll,
        xs,
        one.z,
        one.carry[0],
        elementwise=getattr(cell, "elementwise", False),
        checkpoint=checkpoint,
    )
    x = first_step(one.inputs)
    carry, outputs = one.body(one.fixed, one.carry, one.prepare(one.fixed, x))
    step = _StepBytes(one, x, jax.tree.leaves(carry))
    steps = jax.tree.leaves(xs)[0].shape[0]
    segments = segments_of(steps, steps if plan.segment is None else plan.segment)
    blocks = split_steps(segments.size, plan.gradient_block)
    block, rest = blocks.size, segments.rest or blocks.rest
    projected = split_steps(segments.size, plan.block).size if plan.block != 1 else 0

    kept = step.state + (step.products if plan.save_products else 0)  # for each step
    parts = block < segments.size or rest > 0
    working = _most(step, block, projected * _bytes(one.z), _bytes(params), parts)
    working += rest * step.contributions  # it has a program of its own
    if plan.segment is None:
        kept *= steps
    else:
        working += kept * segments.size if block < segments.size else 0
        kept = step.state * math.ceil(steps / segments.size)
    ys = steps * _bytes(outputs)
    states = {id(leaf) for leaf in jax.tree.leaves(carry)} if plan.segment is None else set()
    spare = steps * _bytes([y for y in jax.tree.leaves(outputs) if id(y) not in states])
    total = kept + ys + max(spare, working)  # the outputs' cotangents are as large as they are
    return GradientBytes(kept, working, ys, total, rest > 0), None


def _most(step: "_StepBytes", block: int, projected: int, weights: int, parts: bool) -> int:
    """Returns the most that is needed at one time: at the loop's beginning, its end, or before.

    Where blocks are ``parts`` of a loop, there are copies of their input and states.
    """
    both = step.state + step.contributions + (step.x + step.state if parts else 0)
    return max(block * (both + step.products + step.known), block * both + weights, projected)


class _StepBytes:
    """The bytes of what a step of the derivative is made of."""

    def __init__(self, one: Direction, x: Any, carry: list) -> None:
        groups = one.fixed, one.carry, x
        treedefs = [jax.tree.structure(group) for group in groups]
        fixed, state, inputs = (jax.tree.leaves(group) for group in groups)

        def flat_step(*flat):
            fixed, state, x = map(jax.tree.unflatten, treedefs, flat)
            return jax.tree.leaves(one.body(fixed, state, one.prepare(fixed, x)))

        def moving(leaves):
            return [k for k, leaf in enumerate(leaves) if is_floating(leaf)]

        derivative = StepDerivative(
            flat_step, (fixed, state, inputs), (moving(fixed), moving(state), moving(inputs))
        )
        once = derivative.once(fixed)
        early, late = derivative.known(once, state, inputs)
        moved = [[leaves[k] for k in moving(leaves)] for leaves in (fixed, inputs)]
        needed = zip(carry, derivative.reads_state(), strict=True)
        self.x = _bytes(inputs)
        self.state = _bytes([leaf for leaf, is_read in needed if is_read])
        self.products = _bytes(derivative.products(once, state, inputs))
        self.known = _bytes(late)
        self.contributions = _bytes(derivative.contribution(once, early, *moved))


def _bytes(tree: Any) -> int:
    """Returns the bytes of a tree's arrays, each counted once."""
    leaves = {id(leaf): leaf for leaf in jax.tree.leaves(tree)}.values()
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
