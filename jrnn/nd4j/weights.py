"""The weights of the ops, with the fields of upstream's page, and what the ops return."""

from typing import NamedTuple

import jax


class GRUWeights(NamedTuple):
    """Weights of ``gru_cell``; rows first of x, then of h. Without biases they are zero."""

    ru_weight: jax.Array  # [I + n, 2n], columns r, u
    c_weight: jax.Array  # [I + n, n]
    ru_bias: jax.Array | None = None  # [2n]
    c_bias: jax.Array | None = None  # [n]


class SRUWeights(NamedTuple):
    """Weights of ``sru``, ``sru_cell`` and ``sru_bi``.

    ``weights`` is [K, 3K] with columns z, f, r, or its transpose [3K, K]: upstream's ``sru`` wants
    the latter, its ``sru_cell`` and the page the former; here each op takes both. ``sru_bi`` has
    a layout of its own.
    """

    weights: jax.Array  # [K, 3K] or [3K, K]
    bias: jax.Array  # [2K], f and r


class LSTMWeights(NamedTuple):
    """Weights of ``lstm_cell`` and ``lstm_block``; gate order i, z, f, o (z the block input)."""

    ru_weight: jax.Array  # [I + n, 4n], rows first of x, then of y
    input_peephole_weights: jax.Array | None = None  # [n]
    forget_peephole_weights: jax.Array | None = None  # [n]
    output_peephole_weights: jax.Array | None = None  # [n]
    bias: jax.Array | None = None  # [4n]


class LSTMLayerWeights(NamedTuple):
    """Weights of ``lstm_layer``; gate order i, f, g, o, peepholes i, f, o.

    With two directions every array has a leading axis of 2, forward first. The page gives the
    recurrent weights nIn rows; they have n.
    """

    input_weights: jax.Array  # [I, 4n]
    recurrent_weights: jax.Array  # [n, 4n]
    biases: jax.Array | None = None  # [4n]
    peephole_weights: jax.Array | None = None  # [3n]


class ProjectionLSTMWeights(NamedTuple):
    """Weights of ``projection_lstm_cell``; gate order i, f, g, o, peepholes i, f, o.

    Without projection p is n.
    """

    input_weights: jax.Array  # [I, 4n]
    recurrent_weights: jax.Array  # [p, 4n]
    peephole_weights: jax.Array | None = None  # [3n]
    projection_weights: jax.Array | None = None  # [n, p]
    biases: jax.Array | None = None  # [4n]


class RNNWeights(NamedTuple):
    """Weights of ``rnn_cell``, ``static_rnn`` and ``dynamic_rnn``."""

    input_weights: jax.Array  # [I, n]
    recurrent_weights: jax.Array  # [n, n]
    biases: jax.Array | None = None  # [2n]: n of the input's product, n of the state's


class GRUCellOutputs(NamedTuple):
    """What ``gru_cell`` computes, each [B, n]."""

    r: jax.Array  # reset gate
    u: jax.Array  # update gate
    c: jax.Array  # candidate
    h: jax.Array  # output and next state


class LSTMCellOutputs(NamedTuple):
    """What ``lstm_cell`` computes, each [B, n]; of ``lstm_block`` for every step."""

    i: jax.Array  # input gate
    c: jax.Array  # next cell, after the clip
    f: jax.Array  # forget gate
    o: jax.Array  # output gate
    z: jax.Array  # block input
    h: jax.Array  # tanh(c), not the output
    y: jax.Array  # output


class HiddenAndCell(NamedTuple):
    """Output and cell state, in this order."""

    h: jax.Array  # [B, n], or of every step
    c: jax.Array  # likewise


class RNNOutputs(NamedTuple):
    """What ``static_rnn`` and ``dynamic_rnn`` return."""

    h: jax.Array  # of every step
    h_final: jax.Array  # [B, n]


class StaticBidirectionalOutputs(NamedTuple):
    """What ``static_bidirectional_rnn`` returns."""

    h: jax.Array  # [T, B, 2n], forward first
    h_forward_final: jax.Array  # [B, n]
    h_backward_final: jax.Array  # [B, n]


class DynamicBidirectionalOutputs(NamedTuple):
    """What ``dynamic_bidirectional_rnn`` returns."""

    h_forward: jax.Array  # of every step
    h_backward: jax.Array  # likewise
    h_forward_final: jax.Array  # [B, n]
    h_backward_final: jax.Array  # [B, n]
