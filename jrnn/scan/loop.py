"""A loop over time with a gradient of its own.

`loop` equals ``lax.scan``. Differentiated, ``lax.scan`` keeps what every step's nonlinear
operations need, and going back adds up the gradient of every weight step by step. Here the states
are kept. Going back, a block of steps at a time, what the derivative needs is computed again from
them, the loop carries the state's cotangent alone, and each block adds one matmul to the gradient
of a weight.

The rule is a ``custom_jvp`` made of plain JAX operations: forward mode, higher orders, ``vmap``,
``jax.checkpoint`` and sharding work as for any function.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jrnn.cells.base import is_narrow, wide
from jrnn.scan.blocks import Plan, over_blocks, over_slices, segments_of, split_steps
from jrnn.scan.linear import StepDerivative, is_floating
from jrnn.scan.program import without_repetition

Step = Callable[[Any, Any, Any], tuple[Any, Any]]  # (fixed, state, z) -> (state, y)


def loop(
    step: Step,
    prepare: Callable[[Any, Any], Any],
    fixed: Any,
    state: Any,
    xs: Any,
    plan: Plan,
) -> tuple[Any, Any]:
    """Returns ``lax.scan(lambda s, x: step(fixed, s, prepare(fixed, x)), state, xs)``.

    Args:
        step: One step; every array that it uses must come in its arguments.
        prepare: What depends on the input alone, for one step or for many at once.
        fixed: Pytree of what is the same at every step.
        state: Pytree; what the first step starts from.
        xs: Pytree of inputs, time first.
        plan: How to run it.
    """
    if any(is_narrow(leaf.dtype) for leaf in jax.tree.leaves(fixed)):
        return _with_wide_gradient(step, prepare, fixed, state, xs, plan)
    if plan.segment is not None:
        plan, size = plan._replace(segment=None), plan.segment
        return _in_segments(step, prepare, fixed, state, xs, plan, size)

    @jax.custom_jvp
    def run(fixed, state, xs):
        return _forward(step, prepare, fixed, state, xs, plan)

    def differentiate(primals, tangents):
        derivative = _LoopDerivative(step, prepare, primals, tangents, plan)
        results, saved = derivative.forward()
        return results, _as_tangents(results, derivative.tangents(saved))

    run.defjvp(differentiate, symbolic_zeros=True)
    if _steps(xs) == 0:
        return jax.lax.scan(lambda s, x: step(fixed, s, prepare(fixed, x)), state, xs)
    return run(fixed, state, xs)


def _with_wide_gradient(step, prepare, fixed, state, xs, plan: Plan):
    """Returns the loop's results; a 16-bit weight's gradient is summed over time in float32."""
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, fixed)

    def as_given(fixed):
        return jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), fixed, dtypes)

    def given_step(fixed, state, z):
        return step(as_given(fixed), state, z)

    def given_prepare(fixed, x):
        return prepare(as_given(fixed), x)

    return loop(given_step, given_prepare, wide(fixed), state, xs, plan)


def _in_segments(step, prepare, fixed, state, xs, plan: Plan, size: int):
    """Returns the loop's results; the gradient runs one segment of steps at a time once more."""
    segments = segments_of(_steps(xs), size)

    def at_once(fixed, state, xs):
        return loop(step, prepare, fixed, state, xs, plan)

    def differentiate(primals, tangents):
        slices = segments.rest and all(map(_is_zero, _leaves(tangents[2])))

        def in_segments(fixed, state, xs):
            one_segment = functools.partial(at_once, fixed)
            if slices:
                return over_slices(one_segment, state, xs, segments, plan.reverse)
            one_segment = jax.checkpoint(one_segment, prevent_cse=False)
            return over_blocks(one_segment, state, xs, segments, plan.reverse)

        return _jvp_of_moving(in_segments, primals, tangents)

    run = jax.custom_jvp(at_once)
    run.defjvp(differentiate, symbolic_zeros=True)
    return run(fixed, state, xs)


def _jvp_of_moving(function, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """Returns ``jax.jvp`` by the arrays whose tangents are not known to be zero."""
    leaves, treedef = jax.tree.flatten(primals)
    given, places = _not_zero(tangents)

    def of_moving(*arrays):
        every = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            every[place] = array
        return function(*jax.tree.unflatten(treedef, every))

    return jax.jvp(of_moving, [leaves[place] for place in places], given)


def _forward(step, prepare, fixed, state, xs, plan: Plan):
    blocks = split_steps(_steps(xs), plan.block)

    def whole_step(fixed, state, x):
        return step(fixed, state, prepare(fixed, x))

    def scan(state, inputs):
        one_step = functools.partial(rest_of_step, for_step)
        return jax.lax.scan(one_step, state, inputs, reverse=plan.reverse, unroll=plan.unroll)

    def one_block(state, xs):
        if _steps(xs) == blocks.size:
            return scan(state, rest_of_prepare(for_prepare, xs))
        return scan(state, prepare(fixed, xs))

    if plan.block == 1:
        for_step, rest_of_step = without_repetition(whole_step, fixed, state, _first(xs))
        return scan(state, xs)
    first_block = jax.tree.map(lambda x: x[: blocks.size], xs)
    for_prepare, rest_of_prepare = without_repetition(prepare, fixed, first_block)
    for_step, rest_of_step = without_repetition(step, fixed, state, prepare(fixed, _first(xs)))
    return over_blocks(one_block, state, xs, blocks, plan.reverse)


class _LoopDerivative:
    """The derivative of a loop at given arguments, with given tangents."""

    def __init__(self, step, prepare, primals, tangents, plan: Plan) -> None:
        self._step, self._prepare, self._primals = step, prepare, primals
        # Products can be told from the rest of a step only where a step has them all.
        self._plan = plan._replace(block=1) if plan.save_products else plan
        self._fixed, self._state, self._xs = (jax.tree.leaves(group) for group in primals)
        treedefs = [jax.tree.structure(group) for group in primals]

        def flat_step(*groups):
            fixed, state, x = itertools.starmap(
                jax.tree.unflatten, zip(treedefs, groups, strict=True)
            )
            return jax.tree.leaves(step(fixed, state, prepare(fixed, x)))

        self._d_fixed, moving_fixed = _not_zero(tangents[0])
        self._d_xs, moving_xs = _not_zero(tangents[2])
        moving_state = [k for k, leaf in enumerate(self._state) if is_floating(leaf)]
        d_state = _leaves(tangents[1])
        self._d_state = [
            jnp.zeros_like(self._state[k]) if _is_zero(d_state[k]) else d_state[k]
            for k in moving_state
        ]
        self._derivative = StepDerivative(
            flat_step,
            (self._fixed, self._state, _first(self._xs)),
            (moving_fixed, moving_state, moving_xs),
        )
        self._once = self._derivative.once(self._fixed)

    def forward(self) -> tuple[tuple[Any, Any], tuple[list, list]]:
        """Returns the loop's results, and all states and products that ``tangents`` needs."""
        places: list[int | None] = []  # of each of the state's arrays among the outputs

        def saving_step(fixed, state, z):
            z, x = z
            products = []
            if self._plan.save_products:
                once = self._derivative.once(jax.tree.leaves(fixed))
                products = self._derivative.products(once, jax.tree.leaves(state), x)
            state, y = self._step(fixed, state, z)
            outputs, leaves = jax.tree.leaves(y), jax.tree.leaves(state)
            places[:] = [next((k for k, y in enumerate(outputs) if y is s), None) for s in leaves]
            others = [leaf for leaf, place in zip(leaves, places, strict=True) if place is None]
            return state, (y, others, products)

        def saving_prepare(fixed, x):
            kept = jax.tree.leaves(x) if self._plan.save_products else []
            return self._prepare(fixed, x), kept

        fixed, state, xs = self._primals
        state, (ys, others, products) = _forward(
            saving_step, saving_prepare, fixed, state, xs, self._plan
        )
        outputs, rest = jax.tree.leaves(ys), iter(others)
        states = [next(rest) if place is None else outputs[place] for place in places]
        return (state, ys), (states, products)

    def tangents(self, saved: tuple[list, list]) -> list:
        """Returns the tangents of all floating-point results."""
        plan, derivative = self._plan, self._derivative

        def block_tangents(d_state, block):
            before, after, products, xs, d_xs = block
            states = [_shifted(b, a, plan.reverse) for b, a in zip(before, after, strict=True)]
            known = jax.vmap(functools.partial(derivative.known, self._once))
            early, late = known(states, xs, products)
            # The size is given because there may be nothing to map over: a bias alone moves.
            contribution = jax.vmap(self._contribution, axis_size=_steps(xs))(early, d_xs)

            def linear_step(d_state, given):
                outputs = derivative.step(self._once, given[0], given[1], d_state)
                return outputs[: len(d_state)], outputs[len(d_state) :]

            given = (late, contribution)
            return jax.lax.scan(
                linear_step, d_state, given, reverse=plan.reverse, unroll=plan.unroll
            )

        blocks = split_steps(_steps(self._xs), plan.gradient_block)
        slices = blocks.rest and not self._d_xs
        if blocks.number > 1 and not slices:  # else it would all be kept at once in any case
            block_tangents = jax.checkpoint(block_tangents, prevent_cse=False)

        def one_block(carry, block):
            before, d_state = carry
            d_state, d_ys = block_tangents(d_state, (before, *block))
            last = [after[0 if plan.reverse else -1] for after in block[0]]
            return (last, d_state), d_ys

        start = (self._state, self._d_state)
        inputs = (*saved, self._xs, self._d_xs)
        run = over_slices if slices else over_blocks
        (_, d_state), d_ys = run(one_block, start, inputs, blocks, plan.reverse)
        return [*d_state, *d_ys]

    def _contribution(self, known: list, d_x: list) -> list:
        return self._derivative.contribution(self._once, known, self._d_fixed, d_x)


def _shifted(before: jax.Array, after: jax.Array, reverse: bool) -> jax.Array:
    """Returns the state before each step, given those after it and the one before them all."""
    if reverse:
        return jnp.concatenate([after[1:], before[None]])
    return jnp.concatenate([before[None], after[:-1]])


def _first(xs: Any) -> Any:
    return jax.tree.map(lambda x: x[0], xs)


def _steps(xs: Any) -> int:
    return jax.tree.leaves(xs)[0].shape[0]


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _leaves(tangents: Any) -> list:
    return jax.tree.leaves(tangents, is_leaf=_is_zero)


def _not_zero(tangents: Any) -> tuple[list, list[int]]:
    """Returns the tangents that are not known to be zero, and their positions."""
    leaves = _leaves(tangents)
    positions = [k for k, leaf in enumerate(leaves) if not _is_zero(leaf)]
    return [leaves[k] for k in positions], positions


def _as_tangents(results: Any, tangents: Sequence[Any]) -> Any:
    """Returns the tangents in the structure of the results, with zeros for integers."""
    given = iter(tangents)

    def tangent(leaf):
        if is_floating(leaf):
            return next(given).astype(leaf.dtype)
        return SymbolicZero(jax.typeof(leaf).to_tangent_aval())

    return jax.tree.map(tangent, results)
