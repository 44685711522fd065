"""Cells on top of one another in one loop over time, as Keras's ``RNN`` takes a list of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from jrnn.cells.base import Cell
from jrnn.cells.stacked import StackedCell
from jrnn.model.layer import Mask, Result, Training, steps_of
from jrnn.model.recurrent import OneCell, Recurrent


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackedRecurrent(Recurrent):
    """A ``StackedCell`` over time; parameters and states are tuples with one entry per cell.

    Attributes:
        cells: The cells of ``cell``, lowest first.
        reverse_states: Whether states come and go with the highest cell's first (Keras 2.0.9 to
            2.2.2).
        masked_repeats_lowest: Whether masked steps put out the lowest cell's state in place of
            the highest one's (Keras 2.2.3 and 2.2.4 on TensorFlow: the first of all states).
    """

    cells: tuple[OneCell, ...]
    reverse_states: bool = False
    masked_repeats_lowest: bool = False

    def training_cell(self) -> Cell:
        """Returns the stack of the cells with their dropout."""
        return StackedCell([one.training_cell() for one in self.cells])

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns the output and, with ``return_state``, the states; inputs are (x, *states)."""
        result = super().train(params, inputs, masks, state, training)
        mask, y = steps_of(masks[0]), result.outputs[0]
        if mask is None or not self.masked_repeats_lowest:
            return result
        lowest = self._lowest(params, inputs, masks, state)
        if lowest.shape != y.shape:
            raise ValueError(
                f"with a mask, the Keras that wrote it takes cells of one size, but the lowest has "
                f"{self.cells[0].units} units and the highest {self.units}"
            )
        y = self._at_masked(y, mask, 0 if self.time_major else 1, lowest)
        return result._replace(outputs=(y, *result.outputs[1:]))

    def _lowest(self, params: Any, inputs: Sequence[Any], masks: Sequence[Mask], state: Any) -> Any:
        """Returns the output of the lowest cell alone."""
        if len(inputs) > 1:
            state = self._state(params, inputs[0], inputs[1:])
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(Recurrent)}
        options |= {"cell": self.cells[0].cell, "units": self.cells[0].units}
        own_state = None if state is None else state[0]
        return Recurrent(**options).call(params[0], inputs[:1], masks, own_state).outputs[0]

    def _ordered(self, state: Any) -> Any:
        """Returns the states with the highest cell's first if Keras has them so."""
        return state[::-1] if self.reverse_states else state

    def _output_of(self, state: Any) -> jax.Array:
        """Returns the highest cell's output."""
        return jax.tree.leaves(state[-1])[0]
