"""Layers and cells of the caller's own, for which a file holds arrays and a name alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell
from jrnn.model.layer import Layer, Result, Training
from jrnn.model.recurrent import Recurrent
from jrnn.model.stacked import StackedRecurrent


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomLayer(Layer):
    """A layer that the caller computes.

    Attributes:
        function: ``function(params, *inputs)``, which returns an output or several, without
            masks; or a ``Layer``, whose ``run`` counts. ``params`` is a tuple of the file's arrays.
        source: The JSON of the file's entry for it, with which it can be saved again.
        arrays: Where below the layer the file has each array: "vars/0", "dense/vars/0"; None where
            that is not known.
        called_on: What the file's calls are on: "one" tensor, a "list" of them, "several"; "" for
            anything else.
    """

    function: Callable[..., Any] | Layer
    source: str = ""
    arrays: tuple[str, ...] | None = None
    called_on: str = "one"

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns what the caller's function or layer does."""
        params = () if params is None else params
        if isinstance(self.function, Layer):
            return self.function.run(params, inputs, masks, state, training)
        return outputs_of(self.function(params, *inputs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lambda(Layer):
    """A function of the inputs, without parameters; masks end here, as in Keras.

    Attributes:
        function: ``function(*inputs)``, which returns an output or several.
        source: As in ``CustomLayer``, if the file names the function and holds no code.
    """

    function: Callable[..., Any]
    source: str = ""

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns what the function does."""
        return outputs_of(self.function(*inputs))


def outputs_of(found: Any) -> Result:
    """Returns one output or several as a result without masks."""
    outputs = tuple(found) if isinstance(found, list | tuple) else (found,)
    return Result(tuple(map(jnp.asarray, outputs)), (None,) * len(outputs))


@dataclasses.dataclass(frozen=True)
class CustomCell(Cell):
    """A cell of the caller's; its parameters are a tuple of the file's arrays.

    Attributes:
        cell: The cell.
        source: As in ``CustomLayer``.
        arrays: Likewise.
    """

    cell: Cell
    source: str = dataclasses.field(default="", kw_only=True)
    arrays: tuple[str, ...] | None = dataclasses.field(default=None, kw_only=True)

    @property
    def feature_ndim(self) -> int:
        """Number of feature axes of the input."""
        return getattr(self.cell, "feature_ndim", 1)

    def init(self, key: jax.Array, features: Any, units: Any) -> Any:
        """Returns fresh parameters, if the cell draws any."""
        return self.cell.init(key, features, units)

    def initial_state(self, params: Any, z: Any) -> Any:
        """Returns the state before the first step."""
        return self.cell.initial_state(params, z)

    def project(self, params: Any, xs: Any) -> Any:
        """Returns what depends on the input alone."""
        return self.cell.project(params, xs)

    def step(self, params: Any, state: Any, z: Any) -> tuple[Any, Any]:
        """Returns the next state and the output."""
        return self.cell.step(params, state, z)


@dataclasses.dataclass(frozen=True)
class _StateShown(CustomCell):
    """A cell that puts out part of its state instead."""

    part: Callable[[Any], Any]

    def step(self, params: Any, state: Any, z: Any) -> tuple[Any, Any]:
        """Returns the next state and the part of it."""
        state, _ = self.cell.step(params, state, z)
        return state, self.part(state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomRecurrent(Recurrent):
    """A loop over a cell of the caller's.

    Attributes:
        constants: How many inputs, the last ones, are the same at every step. If there are any,
            the cell's ``params`` are ``(arrays, constants)``, two tuples.
    """

    constants: int = 0

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns the output and the states; inputs are (x, *states, *constants)."""
        params = () if params is None else params
        if len(inputs) <= self.constants:
            raise ValueError(
                f"got {len(inputs)} inputs, but x and {self.constants} constants are needed"
            )
        states, constants = inputs[: len(inputs) - self.constants], inputs[-self.constants :]
        if self.constants:
            inputs, params = states, self._with_constants(params, tuple(constants))
        if state is None and len(inputs) == 1:
            step = inputs[0][0] if self.time_major else inputs[0][:, 0]
            state = self.cell.initial_state(params, self.cell.project(params, step))
        result = super().train(params, inputs, masks, state, training)
        mask = self._steps(masks[0])
        if mask is None or self.masked_start != "state" or self.zero_output_for_mask:
            return result
        # Where Keras repeats the state instead of an output, other cells put out the same.
        shown = dataclasses.replace(self, cell=_StateShown(self.cell, self._output_of))
        other = super(CustomRecurrent, shown).train(params, inputs, masks, state, training)
        y = self._at_masked(result.outputs[0], mask, 0 if self.time_major else 1, other.outputs[0])
        return result._replace(outputs=(y, *result.outputs[1:]))

    def _with_constants(self, params: Any, constants: tuple) -> Any:
        return params, constants


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomStacked(CustomRecurrent, StackedRecurrent):
    """A loop over cells on top of one another, some of them the caller's."""

    def _with_constants(self, params: Any, constants: tuple) -> Any:
        """Returns the parameters with the constants for each of the caller's cells."""
        return tuple(
            (own, constants) if isinstance(one.cell, CustomCell) else own
            for one, own in zip(self.cells, params, strict=True)
        )


def is_custom(layer: Layer) -> bool:
    """Returns whether what arrays a layer has is known to the caller alone."""
    return isinstance(layer, CustomLayer) or isinstance(getattr(layer, "cell", None), CustomCell)
