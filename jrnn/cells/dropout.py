"""Dropout of a cell's input and state, one mask for a whole sequence."""

import dataclasses
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.cells.base import Cell, Masks, Params, State, check_cell


class DropoutParams(NamedTuple):
    """A cell's parameters together with what one sequence keeps; ``DropoutCell.draw`` makes them.

    There is one mask for all gates, one for each gate, or none.
    """

    params: Any
    kept_inputs: tuple[jax.Array, ...]  # true where kept, [..., F]
    kept_states: tuple[jax.Array, ...]  # likewise, [..., U]


@dataclasses.dataclass(frozen=True)
class DropoutCell(Cell):
    """A cell whose input and state lose random features in training, the same at every step.

    With ``m`` and ``r`` drawn once for a sequence, 0 with probability ``dropout`` and
    ``recurrent_dropout`` and otherwise ``1 / (1 - probability)``, every product of the cell
    becomes::

        (x * m) @ kernel          (h * r) @ recurrent_kernel

    What else the cell does with its state is done with ``h`` itself, or with ``drops_state`` also
    with ``h * r``. The masks are drawn where a key is given: ``rnn(cell, params, xs, key=key)``.
    Without a key the cell is the inner one.

    Args:
        cell: The cell; one that has gates of its own takes ``dropout=`` in ``project`` and
            ``step``, as jrnn's cells do: the masks to multiply by.
        dropout: Probability, from 0 to 1, that a feature of the input is dropped.
        recurrent_dropout: Likewise, of the hidden state.
        per_gate: Whether each gate has masks of its own.
        drops_state: Whether all that a step does with its state is done with what is kept of it.
            That matters for a GRU, whose new state is a mean with the old one. Not ``per_gate``.

    Raises:
        ValueError: If a probability is out of range, the cell cannot take masks, or the state is
            to lose what each gate drops for itself.

    Source: Gal and Ghahramani, 2016 (arXiv:1512.05287); ``keras.layers.LSTMCell``, where
    ``per_gate`` is ``implementation=1`` and ``drops_state`` what ``GRUCell`` does with
    ``implementation=2`` in Keras 2.
    """

    cell: Cell
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    per_gate: bool = False
    drops_state: bool = False

    def __post_init__(self) -> None:
        check_cell("DropoutCell", self.cell)
        for name in ("dropout", "recurrent_dropout"):
            rate = getattr(self, name)
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise ValueError(f"DropoutCell: {name} is {rate!r}, but 0 to 1 is needed")
        if self.drops_state and self.per_gate:
            raise ValueError("DropoutCell: drops_state needs one mask for all gates, not per_gate")
        for half in (self.cell.project, self.cell.step):
            if "dropout" not in inspect.signature(half).parameters:
                raise ValueError(
                    f"DropoutCell: {type(self.cell).__name__}.{half.__name__} takes no masks; give "
                    "it a keyword argument dropout=(), or stack cells that have dropout"
                )

    @property
    def feature_ndim(self) -> int:
        """Number of feature axes of the input: the inner cell's."""
        return getattr(self.cell, "feature_ndim", 1)

    @property
    def elementwise(self) -> bool:
        """Whether a step has no product with the state: the inner cell's."""
        return getattr(self.cell, "elementwise", False)

    def init(self, key: jax.Array, features: Any, units: Any, *args: Any) -> Params:
        """Returns the inner cell's fresh parameters."""
        return self.cell.init(key, features, units, *args)

    def draw(self, key: jax.Array, params: Params, x: jax.Array) -> DropoutParams:
        """Returns the parameters with freshly drawn masks, for one step's input ``x`` [..., F]."""
        of_input, of_state = jax.random.split(key)
        state = self.cell.initial_state(params, self.cell.project(params, x))
        hidden = jax.tree.leaves(state)[0]
        return DropoutParams(
            params,
            self._kept(of_input, self.dropout, x.shape),
            self._kept(of_state, self.recurrent_dropout, hidden.shape),
        )

    def _kept(self, key: jax.Array, rate: float, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
        if rate == 0:
            return ()
        number = getattr(self.cell, "gates", 1) if self.per_gate else 1
        keys = jax.random.split(key, number)
        return tuple(jax.random.bernoulli(one, 1 - rate, shape) for one in keys)

    def initial_state(self, params: Params | DropoutParams, z: Any) -> State:
        """Returns the inner cell's initial state."""
        return self.cell.initial_state(_inner(params), z)

    def project(self, params: Params | DropoutParams, xs: Any) -> Any:
        """Returns the inner cell's projection, of what is kept of the input."""
        masks: Masks = ()
        if isinstance(params, DropoutParams):
            # As exact as the product is to be: the input may be narrower than the kernel.
            dtype = jnp.result_type(xs, *jax.tree.leaves(params.params))
            masks = _factors(params.kept_inputs, self.dropout, dtype)
        cell: Any = self.cell  # of the cells that take masks
        return cell.project(_inner(params), xs, dropout=masks)

    def step(self, params: Params | DropoutParams, state: State, z: Any) -> tuple[State, Any]:
        """Returns the inner cell's next state and output, its products with what is kept."""
        masks: Masks = ()
        if isinstance(params, DropoutParams):
            dtype = jax.tree.leaves(state)[0].dtype
            masks = _factors(params.kept_states, self.recurrent_dropout, dtype)
        if masks and self.drops_state:
            (hidden, *others), structure = jax.tree.flatten(state)
            state = jax.tree.unflatten(structure, [hidden * masks[0], *others])
            masks = ()
        cell: Any = self.cell
        return cell.step(_inner(params), state, z, dropout=masks)


def draws(cell: Any) -> bool:
    """Returns whether a cell draws masks with ``draw``: itself, or for cells that it holds."""
    return isinstance(cell, DropoutCell) or any(draws(one) for one in getattr(cell, "cells", ()))


def _inner(params: Params | DropoutParams) -> Params:
    return params.params if isinstance(params, DropoutParams) else params


def _factors(kept: tuple[jax.Array, ...], rate: float, dtype: Any) -> Masks:
    scale = 0.0 if rate == 1 else 1 / (1 - rate)
    return [mask.astype(dtype) * scale for mask in kept]
