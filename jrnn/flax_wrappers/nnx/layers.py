"""Layers by name: a named cell over a sequence, in one module."""

from typing import Any, ClassVar

from flax import nnx

from jrnn.flax_wrappers.nnx import cells
from jrnn.flax_wrappers.nnx.rnn import RNN

LOOP_OPTIONS = (
    "time_major",
    "return_carry",
    "reverse",
    "keep_order",
    "unroll",
    "implementation",
    "checkpoint",
)


class _Layer(RNN):
    """``RNN`` over a cell made of the same arguments.

    Args:
        *sizes: As for the cell.
        rngs: Draws the parameters, and dropout if there is any.
        **options: As for the cell, or for ``RNN``.
    """

    kind: ClassVar[type]

    def __init__(self, *sizes: Any, rngs: nnx.Rngs, **options: Any):
        of_the_loop = {name: options.pop(name) for name in LOOP_OPTIONS if name in options}
        super().__init__(self.kind(*sizes, rngs=rngs, **options), rngs=rngs, **of_the_loop)


class SimpleRNN(_Layer):
    """``RNN(SimpleCell(in_features, hidden_features, ...), ...)``: options of both."""

    kind = cells.SimpleCell


class GRU(_Layer):
    """``RNN(GRUCell(in_features, hidden_features, ...), ...)``: options of both."""

    kind = cells.GRUCell


class LSTM(_Layer):
    """``RNN(LSTMCell(in_features, hidden_features, ...), ...)``: options of both."""

    kind = cells.LSTMCell


class SRU(_Layer):
    """``RNN(SRUCell(in_features, hidden_features, ...), ...)``: options of both."""

    kind = cells.SRUCell


class ConvLSTM(_Layer):
    """``RNN(ConvLSTMCell(in_features, features, kernel_size, ...), ...)``: options of both."""

    kind = cells.ConvLSTMCell
