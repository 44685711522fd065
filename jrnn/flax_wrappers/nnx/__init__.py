"""Modules of Flax NNX over jrnn's functions, with Flax's words and carries."""

from jrnn.flax_wrappers.nnx.cell import RNNCell
from jrnn.flax_wrappers.nnx.cells import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    OptimizedLSTMCell,
    SimpleCell,
    SRUCell,
)
from jrnn.flax_wrappers.nnx.convert import from_flax, to_flax
from jrnn.flax_wrappers.nnx.keras import Frozen, KerasModel, from_keras
from jrnn.flax_wrappers.nnx.layers import GRU, LSTM, SRU, ConvLSTM, SimpleRNN
from jrnn.flax_wrappers.nnx.rnn import RNN, Bidirectional, StackedRNN

__all__ = [
    "RNN",
    "Bidirectional",
    "ConvLSTM",
    "ConvLSTMCell",
    "Frozen",
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
    "to_flax",
]
