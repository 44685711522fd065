"""Modules of Flax Linen over jrnn's functions, with Flax's words and carries."""

from jrnn.flax_wrappers.linen.bridge import from_nnx, to_nnx
from jrnn.flax_wrappers.linen.cell import CellModule, RNNCell
from jrnn.flax_wrappers.linen.cells import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    OptimizedLSTMCell,
    SimpleCell,
    SRUCell,
)
from jrnn.flax_wrappers.linen.convert import from_flax, to_flax
from jrnn.flax_wrappers.linen.keras import KerasModel, from_keras, to_params
from jrnn.flax_wrappers.linen.layers import GRU, LSTM, SRU, ConvLSTM, SimpleRNN
from jrnn.flax_wrappers.linen.rnn import RNN, Bidirectional, StackedRNN

__all__ = [
    "RNN",
    "Bidirectional",
    "CellModule",
    "ConvLSTM",
    "ConvLSTMCell",
    "GRU",
    "GRUCell",
    "KerasModel",
    "LSTM",
    "LSTMCell",
    "OptimizedLSTMCell",
    "RNNCell",
    "SRU",
    "SRUCell",
    "SimpleCell",
    "SimpleRNN",
    "StackedRNN",
    "from_flax",
    "from_keras",
    "from_nnx",
    "to_flax",
    "to_nnx",
    "to_params",
]
