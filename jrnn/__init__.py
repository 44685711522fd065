"""jrnn: recurrent networks as pure JAX functions."""

import importlib
from typing import TYPE_CHECKING, Any

from jrnn import activations, constraints, initializers, regularizers
from jrnn.cells.base import Cell
from jrnn.cells.conv_gru import ConvGRUCell, ConvGRUParams, ConvGRUState
from jrnn.cells.conv_lstm import ConvLSTMCell, ConvLSTMParams, ConvLSTMState
from jrnn.cells.drop_connect import DropConnectCell
from jrnn.cells.dropout import DropoutCell, DropoutKeys, DropoutParams
from jrnn.cells.gru import GRUCell, GRUGates, GRUParams, GRUState
from jrnn.cells.layer_norm import LayerNormCell, LayerNormParams
from jrnn.cells.lstm import LSTMCell, LSTMGates, LSTMParams, LSTMState
from jrnn.cells.noise import Clock, ClockedState
from jrnn.cells.norm import Norm, NormCell, NormParams
from jrnn.cells.residual import ProjectionCell, ProjectionParams, ResidualCell
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams, SimpleRNNState
from jrnn.cells.sru import SRUCell, SRUParams, SRUState
from jrnn.cells.stacked import StackedCell
from jrnn.cells.zoneout import ZoneoutCell, ZoneoutParams
from jrnn.exported import register
from jrnn.layers.bidirectional import BidirectionalParams, BidirectionalState, bidirectional
from jrnn.layers.convolutional import conv_gru, conv_lstm
from jrnn.layers.core import DenseParams, EmbeddingParams
from jrnn.layers.memory import MemoryPlan, memory_plan
from jrnn.layers.named import gru, lstm, simple_rnn, sru
from jrnn.layers.recurrent import rnn
from jrnn.layers.streaming import Stream, stream
from jrnn.scan.truncated import truncated_bptt

if TYPE_CHECKING:
    from jrnn import flax_wrappers, nd4j
    from jrnn.keras_loader import KerasFileError, load_keras, save_keras

__version__ = "0.1.0"

__all__ = [
    "BidirectionalParams",
    "BidirectionalState",
    "Cell",
    "Clock",
    "ClockedState",
    "ConvGRUCell",
    "ConvGRUParams",
    "ConvGRUState",
    "ConvLSTMCell",
    "ConvLSTMParams",
    "ConvLSTMState",
    "DropConnectCell",
    "DropoutCell",
    "GRUCell",
    "GRUParams",
    "GRUState",
    "KerasFileError",
    "LSTMCell",
    "LSTMParams",
    "LSTMState",
    "LayerNormCell",
    "LayerNormParams",
    "MemoryPlan",
    "Norm",
    "NormCell",
    "NormParams",
    "ProjectionCell",
    "ProjectionParams",
    "ResidualCell",
    "SRUCell",
    "SRUParams",
    "SRUState",
    "SimpleRNNCell",
    "SimpleRNNParams",
    "SimpleRNNState",
    "StackedCell",
    "Stream",
    "ZoneoutCell",
    "activations",
    "bidirectional",
    "constraints",
    "conv_gru",
    "conv_lstm",
    "flax_wrappers",
    "gru",
    "initializers",
    "load_keras",
    "lstm",
    "memory_plan",
    "nd4j",
    "regularizers",
    "rnn",
    "save_keras",
    "simple_rnn",
    "sru",
    "stream",
    "truncated_bptt",
]

register("jrnn", map(globals().get, __all__))
# Not public, but among the arrays that a program takes: `draw` and `load_keras` make them.
register(
    "jrnn",
    (
        DenseParams,
        DropoutKeys,
        DropoutParams,
        EmbeddingParams,
        GRUGates,
        LSTMGates,
        ZoneoutParams,
    ),
)


def __getattr__(name: str) -> Any:
    """Imports what not everybody needs when it is first asked for: flax and h5py with it."""
    if name in ("nd4j", "flax_wrappers"):
        return importlib.import_module(f"jrnn.{name}")
    if name in ("load_keras", "save_keras", "KerasFileError"):
        return getattr(importlib.import_module("jrnn.keras_loader"), name)
    raise AttributeError(f"module 'jrnn' has no attribute {name!r}")
