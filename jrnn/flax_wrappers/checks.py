"""What is refused, and what is said then."""

from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike

from jrnn import activations
from jrnn.cells.base import Cell
from jrnn.cells.conv_lstm import ConvLSTMCell
from jrnn.cells.gru import GRUCell
from jrnn.cells.lstm import LSTMCell


def check_flax_has(who: str, cell: Cell) -> None:
    """Raises ``ValueError`` if Flax has no cell that computes what this one does."""
    if isinstance(cell, GRUCell) and not cell.reset_after:
        raise ValueError(f"{who}: Flax's GRU resets after the product, but this one before it")
    if isinstance(cell, LSTMCell) and (
        cell.peephole or cell.projection or cell.cell_clip or cell.output_activation
    ):
        raise ValueError(
            f"{who}: Flax's LSTM has no peepholes, projection, clip and output activation, but "
            f"this one is {cell}"
        )
    if isinstance(cell, ConvLSTMCell):
        same = (cell.padding, cell.same_rule) == ("same", "tensorflow")
        plain = {*cell.sizes("strides"), *cell.sizes("dilation")} == {1}
        functions = (activations.get(cell.activation), activations.get(cell.recurrent_activation))
        standard = functions == (activations.tanh, activations.sigmoid)
        pixel = set(cell.sizes("kernel_size")) == {1}
        if not (standard and plain and (same or pixel) and cell.channel_axis == -1):
            raise ValueError(
                f"{who}: Flax's ConvLSTM has tanh, sigmoid, channels last, and a state that only "
                f"padding='same', strides and dilation of 1 fit, but this one is {cell}"
            )


def check_cell_module(flax: str, module: Any) -> None:
    """Raises ``ValueError`` if a module of ``flax`` ("nnx" or "linen") is no cell."""
    if not all(hasattr(module, name) for name in ("initialize_carry", "num_feature_axes")):
        raise ValueError(
            f"jrnn.flax_wrappers.{flax}.RNN: cell is a {type(module).__name__}, but a cell module "
            f"is needed: of jrnn.flax_wrappers.{flax}, or with the methods of "
            f"flax.{flax}.RNNCellBase; a cell of jrnn goes into RNNCell"
        )


def check_both(carry: Any) -> None:
    """Raises ``ValueError`` if a carry is none of two directions."""
    if not isinstance(carry, tuple | list) or len(carry) != 2:
        raise ValueError(
            f"jrnn.flax_wrappers: Bidirectional got an initial_carry of type "
            f"{type(carry).__name__}, but a tuple of 2 is needed: of each direction one"
        )


def check_stack(layers: Any, dropout: float) -> None:
    """Raises ``ValueError`` if there is no layer, or the dropout is no probability."""
    if not layers:
        raise ValueError("jrnn.flax_wrappers: layers is empty, but at least one is needed")
    if not 0 <= dropout <= 1:
        raise ValueError(
            f"jrnn.flax_wrappers: StackedRNN: dropout is {dropout}, but 0 to 1 is needed"
        )


def check_dtypes(who: str, dtype: DTypeLike | None, param_dtype: DTypeLike | None) -> None:
    """Raises ``ValueError`` if one is none of floating-point numbers."""
    for name, given in (("dtype", dtype), ("param_dtype", param_dtype)):
        if given is not None and not jnp.issubdtype(given, jnp.floating):
            raise ValueError(
                f"{who}: {name} is {jnp.dtype(given)}, but a floating-point dtype is needed"
            )
