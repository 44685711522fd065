"""SEQUENCES. A cell over time, as plain functions."""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypedDict

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn.cells.base import Cell, Params, State, check_cell
from jrnn.layers.arguments import (
    cast,
    check_checkpoint,
    check_key,
    check_lengths,
    check_options,
    flags,
    layout,
)
from jrnn.scan import Checkpoint, Implementation, scan_cell
from jrnn.scan.direction import first_step


class LoopOptions(TypedDict, total=False):
    """``TimeOptions`` without ``implementation``."""

    initial_state: Any
    lengths: ArrayLike | None
    mask: ArrayLike | None
    resets: ArrayLike | None
    initial_output: Any
    reverse: bool
    unroll: int
    time_major: bool
    return_sequences: bool
    return_all_states: bool
    masked_output: Literal["zero", "repeat"]
    key: jax.Array | None
    checkpoint: Checkpoint
    dtype: DTypeLike | None


class TimeOptions(LoopOptions, total=False):
    """What ``rnn`` and every layer made of it take besides the cell, its parameters and input."""

    implementation: Implementation


def rnn(
    cell: Cell,
    params: Params,
    xs: Any,
    *,
    initial_state: State | None = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    initial_output: Any = None,
    reverse: bool = False,
    unroll: int = 1,
    time_major: bool = False,
    return_sequences: bool = True,
    return_all_states: bool = False,
    masked_output: Literal["zero", "repeat"] = "zero",
    key: jax.Array | None = None,
    implementation: Implementation = "auto",
    checkpoint: Checkpoint = None,
    dtype: DTypeLike | None = None,
) -> tuple[State, Any]:
    """Runs any cell over a sequence and returns ``(state, ys)``.

    For one row, without masks, it equals::

        state, ys = initial_state, []
        for x in xs:
            state, y = cell(params, state, x)
            ys.append(y)

    Args:
        cell: A jrnn cell or any hashable object with a cell's methods (see ``jrnn.Cell``).
        params: The cell's parameters.
        xs: Input [B, T, F], or [T, B, F] if ``time_major``; without a batch axis [T, F], and
            with any number of batch axes before T (after T if ``time_major``). A pytree of
            such arrays if the cell takes one.
        initial_state: The cell's state type with leaves [B, U], or broadcastable to that; cast
            to the dtype of the computation. None for ``cell.initial_state``, zeros as a rule.
        lengths: Integers [B], from 0 to T: only the first ``lengths`` steps of a row count.
        mask: [B, T] ([T, B] if ``time_major``), True where a step counts; any pattern. With
            ``lengths`` as well, both must agree for a step to count.
        resets: Like ``mask``, True where a step is the first of a new sequence: no state crosses
            from the step before to it, in either direction. A reset also discards
            ``initial_state`` at step 0, and takes effect at masked steps too.
        initial_output: What a masked step repeats, and what comes back as last output, before
            any step has counted; None for zeros.
        reverse: Go from the last step to the first (of the valid part where lengths are given).
            Outputs stay at their own steps, as in ``lax.scan``.
        unroll: Steps of the loop per iteration; changes speed and compile time alone.
        time_major: Whether time is the first axis of ``xs``, masks and outputs.
        return_sequences: Whether ``ys`` holds the output of every step; otherwise it is the
            output of the last step done that counts, [B, U], and no others are kept.
        return_all_states: Whether ``state`` holds the states after every step, leaves
            [B, T, U], in place of the final one.
        masked_output: "zero" or "repeat": what a step that does not count puts out. A repeated
            output is that of the step done before.
        key: A PRNG key to train with: for what the cell draws, as the masks of a ``DropoutCell``.
            None for inference.
        implementation: Where the input is projected: "hoisted" (all steps at once, before the
            loop), "chunked" (some steps at a time), "in_loop" (each step for itself) or "auto"
            (what is fastest, by shape). Changes speed and memory alone.
        checkpoint: None: for the gradient the state of every step is kept. ``k``: every k-th
            state is, and k steps at a time are run again on the way back: a second forward pass,
            and memory for T / k + 4 k states or so in place of T. "sqrt": k is half the root of
            T. The numbers are the same; ``jrnn.memory_plan`` says the bytes.
        dtype: Of the computation: parameters, input and initial state are cast to it, and state
            and outputs have it. None promotes parameters and input to one dtype, as JAX does.
            Sums and gates of 16-bit computations are float32, the carried state is not.

    Returns:
        ``(state, ys)``. A step that does not count leaves the state as it was, and what ``xs``
        holds there (NaN, say) reaches neither values nor gradients. A row of length 0 returns
        its initial state.

    Raises:
        ValueError: If a shape, a dtype, a length out of range or an option does not fit.

    Source: ``jax.lax.scan``; masking as in ``keras.layers.RNN``.
    """
    check_cell("jrnn.rnn", cell)
    return run_loop(
        scan_cell,
        cell,
        getattr(cell, "feature_ndim", 1),
        params,
        xs,
        initial_state=initial_state,
        lengths=lengths,
        mask=mask,
        resets=resets,
        initial_output=initial_output,
        reverse=reverse,
        unroll=unroll,
        time_major=time_major,
        return_sequences=return_sequences,
        return_all_states=return_all_states,
        masked_output=masked_output,
        key=key,
        implementation=implementation,
        checkpoint=checkpoint,
        dtype=dtype,
    )


_SWITCHES = ("reverse", "return_sequences", "return_all_states")


def run_loop(
    scan: Callable[..., tuple[Any, Any]],
    cell: Any,
    feature_ndim: int,
    params: Any,
    xs: Any,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    time_major: bool = False,
    unroll: int = 1,
    masked_output: str = "zero",
    key: jax.Array | None = None,
    implementation: Implementation = "auto",
    checkpoint: Checkpoint = None,
    dtype: DTypeLike | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Returns ``scan``'s ``(state, ys)`` for checked arguments, time where the input has it."""
    switches = {name: options[name] for name in _SWITCHES if name in options}
    check_options(unroll, masked_output, implementation, time_major=time_major, **switches)
    check_key(key, cell)
    xs = jax.tree.map(jnp.asarray, xs)
    if dtype is not None:
        params, xs = cast((params, xs), dtype)
        for name in ("initial_state", "initial_output"):
            options[name] = cast(options.get(name), dtype)
    axis, batch, steps = layout(xs, feature_ndim, time_major)
    check_lengths(lengths, batch, steps)
    check_checkpoint(checkpoint, steps)
    expected = (steps, *batch) if time_major else (*batch, steps)
    return _run(
        scan,
        cell,
        axis,
        params,
        xs,
        lengths=None if lengths is None else jnp.asarray(lengths),
        mask=flags("mask", mask, expected),
        resets=flags("resets", resets, expected),
        unroll=unroll,
        masked_output=masked_output,
        key=key,
        implementation=implementation,
        checkpoint=checkpoint,
        **options,
    )


@functools.partial(
    jax.jit,
    static_argnums=(0, 1, 2),
    static_argnames=(*_SWITCHES, "unroll", "masked_output", "implementation", "checkpoint"),
)
def _run(scan, cell, axis, params, xs, *, mask, resets, key, **options):
    def to_front(tree):
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, axis, 0), tree)

    def to_place(tree):  # a state may have leaves without the batch axes: a clock, a PRNG key
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, min(axis, leaf.ndim - 1)), tree)

    xs = to_front(xs)
    if key is not None:
        params = cell.draw(key, params, first_step(xs))
    state, ys = scan(cell, params, xs, mask=to_front(mask), resets=to_front(resets), **options)
    return (
        to_place(state) if options.get("return_all_states", False) else state,
        to_place(ys) if options.get("return_sequences", True) else ys,
    )
