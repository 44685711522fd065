"""A cell over time, in one direction or in both at once."""

from typing import Any

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell, Params, State
from jrnn.scan.direction import direction
from jrnn.scan.loop import loop
from jrnn.scan.plan import Checkpoint, Implementation, make_plan


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
    checkpoint: Checkpoint = None,
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
        checkpoint: How many steps' states the gradient computes again at a time, or "sqrt"; None
            keeps all.

    Returns:
        ``(state, ys)``. A masked step passes the state on unchanged, and what its ``xs`` holds
        (NaN, say) reaches neither values nor gradients.
    """
    one = direction(
        cell,
        params,
        xs,
        initial_state,
        initial_output,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reverse=reverse,
        return_sequences=return_sequences,
        return_all_states=return_all_states,
        masked_output=masked_output,
    )
    elementwise = getattr(cell, "elementwise", False)
    plan = make_plan(
        implementation,
        reverse,
        unroll,
        xs,
        one.z,
        one.carry[0],
        elementwise=elementwise,
        checkpoint=checkpoint,
    )
    (state, output), (states, ys) = loop(
        one.body, one.prepare, one.fixed, one.carry, one.inputs, plan
    )
    return states if return_all_states else state, ys if return_sequences else output


def scan_both(
    cells: tuple[Cell, Cell],
    params: tuple[Params, Params],
    xs: Any,
    *,
    initial_state: tuple[State | None, State | None] = (None, None),
    initial_output: tuple[Any, Any] = (None, None),
    reverse: bool = False,
    unroll: int = 1,
    return_sequences: bool = True,
    return_all_states: bool = False,
    implementation: Implementation = "auto",
    checkpoint: Checkpoint = None,
    **options: Any,
) -> tuple[tuple[State, State], tuple[Any, Any]]:
    """Runs two cells over ``xs`` in opposite directions as one loop.

    Equals::

        state, ys = scan_cell(cells[0], params[0], xs, reverse=reverse)
        state_2, ys_2 = scan_cell(cells[1], params[1], xs, reverse=not reverse)
        return (state, state_2), (ys, ys_2)

    Each step of the loop takes one step in each direction; what one of them reads and writes is
    turned around before and after. XLA on CPU runs the two halves of such a step side by side,
    and loops one after the other.

    Args:
        cells: The cell of each direction.
        params: Their parameters.
        xs: As for ``scan_cell``, and the same for both.
        initial_state: Of each direction.
        initial_output: Of each direction.
        reverse: Whether it is the first that goes from the last step to the first.
        unroll: As for ``scan_cell``, and so are the others.
        return_sequences: See there.
        return_all_states: See there.
        implementation: See there.
        checkpoint: See there.
        **options: lengths, mask, resets and masked_output, the same for both.
    """
    both = [
        direction(
            *one,
            reverse=back,
            return_sequences=return_sequences,
            return_all_states=return_all_states,
            **options,
        )
        for *one, back in zip(
            cells,
            params,
            (xs, xs),
            initial_state,
            initial_output,
            (reverse, not reverse),
            strict=True,
        )
    ]

    def body(fixed, carry, steps):
        results = [one.body(*given) for one, *given in zip(both, fixed, carry, steps, strict=True)]
        return tuple(carry for carry, _ in results), tuple(kept for _, kept in results)

    def prepare(fixed, steps):
        return tuple(one.prepare(*given) for one, *given in zip(both, fixed, steps, strict=True))

    turned = 0 if reverse else 1
    inputs = [one.inputs for one in both]
    inputs[turned] = _flipped(inputs[turned])
    carries, kept = loop(
        body,
        prepare,
        tuple(one.fixed for one in both),
        tuple(one.carry for one in both),
        tuple(inputs),
        make_plan(
            implementation, False, unroll, xs, both[0].z, both[0].carry[0], checkpoint=checkpoint
        ),
    )
    kept = list(kept)
    kept[turned] = _flipped(kept[turned])
    states = [carry[0] for carry in carries]
    outputs = [carry[1] for carry in carries]
    return (
        tuple(states for states, _ in kept) if return_all_states else tuple(states),
        tuple(ys for _, ys in kept) if return_sequences else tuple(outputs),
    )


def _flipped(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)
