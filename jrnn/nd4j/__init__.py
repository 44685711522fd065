"""The ND4J / SameDiff recurrent op set; docs/nd4j.md puts the page's ops beside these."""

from jrnn.exported import register
from jrnn.nd4j.configs import (
    LSTMActivations,
    LSTMConfiguration,
    LSTMDataFormat,
    LSTMDirectionMode,
    LSTMLayerConfig,
    ProjectionLSTMConfig,
    RnnDataFormat,
)
from jrnn.nd4j.convert import (
    gru_from_params,
    gru_layer_from_params,
    gru_layer_to_params,
    gru_to_params,
    rnn_from_params,
    rnn_to_params,
    sru_from_params,
    sru_to_params,
)
from jrnn.nd4j.convert_lstm import (
    lstm_from_params,
    lstm_layer_from_params,
    lstm_layer_to_params,
    lstm_to_params,
    projection_lstm_from_params,
    projection_lstm_to_params,
)
from jrnn.nd4j.dl4j import (
    DL4JLSTMWeights,
    DL4JSimpleRnnWeights,
    dl4j_lstm,
    dl4j_lstm_from_params,
    dl4j_lstm_to_params,
    dl4j_simple_rnn,
    dl4j_simple_rnn_from_params,
    dl4j_simple_rnn_to_params,
)
from jrnn.nd4j.gru import gru, gru_cell, gru_layer
from jrnn.nd4j.lstm_block import lstm_block, lstm_cell
from jrnn.nd4j.lstm_layer import lstm_layer, lstm_layer_cell
from jrnn.nd4j.projection_lstm import projection_lstm, projection_lstm_cell
from jrnn.nd4j.simple_rnn import (
    dynamic_bidirectional_rnn,
    dynamic_rnn,
    rnn_cell,
    static_bidirectional_rnn,
    static_rnn,
)
from jrnn.nd4j.sru import sru, sru_bi, sru_cell
from jrnn.nd4j.weights import (
    DynamicBidirectionalOutputs,
    GRUCellOutputs,
    GRUWeights,
    HiddenAndCell,
    LSTMCellOutputs,
    LSTMLayerWeights,
    LSTMWeights,
    ProjectionLSTMWeights,
    RNNOutputs,
    RNNWeights,
    SRUWeights,
    StaticBidirectionalOutputs,
)

__all__ = [
    "gru",
    "gru_cell",
    "gru_layer",
    "lstm_cell",
    "lstm_block",
    "lstm_layer",
    "lstm_layer_cell",
    "projection_lstm_cell",
    "projection_lstm",
    "sru",
    "sru_cell",
    "sru_bi",
    "rnn_cell",
    "static_rnn",
    "dynamic_rnn",
    "static_bidirectional_rnn",
    "dynamic_bidirectional_rnn",
    "GRUWeights",
    "LSTMWeights",
    "LSTMLayerWeights",
    "ProjectionLSTMWeights",
    "SRUWeights",
    "RNNWeights",
    "LSTMConfiguration",
    "LSTMLayerConfig",
    "ProjectionLSTMConfig",
    "RnnDataFormat",
    "LSTMDataFormat",
    "LSTMDirectionMode",
    "LSTMActivations",
    "GRUCellOutputs",
    "LSTMCellOutputs",
    "HiddenAndCell",
    "RNNOutputs",
    "StaticBidirectionalOutputs",
    "DynamicBidirectionalOutputs",
    "gru_to_params",
    "gru_from_params",
    "gru_layer_to_params",
    "gru_layer_from_params",
    "lstm_to_params",
    "lstm_from_params",
    "lstm_layer_to_params",
    "lstm_layer_from_params",
    "projection_lstm_to_params",
    "projection_lstm_from_params",
    "sru_to_params",
    "sru_from_params",
    "rnn_to_params",
    "rnn_from_params",
    "DL4JLSTMWeights",
    "DL4JSimpleRnnWeights",
    "dl4j_lstm",
    "dl4j_simple_rnn",
    "dl4j_lstm_to_params",
    "dl4j_lstm_from_params",
    "dl4j_simple_rnn_to_params",
    "dl4j_simple_rnn_from_params",
]

register("jrnn.nd4j", globals().values())
