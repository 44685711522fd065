"""Dropout of a cell's input, state and output: one mask for a sequence, or one for each step."""

import dataclasses
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.cells.base import Masks, Params, State, to_rank
from jrnn.cells.meshes import split_as
from jrnn.cells.noise import (
    Clock,
    ClockedState,
    drawn,
    draws,
    float_type,
    kept_now,
    make_rates,
    row_keys,
    start,
    tick,
    undrawn,
)
from jrnn.cells.sru import SRUCell
from jrnn.cells.wrapper import Wrapper


class DropoutParams(NamedTuple):
    """A cell's parameters together with what one sequence keeps; ``DropoutCell.draw`` makes them.

    There is one mask for all gates, one for each gate, or none.
    """

    params: Any
    kept_inputs: tuple[jax.Array, ...] = ()  # true where kept, [..., F]
    kept_states: tuple[jax.Array, ...] = ()  # likewise, [..., U]
    kept_outputs: tuple[jax.Array, ...] = ()  # likewise


class DropoutKeys(NamedTuple):
    """A cell's parameters together with keys for each row, of what is drawn at each step."""

    params: Any
    inputs: jax.Array  # [...], as those below
    states: jax.Array
    outputs: jax.Array


@dataclasses.dataclass(frozen=True)
class DropoutCell(Wrapper):
    """A cell whose input, state and output lose random features in training.

    With ``m``, ``r`` and ``q`` drawn once for a sequence, 0 with probability ``dropout``,
    ``recurrent_dropout`` and ``output_dropout``, and otherwise ``1 / (1 - probability)``, every
    product of the cell, and its output, become::

        (x * m) @ kernel          (h * r) @ recurrent_kernel          y * q

    What else the cell does with its state is done with ``h`` itself, or with ``drops_state`` also
    with ``h * r``. The masks are drawn where a key is given: ``rnn(cell, params, xs, key=key)``.
    Without a key the cell is the inner one.

    A cell that takes no masks, because it holds others or is one of your own, is given ``x * m``
    as its input, and with ``drops_state`` its state with ``h * r``, ``h`` being the state's first
    array.

    With ``per_step`` masks are drawn anew at each step. The state is then a ``ClockedState``,
    which knows how many steps each row has done: a sequence in pieces, with one key and the state
    passed on, has the masks of the whole. With ``dropout`` the input is then projected in the loop.

    Args:
        cell: The cell; one that has gates of its own takes ``dropout=`` in ``project`` and
            ``step``, as jrnn's cells do: the masks to multiply by.
        dropout: Probability, from 0 to 1, that a feature of the input is dropped.
        recurrent_dropout: Likewise, of the hidden state.
        per_gate: Whether each gate has masks of its own.
        drops_state: Whether all that a step does with its state is done with what is kept of it.
            That matters for a GRU, whose new state is a mean with the old one. Not ``per_gate``.
        output_dropout: Likewise, of the output, on its way out: the state stays whole.
        per_step: Whether masks are drawn at each step in place of once.

    Raises:
        ValueError: If a probability is out of range, the cell cannot take the masks, or the state
            is to lose what each gate drops for itself.

    Source: Gal and Ghahramani, 2016 (arXiv:1512.05287); ``keras.layers.LSTMCell``, where
    ``per_gate`` is ``implementation=1`` and ``drops_state`` what ``GRUCell`` does with
    ``implementation=2`` in Keras 2. ``per_step``: Zaremba et al., 2014 (arXiv:1409.2329), inputs
    and outputs.
    """

    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    per_gate: bool = False
    drops_state: bool = False
    output_dropout: float = 0.0
    per_step: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        make_rates(self, "dropout", "recurrent_dropout", "output_dropout")
        if self.drops_state and self.per_gate:
            raise ValueError("DropoutCell: drops_state needs one mask for all gates, not per_gate")
        if isinstance(self.cell, SRUCell) and self.recurrent_dropout and not self.drops_state:
            raise ValueError(
                "DropoutCell: recurrent_dropout masks products with the state, but SRUCell has "
                "none; use dropout (of the input) alone, or drops_state=True"
            )
        if not self._masks_itself:
            return
        inner = type(self.cell).__name__
        if self.per_gate or (self.recurrent_dropout and not self.drops_state):
            raise ValueError(
                f"DropoutCell: {inner} takes no masks of its gates and state; give its project and "
                "step a keyword argument dropout=(), use drops_state=True, or if it holds cells "
                f"give these dropout: {inner}(DropoutCell(...))"
            )
        if self.recurrent_dropout and _holds_several(self.cell):
            raise ValueError(
                f"DropoutCell: {inner} has the states of several cells; give these dropout"
            )

    @property
    def is_random(self) -> bool:
        """Whether ``draw`` draws anything: always."""
        return True

    @property
    def _masks_itself(self) -> bool:
        """Whether it is here that input and state are masked, not in the cell's products."""
        halves = (self.cell.project, self.cell.step)
        return not all("dropout" in inspect.signature(half).parameters for half in halves)

    def draw(self, key: jax.Array, params: Params, x: jax.Array) -> DropoutParams | DropoutKeys:
        """Returns the parameters with freshly drawn masks, for one step's input ``x`` [..., F].

        With ``per_step``, with the keys that they are drawn with.
        """
        if draws(self.cell):
            key, of_cell = jax.random.split(key)
            params = drawn(self.cell, of_cell, params, x)
        if self.per_step:
            return DropoutKeys(
                params, *(row_keys(one, x, self.feature_ndim) for one in jax.random.split(key, 3))
            )
        of_output = None
        if self.output_dropout:
            key, of_output = jax.random.split(key)
        of_input, of_state = jax.random.split(key)
        z = self.cell.project(params, x)
        state = self.cell.initial_state(params, z)
        masks = DropoutParams(
            params,
            self._kept(of_input, self.dropout, x),
            self._kept(of_state, self.recurrent_dropout, jax.tree.leaves(state)[0]),
        )
        if of_output is None:
            return masks
        y = _one_array(jax.eval_shape(self.cell.step, params, state, z)[1])
        kept = jax.random.bernoulli(of_output, 1 - self.output_dropout, y.shape)
        return masks._replace(kept_outputs=(kept,))

    def _kept(self, key: jax.Array, rate: float, operand: Any) -> tuple[jax.Array, ...]:
        if rate == 0:
            return ()
        keys, shape = jax.random.split(key, self._masks), _one_array(operand).shape
        return tuple(jax.random.bernoulli(one, 1 - rate, shape) for one in keys)

    @property
    def _masks(self) -> int:
        """Number of masks for an operand of products."""
        return getattr(self.cell, "gates", 1) if self.per_gate else 1

    def initial_state(self, params: Params | DropoutParams | DropoutKeys, z: Any) -> State:
        """Returns the inner cell's initial state, with ``per_step`` a ``ClockedState``."""
        inner = undrawn(params, DropoutParams, DropoutKeys)
        if not self.per_step:
            return self.cell.initial_state(inner, z)
        z, clock = z
        z = self.cell.project(inner, z) if self._projects_late(params) else z
        return ClockedState(self.cell.initial_state(inner, z), clock)

    def _projects_late(self, params: Any) -> bool:
        """Whether the input is masked, and so projected, in ``step``."""
        return isinstance(params, DropoutKeys) and self.dropout > 0

    def project(self, params: Params | DropoutParams | DropoutKeys, xs: Any) -> Any:
        """Returns the inner cell's projection, of what is kept of the input."""
        if not self.per_step:
            return self._project(_as_masks(params), xs)
        inner = undrawn(params, DropoutParams, DropoutKeys)
        z = xs if self._projects_late(params) else self.cell.project(inner, xs)
        return z, start(xs, self.feature_ndim)

    def _project(self, masks: DropoutParams, xs: Any) -> Any:
        if not masks.kept_inputs:
            return self.cell.project(masks.params, xs)
        # As exact as the product is to be: the input may be narrower than the kernel.
        dtype = float_type(xs, masks.params)
        factors = _factors(masks.kept_inputs, self.dropout, dtype)
        cell: Any = self.cell
        if self._masks_itself:
            return cell.project(masks.params, xs * to_rank(factors[0], xs))
        return cell.project(masks.params, xs, dropout=factors)

    def step(
        self, params: Params | DropoutParams | DropoutKeys, state: State, z: Any
    ) -> tuple[State, Any]:
        """Returns the inner cell's next state and output, its products with what is kept."""
        if not self.per_step:
            masks = _as_masks(params)
            state, y = self._step(masks, state, z)
            return state, self._output(masks, y)
        (z, _), (state, clock) = z, state
        if not isinstance(params, DropoutKeys):
            state, y = self.cell.step(params, state, z)
            return ClockedState(state, tick(clock)), y
        hidden, number = jax.tree.leaves(state)[0], self._masks
        masks = DropoutParams(
            params.params,
            _now(params.inputs, clock, self.dropout, z, number),
            _now(params.states, clock, self.recurrent_dropout, hidden, number),
        )
        z = self._project(masks, z) if self._projects_late(params) else z
        state, y = self._step(masks, state, z)
        kept = _now(params.outputs, clock, self.output_dropout, y, 1)
        return ClockedState(state, tick(clock)), self._output(masks._replace(kept_outputs=kept), y)

    def _step(self, masks: DropoutParams, state: State, z: Any) -> tuple[State, Any]:
        if not masks.kept_states:
            return self.cell.step(masks.params, state, z)
        (hidden, *others), structure = jax.tree.flatten(state)
        factors = _factors(masks.kept_states, self.recurrent_dropout, hidden.dtype)
        if self.drops_state:
            state = jax.tree.unflatten(structure, [hidden * split_as(factors[0], hidden), *others])
            return self.cell.step(masks.params, state, z)
        cell: Any = self.cell
        return cell.step(masks.params, state, z, dropout=factors)

    def _output(self, masks: DropoutParams, y: Any) -> Any:
        if not masks.kept_outputs:
            return y
        (factor,) = _factors(masks.kept_outputs, self.output_dropout, y.dtype)
        return y * split_as(factor, y)


def _holds_several(cell: Any) -> bool:
    return hasattr(cell, "cells") or (hasattr(cell, "cell") and _holds_several(cell.cell))


def _now(
    keys: jax.Array, clock: Clock, rate: float, like: Any, number: int
) -> tuple[jax.Array, ...]:
    """Returns masks for an array of one step, whose leading axes are the clock's."""
    if rate == 0:
        return ()
    rows = clock.steps.ndim
    shape = (number, *_one_array(like).shape[rows:])
    return tuple(jnp.moveaxis(kept_now(keys, clock, rate, shape), rows, 0))


def _one_array(operand: Any) -> Any:
    """Returns what loses features; raises ``ValueError`` unless it is one array."""
    if jax.tree.structure(operand) != jax.tree.structure(0):
        raise ValueError(
            f"DropoutCell: the input or output is a {type(operand).__name__}, but one array is "
            "needed to drop some of its features; drop them in the cell itself"
        )
    return operand


def _as_masks(params: Any) -> DropoutParams:
    return params if isinstance(params, DropoutParams) else DropoutParams(params)


def _factors(kept: tuple[jax.Array, ...], rate: float, dtype: Any) -> Masks:
    scale = 0.0 if rate == 1 else 1 / (1 - rate)
    return [mask.astype(dtype) * scale for mask in kept]
