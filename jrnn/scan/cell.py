"""A cell over time: initial state, masks, lengths, resets."""

from typing import Any

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell, Params, State
from jrnn.scan.loop import loop
from jrnn.scan.plan import Implementation, make_plan


def scan_cell(
    cell: Cell,
    params: Params,
    xs: Any,
    *,
    initial_state: State | None = None,
    lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    initial_output: Any = None,
    reverse: bool = False,
    unroll: int = 1,
    return_sequences: bool = True,
    return_all_states: bool = False,
    masked_output: str = "zero",
    implementation: Implementation = "auto",
) -> tuple[State, Any]:
    """Runs a cell over time-major ``xs`` [T, ..., F] and returns ``(state, ys)``.

    Equals, one row of the batch at a time::

        state, y = initial_state, initial_output
        for t in (reversed(range(T)) if reverse else range(T)):
            if the row has a reset between t and the step just done:
                state = cell.initial_state(...)
            if mask[t]:
                state, y = cell(params, state, xs[t])
            states[t] = state
            ys[t] = y if mask[t] or masked_output == "repeat" else 0

    Args:
        cell: Any cell.
        params: Its parameters.
        xs: Array, or pytree of arrays, whose leading axis is time.
        initial_state: Broadcast to the cell's own state and cast to its dtype; None for
            ``cell.initial_state``.
        lengths: Integers [...]: only steps ``t < lengths`` count.
        mask: [T, ...]: only steps that are True (non-zero) count.
        resets: [T, ...]: True where a step is the first of a new sequence. No state crosses from
            step t - 1 to such a step t in either direction; going forward, step 0 can be one.
        initial_output: What a masked step repeats, and what comes back as the last output, before
            any step has counted; None for zeros.
        reverse: Whether to go from the last step to the first. Outputs stay at their steps.
        unroll: Steps per iteration of the loop, as in ``lax.scan``.
        return_sequences: Whether ``ys`` holds all outputs; otherwise it is the output of the
            last counted step alone, and none of the others is kept.
        return_all_states: Whether ``state`` holds the state after every step [T, ...] in place
            of the final one.
        masked_output: What a masked step puts out: "zero" or "repeat" (the previous output).
        implementation: Where the inputs are projected: "hoisted" (all steps at once), "chunked"
            (some steps at a time), "in_loop" (each step), "auto" (what pays, by shape).

    Returns:
        ``(state, ys)``. A masked step passes the state on unchanged, and what its ``xs`` holds
        (NaN, say) reaches neither values nor gradients.
    """
    leaves = jax.tree.leaves(xs)
    steps = leaves[0].shape[0]
    valid = _valid_steps(steps, lengths, mask)
    if valid is not None:
        xs = _where(valid, xs, jax.tree.map(jnp.zeros_like, xs))
    z0 = cell.project(params, _first_step(xs))
    fresh = cell.initial_state(params, z0)
    state = fresh if initial_state is None else _like("initial_state", initial_state, fresh)

    keep_output = not return_sequences or (valid is not None and masked_output == "repeat")
    zeros = None
    if keep_output or valid is not None:
        zeros = jax.tree.map(jnp.zeros_like, cell.step(params, fresh, z0)[1])
    output = zeros if keep_output else None
    if keep_output and initial_output is not None:
        output = _like("initial_output", initial_output, zeros)

    def prepare(fixed, step):
        return (cell.project(fixed[0], step[0]), *step[1:])

    def body(fixed, carry, step):
        params, fresh, zeros = fixed
        state, last_output = carry
        z, is_valid, is_crossing = step
        if is_crossing is not None:
            state = _where(is_crossing, fresh, state)
        next_state, y = cell.step(params, state, z)
        if is_valid is not None:
            next_state = _where(is_valid, next_state, state)
            y = _where(is_valid, y, last_output if keep_output else zeros)
        kept = next_state if return_all_states else None, y if return_sequences else None
        return (next_state, y if keep_output else None), kept

    (state, output), (states, ys) = loop(
        body,
        prepare,
        (params, fresh, zeros),
        (state, output),
        (xs, valid, _crossings(resets, reverse)),
        make_plan(
            implementation,
            reverse,
            unroll,
            xs,
            z0,
            state,
        ),
    )
    return states if return_all_states else state, ys if return_sequences else output


def _valid_steps(steps: int, lengths, mask) -> jax.Array | None:
    """Returns which steps count [T, ...], or None where all do."""
    valid = None if mask is None else jnp.asarray(mask).astype(bool)
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        within = jnp.arange(steps).reshape(-1, *[1] * lengths.ndim) < lengths
        valid = within if valid is None else valid & within
    return valid


def _crossings(resets, reverse: bool) -> jax.Array | None:
    """Returns where the loop, on arriving at a step, enters another sequence [T, ...]."""
    if resets is None:
        return None
    resets = jnp.asarray(resets).astype(bool)
    if not reverse:
        return resets
    return jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])


def _first_step(xs: Any) -> Any:
    """Returns the input of one step, also where there are no steps."""
    return jax.tree.map(lambda x: x[0] if x.shape[0] else jnp.zeros_like(x, shape=x.shape[1:]), xs)


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    """Selects whole rows of two pytrees; the condition has the leaves' leading axes."""

    def select(a, b):
        if a.ndim < condition.ndim:
            raise ValueError(
                f"jrnn.scan: a mask or reset of shape {condition.shape} selects rows, but the "
                f"cell has a state, input or output of shape {a.shape} without those axes"
            )
        shape = condition.shape + (1,) * (a.ndim - condition.ndim)
        return jnp.where(condition.reshape(shape), a, b)

    return jax.tree.map(select, new, old)


def _like(name: str, given: Any, reference: Any) -> Any:
    """Returns ``given`` with the structure, shapes, dtypes and sharding of ``reference``."""
    treedef, expected = jax.tree.structure(given), jax.tree.structure(reference)
    if treedef != expected:
        needed = jax.tree.map(lambda leaf: leaf.shape, reference)
        raise ValueError(
            f"jrnn.scan: {name} is a {type(given).__name__} with {treedef.num_leaves} arrays, but "
            f"the cell needs {needed}"
        )

    def fit(value, target):
        if jnp.issubdtype(target.dtype, jax.dtypes.extended):  # PRNG keys
            return value
        shape = jnp.shape(value)
        missing = target.ndim - len(shape)
        ends = zip(shape, target.shape[max(missing, 0) :], strict=False)
        if missing < 0 or any(got not in (1, needed) for got, needed in ends):
            raise ValueError(
                f"jrnn.scan: {name} has shape {shape}, but the cell needs {target.shape}"
            )
        # Adding zeros made from the input broadcasts, and carries sharding and varying axes over.
        return jnp.asarray(value).astype(target.dtype) + jnp.zeros_like(target)

    return jax.tree.map(fit, given, reference)
