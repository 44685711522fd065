"""Recurrent layers as Keras defines them, over the plain functions of ``jrnn.layers``."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell
from jrnn.layers.bidirectional import BidirectionalState, merge_function
from jrnn.layers.recurrent import rnn
from jrnn.model.layer import Layer, Mask, Result, steps_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrent(Layer):
    """A cell over time, with Keras's options and its writers' habits.

    Attributes:
        cell: The cell.
        units: Size of the output.
        return_sequences: Whether the output holds every step.
        return_state: Whether the final states follow the output.
        go_backwards: Whether the last step comes first; outputs stay in the order computed.
        stateful: Whether the final state is the next call's initial state.
        unroll: What the file says; the loop stays rolled, the numbers are the same.
        time_major: Whether time is the first axis.
        zero_output_for_mask: Whether masked steps put out zeros, or else repeat.
        masked_start: What masked steps repeat before any step has counted: "zeros", or the
            initial hidden "state" (Keras to 2.2.4 on TensorFlow, Keras 3 on JAX).
        zeroes_mirrored_steps: Whether zeros stand at the mirror images of the masked steps, and
            masked steps repeat: Keras on TensorFlow and torch, unrolled and going backwards.
    """

    cell: Cell
    units: int
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    time_major: bool = False
    zero_output_for_mask: bool = False
    masked_start: Literal["zeros", "state"] = "zeros"
    zeroes_mirrored_steps: bool = False

    def call(
        self, params: Any, inputs: Sequence[Any], masks: Sequence[Mask], state: Any = None
    ) -> Result:
        """Returns the output and, with ``return_state``, the states; inputs are (x, *states)."""
        x, mask, time_axis = inputs[0], self._steps(masks[0]), 0 if self.time_major else 1
        if len(inputs) > 1:
            state = self._state(params, x, inputs[1:])
        repeats_state = mask is not None and state is not None and self.masked_start == "state"
        state, y = rnn(
            self.cell,
            params,
            x,
            initial_state=state,
            mask=mask,
            reverse=self.go_backwards,
            time_major=self.time_major,
            return_sequences=self.return_sequences,
            masked_output="repeat",
            initial_output=self._output_of(state) if repeats_state else None,
        )
        if self.return_sequences and self.go_backwards:
            y = jnp.flip(y, time_axis)
        if self.zero_output_for_mask and mask is not None:
            y = self._at_masked(y, mask, time_axis, jnp.zeros_like(y))
        states = jax.tree.leaves(self._ordered(state)) if self.return_state else []
        outputs = (y, *states)
        output_masks = (mask if self.return_sequences else None, *[None] * (len(outputs) - 1))
        return Result(outputs, output_masks, state if self.stateful else None)

    def _at_masked(self, y: jax.Array, mask: jax.Array, time_axis: int, other: Any) -> jax.Array:
        """Returns the output, in the order computed, replaced at the masked steps."""
        mirrored = self.zeroes_mirrored_steps and self.return_sequences
        counts = jnp.flip(mask, time_axis) if self.go_backwards and not mirrored else mask
        if not self.return_sequences:
            counts = jnp.take(counts, -1, axis=time_axis)
        counts = counts.reshape(*counts.shape, *[1] * (y.ndim - counts.ndim))
        return jnp.where(counts, y, other)

    def _steps(self, mask: Mask) -> Mask:
        """Returns the mask of steps; Keras has none for an image of which a part counts."""
        if mask is not None and mask.ndim > 2 and getattr(self.cell, "feature_ndim", 1) > 1:
            raise ValueError(
                f"its mask has shape {mask.shape}, but {self.kind} needs one of steps [B, T]; "
                "mask the steps before they become images"
            )
        return steps_of(mask)

    def _state(self, params: Any, x: jax.Array, leaves: Sequence[jax.Array]) -> Any:
        """Returns the cell's state type filled with its leaves in order."""
        step = x[0] if self.time_major else x[:, 0]
        fresh = jax.eval_shape(
            lambda: self.cell.initial_state(params, self.cell.project(params, step))
        )
        structure = jax.tree.structure(self._ordered(fresh))
        if structure.num_leaves != len(leaves):
            raise ValueError(
                f"layer {self.name!r}: got {len(leaves)} initial states, but its cell has "
                f"{structure.num_leaves}"
            )
        return self._ordered(jax.tree.unflatten(structure, leaves))

    def _ordered(self, state: Any) -> Any:
        """Returns a state with its parts in Keras's order, or such a one as the cell has it."""
        return state

    def _output_of(self, state: Any) -> jax.Array:
        """Returns the output of the step that left a state."""
        return jax.tree.leaves(state)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bidirectional(Layer):
    """Two recurrent layers over the same input, merged.

    Attributes:
        forward: The layer named ``layer`` in Keras.
        backward: The layer whose output sequence is flipped before the merge.
        merge: "concat", "sum", "mul", "ave", or None for both outputs.
        flips_batch: Whether the batch is flipped in place of the time, as TF before 2.3 did
            with ``time_major``.
    """

    forward: Recurrent
    backward: Recurrent
    merge: Literal["concat", "sum", "mul", "ave"] | None = "concat"
    flips_batch: bool = False

    def call(
        self, params: Any, inputs: Sequence[Any], masks: Sequence[Mask], state: Any = None
    ) -> Result:
        """Returns the merged output and the states; inputs are (x, *forward, *backward)."""
        middle = 1 + len(inputs[1:]) // 2
        ahead, behind = (None, None) if state is None else state
        forward = self.forward.run(params[0], [inputs[0], *inputs[1:middle]], masks[:1], ahead)
        backward = self.backward.run(params[1], [inputs[0], *inputs[middle:]], masks[:1], behind)
        y_backward = backward.outputs[0]
        if self.backward.return_sequences:
            time_axis = 0 if self.backward.time_major else 1
            y_backward = jnp.flip(y_backward, 1 - time_axis if self.flips_batch else time_axis)
        merged = merge_function(self.merge)(forward.outputs[0], y_backward)
        ys = merged if isinstance(merged, tuple) else (merged,)
        outputs = (*ys, *forward.outputs[1:], *backward.outputs[1:])
        output_masks = (forward.masks[0],) * len(ys) + (None,) * (len(outputs) - len(ys))
        stateful = self.forward.stateful or self.backward.stateful
        after = BidirectionalState(forward.state, backward.state) if stateful else None
        return Result(outputs, output_masks, after)
