"""Zoneout: units that keep their value of the step before."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell, Params, State
from jrnn.cells.dropout import DropoutCell
from jrnn.cells.meshes import split_as
from jrnn.cells.noise import (
    Clock,
    ClockedState,
    drawn,
    draws,
    kept_now,
    make_rates,
    row_keys,
    start,
    tick,
    undrawn,
)
from jrnn.cells.stacked import StackedCell
from jrnn.cells.wrapper import Wrapper, array_names


class ZoneoutParams(NamedTuple):
    """A cell's parameters with what draws its noise; ``ZoneoutCell.draw`` makes them."""

    params: Any
    keys: tuple[jax.Array, ...]  # for each of the state's arrays a key for each row, [...]


@dataclasses.dataclass(frozen=True)
class ZoneoutCell(Wrapper):
    """A cell some of whose units keep, at random, their value of the step before.

    With ``k`` drawn at each step, 1 with the probability of its array and otherwise 0, every array
    of the state becomes::

        s' = k * s + (1 - k) * step(s)               # with a key: training
        s' = rate * s + (1 - rate) * step(s)         # without one: what is expected

    Where a step puts out an array of its state, as an LSTM, a GRU and a stack of them do, the
    output is the new one of these; around a cell that makes its output of its state, such as a
    ``ResidualCell`` or one with ``output_dropout``, it is what that cell says: put zoneout inside.
    The state is a ``ClockedState``, which knows how many steps each row has done: a sequence in
    pieces, with one key and the state passed on, has the noise of the whole. A reset of the state
    is not noise: nothing is kept across it.

    Args:
        cell: Any cell.
        hidden: Probability, from 0 to 1, that a unit of the hidden state keeps its value.
        cell_state: Likewise, of an LSTM's or SRU's cell: of what is named ``cell`` in the state.

    Raises:
        ValueError: If a probability is out of range, or is for what the state does not have.

    Source: Krueger et al., 2016 (arXiv:1606.01305).
    """

    hidden: float = 0.0
    cell_state: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        make_rates(self, "hidden", "cell_state")

    @property
    def is_random(self) -> bool:
        """Whether ``draw`` draws anything: always."""
        return True

    def draw(self, key: jax.Array, params: Params, x: Any) -> ZoneoutParams:
        """Returns the parameters with keys for each row, for one step's input ``x`` [..., F]."""
        if draws(self.cell):
            key, of_cell = jax.random.split(key)
            params = drawn(self.cell, of_cell, params, x)
        state = self.cell.initial_state(params, self.cell.project(params, x))
        keys = jax.random.split(key, len(jax.tree.leaves(state)))
        return ZoneoutParams(params, tuple(row_keys(one, x, self.feature_ndim) for one in keys))

    def initial_state(self, params: Params | ZoneoutParams, z: tuple[Any, Clock]) -> ClockedState:
        """Returns the inner cell's initial state, and a clock at 0."""
        state = self.cell.initial_state(undrawn(params, ZoneoutParams), z[0])
        self._rates(state)
        return ClockedState(state, z[1])

    def project(self, params: Params | ZoneoutParams, xs: Any) -> tuple[Any, Clock]:
        """Returns the inner cell's projection, and for each row a clock at 0."""
        return self.cell.project(undrawn(params, ZoneoutParams), xs), start(xs, self.feature_ndim)

    def step(
        self, params: Params | ZoneoutParams, state: ClockedState, z: tuple[Any, Clock]
    ) -> tuple[ClockedState, Any]:
        """Returns the next state and the output."""
        stepped, y = self.cell.step(undrawn(params, ZoneoutParams), state.state, z[0])
        rates = self._rates(state.state)
        new, structure = jax.tree.flatten(stepped)
        mixed = []
        for k, (before, after) in enumerate(zip(jax.tree.leaves(state.state), new, strict=True)):
            if rates[k] == 0:
                mixed.append(after)
            elif isinstance(params, ZoneoutParams):
                shape = before.shape[state.clock.steps.ndim :]
                moves = kept_now(params.keys[k], state.clock, rates[k], shape)
                mixed.append(jnp.where(split_as(moves, after), after, split_as(before, after)))
            else:
                mixed.append(rates[k] * split_as(before, after) + (1 - rates[k]) * after)
        if not _drops_outputs(self.cell):
            y = next((mix for mix, after in zip(mixed, new, strict=True) if after is y), y)
        return ClockedState(jax.tree.unflatten(structure, mixed), tick(state.clock)), y

    def _rates(self, state: State) -> list[float]:
        """Returns the probability for each array of a state, by its name there."""
        named = zip(array_names(state), jax.tree.leaves(state), strict=True)
        options = [
            ("cell_state" if name == "cell" else "hidden")
            if jnp.issubdtype(array.dtype, jnp.floating)
            else ""  # a clock's steps
            for name, array in named
        ]
        for option in ("hidden", "cell_state"):
            if getattr(self, option) and option not in options:
                raise ValueError(
                    f"ZoneoutCell: {option} is {getattr(self, option)}, but the state of "
                    f"{type(self.cell).__name__} has none; give the rate of what it has"
                )
        return [getattr(self, option) if option else 0.0 for option in options]


def _drops_outputs(cell: Cell) -> bool:
    """Returns whether a key would make the cell put out something else than its state."""
    if isinstance(cell, StackedCell):
        return _drops_outputs(cell.cells[-1])
    if isinstance(cell, DropoutCell) and cell.output_dropout > 0:
        return True
    return isinstance(cell, Wrapper) and _drops_outputs(cell.cell)
