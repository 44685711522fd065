"""Cells on top of one another, run as one cell."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.typing import DTypeLike

from jrnn.cells.base import Cell, check_cell
from jrnn.cells.noise import drawn, draws
from jrnn.cells.wrapper import init_cell, output_features


@dataclasses.dataclass(frozen=True)
class StackedCell(Cell):
    """Several cells as one: the output of each step of a cell is the input of the next.

    Equals ``for k, cell in enumerate(cells): state[k], x = cell(params[k], state[k], x)``.
    Parameters and states are tuples with one entry per cell, lowest first.

    Args:
        cells: The cells, lowest first; at least one.

    Raises:
        ValueError: If there is no cell, or one is none.

    Source: ``keras.layers.StackedRNNCells``.
    """

    cells: tuple[Cell, ...]

    def __init__(self, cells: Sequence[Cell]) -> None:
        if not cells:
            raise ValueError("StackedCell: cells is empty, but at least one cell is needed")
        for cell in cells:
            check_cell("StackedCell", cell)
        object.__setattr__(self, "cells", tuple(cells))

    @property
    def feature_ndim(self) -> int:
        """Number of feature axes of the input: the lowest cell's."""
        return getattr(self.cells[0], "feature_ndim", 1)

    @property
    def channel_axis(self) -> int:
        """The axis of the features, of images of the channels, from the end: the lowest cell's."""
        return getattr(self.cells[0], "channel_axis", -1)

    @property
    def is_random(self) -> bool:
        """Whether ``draw`` draws anything: for any of the cells."""
        return any(map(draws, self.cells))

    def init(
        self,
        key: jax.Array,
        features: Any,
        units: int | Sequence[int],
        dtype: DTypeLike | None = None,
    ) -> tuple:
        """Returns fresh parameters, one entry per cell; ``units`` is one size or one per cell.

        A ``dtype`` needs cells whose ``init`` takes one; None leaves the choice to each cell.
        """
        sizes = list(units) if isinstance(units, Sequence) else [units] * len(self.cells)
        if len(sizes) != len(self.cells):
            raise ValueError(
                f"StackedCell.init: units has {len(sizes)} entries for {len(self.cells)} cells"
            )
        params = []
        for cell, size, cell_key in zip(
            self.cells, sizes, jax.random.split(key, len(sizes)), strict=True
        ):
            fresh = init_cell(cell, cell_key, features, size, dtype)
            params.append(fresh)
            features = output_features(cell, fresh, features)
        return tuple(params)

    def draw(self, key: jax.Array, params: tuple, x: Any) -> tuple:
        """Returns the parameters with what the cells draw, for one step's input ``x``."""
        every = []
        keys = jax.random.split(key, len(self.cells))
        for cell, cell_params, cell_key in zip(self.cells, params, keys, strict=True):
            cell_params = drawn(cell, cell_key, cell_params, x)
            every.append(cell_params)
            z = cell.project(cell_params, x)
            x = cell.step(cell_params, cell.initial_state(cell_params, z), z)[1]
        return tuple(every)

    def initial_state(self, params: tuple, z: Any) -> tuple:
        """Returns each cell's initial state."""
        states = []
        for k, (cell, cell_params) in enumerate(zip(self.cells, params, strict=True)):
            states.append(cell.initial_state(cell_params, z))
            if k + 1 < len(self.cells):
                _, y = cell.step(cell_params, states[-1], z)
                z = self.cells[k + 1].project(params[k + 1], y)
        return tuple(states)

    def project(self, params: tuple, xs: Any) -> Any:
        """Returns the lowest cell's projection."""
        if len(params) != len(self.cells):
            raise ValueError(
                f"StackedCell: params has {len(params)} entries for {len(self.cells)} cells"
            )
        return self.cells[0].project(params[0], xs)

    def step(self, params: tuple, state: tuple, z: Any) -> tuple[tuple, Any]:
        """Returns the next states and the output of the highest cell."""
        lowest, y = self.cells[0].step(params[0], state[0], z)
        states = [lowest]
        for cell, cell_params, cell_state in zip(
            self.cells[1:], params[1:], state[1:], strict=True
        ):
            next_state, y = cell.step(cell_params, cell_state, cell.project(cell_params, y))
            states.append(next_state)
        return tuple(states), y
