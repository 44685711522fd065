"""What Flax has in another form: the state, activations, outputs of a reversed sequence."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn.activations import Activation
from jrnn.cells.base import Cell
from jrnn.cells.conv_gru import ConvGRUCell, ConvGRUState
from jrnn.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from jrnn.cells.gru import GRUCell, GRUState
from jrnn.cells.lstm import LSTMCell, LSTMState
from jrnn.cells.noise import ClockedState
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNState
from jrnn.cells.sru import SRUCell, SRUState
from jrnn.cells.stacked import StackedCell
from jrnn.cells.wrapper import Wrapper

_STATES: dict[type, Any] = {
    LSTMCell: LSTMState,
    ConvLSTMCell: ConvLSTMState,
    GRUCell: GRUState,
    ConvGRUCell: ConvGRUState,
    SimpleRNNCell: SimpleRNNState,
    SRUCell: SRUState,
}


def carry_of(cell: Cell, state: Any) -> Any:
    """Returns the carry: ``(cell, hidden)`` of an LSTM, the one array of jrnn's other cells.

    A stack has a tuple of them, a ``ClockedState`` holds its cell's. The state of a cell of one's
    own is the carry itself.
    """
    if isinstance(cell, Wrapper):
        return _inside(carry_of, cell, state)
    if isinstance(cell, StackedCell):
        return tuple(map(carry_of, cell.cells, state))
    kind = _STATES.get(type(cell))
    if kind is None:
        return state
    return state[0] if len(kind._fields) == 1 else (state.cell, state.hidden)


def state_of(cell: Cell, carry: Any) -> Any:
    """Returns the state that ``carry_of`` turns into ``carry``; a state is taken as it is.

    Raises:
        ValueError: If the carry of an LSTM is no pair, or a stack's has not one for each cell.
    """
    if isinstance(cell, Wrapper):
        return _inside(state_of, cell, carry)
    if isinstance(cell, StackedCell):
        _check_length(cell, carry, len(cell.cells))
        return tuple(map(state_of, cell.cells, carry))
    kind = _STATES.get(type(cell))
    if kind is None or isinstance(carry, kind):
        return carry
    if len(kind._fields) == 1:
        _check_arrays(cell, [carry])
        return kind(carry)
    _check_length(cell, carry, 2)
    _check_arrays(cell, carry)
    return kind(hidden=carry[1], cell=carry[0])


def _inside(turn: Callable[[Cell, Any], Any], cell: Wrapper, state: Any) -> Any:
    """Returns the inner cell's state turned, in the clock's company if there is one."""
    if isinstance(state, ClockedState):
        return state._replace(state=turn(cell.cell, state.state))
    return turn(cell.cell, state)


def carries_of_layers(layers: Sequence[Any], initial_carry: Sequence[Any] | None) -> list[Any]:
    """Returns a carry, or None, for each layer of a stack.

    Raises:
        ValueError: If there is not one for each.
    """
    carries = [None] * len(layers) if initial_carry is None else list(initial_carry)
    if len(carries) != len(layers):
        raise ValueError(
            f"jrnn.flax_wrappers: initial_carry has {len(carries)} entries, but there are "
            f"{len(layers)} layers"
        )
    return carries


def _check_length(cell: Cell, carry: Any, length: int) -> None:
    if not isinstance(carry, tuple | list) or len(carry) != length:
        got = f" of {len(carry)}" if isinstance(carry, tuple | list) else ""
        raise ValueError(
            f"jrnn.flax_wrappers: the carry of {type(cell).__name__} is a "
            f"{type(carry).__name__}{got}, but a tuple of {length} is needed"
        )


def _check_arrays(cell: Cell, entries: Any) -> None:
    if not all(hasattr(entry, "shape") for entry in entries):
        raise ValueError(
            f"jrnn.flax_wrappers: the carry of {type(cell).__name__} holds "
            f"{', '.join(type(entry).__name__ for entry in entries)}, but arrays are needed"
        )


def cast(x: ArrayLike, dtype: DTypeLike | None) -> jax.Array:
    """Returns an array in a dtype, or as it is."""
    return jnp.asarray(x) if dtype is None else jnp.asarray(x).astype(dtype)


def plain_function(function: Activation | str) -> Activation | str:
    """Returns the name of a function of JAX's that jrnn has kernels of its own for."""
    named = {jnp.tanh: "tanh", jax.nn.tanh: "tanh", jax.nn.sigmoid: "sigmoid"}
    return function if isinstance(function, str) else named.get(function, function)


def windows(kernel_size: Any, strides: Any, padding: Any) -> dict[str, Any]:
    """Returns jrnn's options for the windows of a ConvLSTM in Flax's words."""
    if not isinstance(kernel_size, tuple | list) or not isinstance(padding, str):
        raise ValueError(
            f"jrnn.flax_wrappers: ConvLSTMCell has kernel_size={kernel_size!r} and "
            f'padding={padding!r}, but a size for each axis of an image and "SAME" or "VALID" are '
            "needed"
        )
    strides = 1 if strides is None else strides
    return {
        "rank": len(kernel_size),
        "kernel_size": tuple(kernel_size),
        "strides": tuple(strides) if isinstance(strides, list) else strides,
        "padding": padding.lower(),
    }


def in_order_computed(ys: jax.Array, seq_lengths: ArrayLike | None, axis: int) -> jax.Array:
    """Returns each row's valid steps turned around; the padding stays at the end."""
    if seq_lengths is None:
        return jnp.flip(ys, axis)
    ys = jnp.moveaxis(ys, axis, 0)
    lengths = jnp.clip(jnp.asarray(seq_lengths).astype(int), 0, len(ys))
    steps = jnp.arange(len(ys)).reshape(-1, *[1] * lengths.ndim)
    sources = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    sources = sources.reshape(sources.shape + (1,) * (ys.ndim - sources.ndim))
    return jnp.moveaxis(jnp.take_along_axis(ys, sources, 0), 0, axis)
