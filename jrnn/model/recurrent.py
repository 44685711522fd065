"""Recurrent layers as Keras defines them, over the plain functions of ``jrnn.layers``."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell
from jrnn.cells.dropout import DropoutCell
from jrnn.cells.noise import draws
from jrnn.layers.bidirectional import BidirectionalState, merge_function
from jrnn.layers.recurrent import rnn
from jrnn.model.layer import Layer, Mask, Result, Training, steps_of
from jrnn.model.noise import drop
from jrnn.scan import Checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneCell(Layer):
    """What holds a cell and, for training, its dropout.

    Attributes:
        cell: The cell.
        units: Size of its output.
        dropout: Probability that a feature of the input is dropped, in training.
        recurrent_dropout: Likewise, of the state.
        dropout_per_gate: Whether each gate has masks of its own (``implementation=1``).
        drops_state: Whether what a GRU drops of its state is dropped for all that it does with it.
    """

    cell: Cell
    units: int
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    dropout_per_gate: bool = False
    drops_state: bool = False

    def training_cell(self) -> Cell:
        """Returns the cell with its dropout, if it has any."""
        if self.dropout == 0 and self.recurrent_dropout == 0:
            return self.cell
        return DropoutCell(
            self.cell,
            self.dropout,
            self.recurrent_dropout,
            per_gate=self.dropout_per_gate,
            drops_state=self.drops_state,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrent(OneCell):
    """A cell over time, with Keras's options and its writers' habits.

    Attributes:
        return_sequences: Whether the output holds every step.
        return_state: Whether the final states follow the output.
        go_backwards: Whether the last step comes first; outputs stay in the order computed.
        stateful: Whether the final state is the next call's initial state.
        unroll: True as the file says it: the loop stays rolled, the numbers are the same. A
            number is that of steps per iteration, as for ``jrnn.rnn``.
        time_major: Whether time is the first axis.
        zero_output_for_mask: Whether masked steps put out zeros, or else repeat.
        masked_start: What masked steps repeat before any step has counted: "zeros", or the
            initial hidden "state" (Keras to 2.2.4 on TensorFlow, Keras 3 on JAX).
        zeroes_mirrored_steps: Whether zeros stand at the mirror images of the masked steps, and
            masked steps repeat: Keras on TensorFlow and torch, unrolled and going backwards.
        dropout_each_step: Whether what the input drops is drawn anew at each step, in place of
            once for the sequence (the fused loops of tf.keras).
        checkpoint: How many states a gradient keeps, as for ``jrnn.rnn``.
        cell_name: The name that a cell given to Keras's ``RNN`` has: several layers may share it.
    """

    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool | int = False
    time_major: bool = False
    zero_output_for_mask: bool = False
    masked_start: Literal["zeros", "state"] = "zeros"
    zeroes_mirrored_steps: bool = False
    dropout_each_step: bool = False
    checkpoint: Checkpoint = None
    cell_name: str = ""

    def one_cell(self) -> OneCell:
        """Returns the cell by itself, as a stack of several would hold it."""
        own: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(OneCell)
        }
        own |= {"name": self.cell_name, "kind": type(self.cell).__name__}
        own["activity_regularizer"] = None
        return OneCell(**own)

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns the output and, with ``return_state``, the states; inputs are (x, *states)."""
        cell, key = self.cell, None
        if self.dropout_each_step:
            inputs = [drop(inputs[0], self.dropout, training), *inputs[1:]]
        elif training is not None:
            cell = self.training_cell()
            key = training.needed_key() if draws(cell) else None
        x, time_axis = inputs[0], 0 if self.time_major else 1
        mask = self._fitting(self._steps(masks[0]), x.shape[time_axis], time_axis)
        if len(inputs) > 1:
            state = self._state(params, x, inputs[1:])
        repeats_state = mask is not None and state is not None and self.masked_start == "state"
        state, y = rnn(
            cell,
            params,
            x,
            initial_state=state,
            mask=mask,
            reverse=self.go_backwards,
            unroll=1 if isinstance(self.unroll, bool) else self.unroll,
            checkpoint=self.checkpoint,
            time_major=self.time_major,
            return_sequences=self.return_sequences,
            masked_output="repeat",
            initial_output=self._output_of(state) if repeats_state else None,
            key=key,
        )
        if self.return_sequences and self.go_backwards:
            y = jnp.flip(y, time_axis)
        if self.zero_output_for_mask and mask is not None:
            y = self._at_masked(y, mask, time_axis, jnp.zeros_like(y))
        states = jax.tree.leaves(self._ordered(state)) if self.return_state else []
        outputs = (y, *states)
        output_masks = self.passed_masks(masks, len(outputs))
        return Result(outputs, output_masks, state if self.stateful else None)

    def passed_masks(self, masks: Sequence[Mask], count: int) -> tuple[Mask, ...]:
        """Returns the steps' mask for a sequence, and none for states."""
        return (self._steps(masks[0]) if self.return_sequences else None, *[None] * (count - 1))

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

    def _fitting(self, mask: Mask, steps: int, time_axis: int) -> Mask:
        """Returns what Keras's unrolled loop reads of a mask that has more steps than its input.

        Such a mask is left where TimeDistributed pools or convolves the steps of its own.
        """
        if mask is None or not self.unroll or mask.shape[time_axis] <= steps:
            return mask
        more = mask.shape[time_axis] - steps if self.go_backwards else 0
        return jax.lax.slice_in_dim(mask, more, more + steps, axis=time_axis)

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

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns the output and the states; inputs: (x, *forward, *backward, *constants)."""
        last = len(inputs) - getattr(self.forward, "constants", 0)
        middle, constants = 1 + (last - 1) // 2, inputs[last:]
        x, ahead_states, behind_states = inputs[0], inputs[1:middle], inputs[middle:last]
        ahead, behind = (None, None) if state is None else state
        ahead_training, behind_training = (
            None if training is None else training.part(k) for k in (0, 1)
        )
        forward = self.forward.run(
            params[0], [x, *ahead_states, *constants], masks[:1], ahead, ahead_training
        )
        backward = self.backward.run(
            params[1], [x, *behind_states, *constants], masks[:1], behind, behind_training
        )
        y_backward = backward.outputs[0]
        if self.backward.return_sequences:
            time_axis = 0 if self.backward.time_major else 1
            y_backward = jnp.flip(y_backward, 1 - time_axis if self.flips_batch else time_axis)
        merged = merge_function(self.merge)(forward.outputs[0], y_backward)
        ys = merged if isinstance(merged, tuple) else (merged,)
        outputs = (*ys, *forward.outputs[1:], *backward.outputs[1:])
        output_masks = self.passed_masks(masks, len(outputs))
        stateful = self.forward.stateful or self.backward.stateful
        after = BidirectionalState(forward.state, backward.state) if stateful else None
        return Result(outputs, output_masks, after)

    def passed_masks(self, masks: Sequence[Mask], count: int) -> tuple[Mask, ...]:
        """Returns the steps' mask for one sequence or both, and none for states."""
        (mask,), sequences = self.forward.passed_masks(masks, 1), 2 if self.merge is None else 1
        return (mask,) * sequences + (None,) * (count - sequences)
