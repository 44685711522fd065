"""Every op of `jrnn.nd4j` with the shapes of its inputs: one table for the tests of transforms."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from jrnn import nd4j

# T, F, U, P and no multiple of them below is 16: an axis of 16 is the batch, and is split.
B, T, F, U, P = 16, 4, 2, 3, 5


class Op(NamedTuple):
    """An op, the shapes of its arguments and whether lengths [B] follow them."""

    call: Callable
    shapes: tuple[Any, ...]
    lengths: bool = False


def s(*shape):
    return jax.ShapeDtypeStruct(shape, float)


X, STATE = s(T, B, F), s(B, U)
GRU = nd4j.GRUWeights(s(F + U, 2 * U), s(F + U, U), s(2 * U), s(U))
BLOCK = nd4j.LSTMWeights(s(F + U, 4 * U), s(U), s(U), s(U), s(4 * U))
LAYER = nd4j.LSTMLayerWeights(s(F, 4 * U), s(U, 4 * U), s(4 * U), s(3 * U))
BOTH = nd4j.LSTMLayerWeights(s(2, F, 4 * U), s(2, U, 4 * U), s(2, 4 * U), s(2, 3 * U))
PROJECTION = nd4j.ProjectionLSTMWeights(s(F, 4 * U), s(P, 4 * U), s(3 * U), s(U, P), s(4 * U))
RNN = nd4j.RNNWeights(s(F, U), s(U, U), s(2 * U))

PEEPHOLE = nd4j.LSTMConfiguration("NTS", peep_hole=True, forget_bias=1.0, clipping_cell_value=0.4)
PROJECTING = nd4j.ProjectionLSTMConfig(
    peephole=True,
    projection=True,
    clipping_cell_value=0.4,
    clipping_proj_value=0.3,
    forget_bias=0.5,
)
EVERY = {"ret_last_h": True, "ret_last_c": True, "cell_clip": 0.4}


def lstm_layer(**options):
    config = nd4j.LSTMLayerConfig(**EVERY, **options)

    def call(x, h, c, w, lengths=None, **options):
        return nd4j.lstm_layer(x, w, config, y_last=h, c_last=c, max_ts_length=lengths, **options)

    return call


def both_rnns(op):
    def call(x, h, back, v, w, lengths, **options):
        return op(x, v, w, h_0_forward=h, h_0_backward=back, max_time_step=lengths, **options)

    return call


OPS = {
    "gru_cell": Op(nd4j.gru_cell, (s(B, F), STATE, GRU)),
    "gru_layer": Op(nd4j.gru_layer, (X, STATE, s(F, 3 * U), s(U, 3 * U), s(3 * U))),
    "lstm_cell": Op(lambda *args: nd4j.lstm_cell(*args, PEEPHOLE), (s(B, F), STATE, STATE, BLOCK)),
    "lstm_block": Op(
        lambda x, c, y, w, lengths, **options: nd4j.lstm_block(
            x, w, PEEPHOLE, c_last=c, y_last=y, max_ts_length=lengths, **options
        ),
        (s(B, T, F), STATE, STATE, BLOCK),
        lengths=True,
    ),
    "lstm_layer": Op(
        lstm_layer(
            lstm_data_format="NTS",
            gate_act="HARD_SIGMOID",
            cell_act="SOFTSIGN",
            out_act="SCALED_TANH",
            out_alpha=0.7,
            out_beta=1.3,
        ),
        (s(B, T, F), STATE, STATE, LAYER),
    ),
    "lstm_layer-no_states": Op(
        lambda x, w, **options: nd4j.lstm_layer(x, w, **options),
        (X, LAYER._replace(biases=None, peephole_weights=None)),
    ),
    "lstm_layer-NST-BWD": Op(
        lstm_layer(lstm_data_format="NST", lstm_direction_mode="BWD"),
        (s(B, F, T), STATE, STATE, LAYER),
        lengths=True,
    ),
    "lstm_layer-T2NS": Op(
        lstm_layer(lstm_data_format="T2NS", lstm_direction_mode="BIDIR_EXTRA_DIM"),
        (X, s(2, B, U), s(2, B, U), BOTH),
        lengths=True,
    ),
    "lstm_layer_cell": Op(
        lambda x, h, c, w: nd4j.lstm_layer_cell(
            x, w, nd4j.LSTMLayerConfig(cell_clip=0.4), y_last=h, c_last=c
        ),
        (s(B, F), STATE, STATE, LAYER),
    ),
    "projection_lstm_cell": Op(
        lambda *args: nd4j.projection_lstm_cell(*args, PROJECTING),
        (s(B, F), s(B, P), STATE, PROJECTION),
    ),
    "projection_lstm": Op(
        lambda *args, **options: nd4j.projection_lstm(*args, PROJECTING, **options),
        (X, s(B, P), STATE, PROJECTION),
    ),
    "sru": Op(
        lambda x, c, mask, w, **options: nd4j.sru(x, c, w, mask=mask, **options),
        (s(B, U, T), STATE, STATE, nd4j.SRUWeights(s(3 * U, U), s(2 * U))),
    ),
    "sru_cell": Op(nd4j.sru_cell, (STATE, STATE, nd4j.SRUWeights(s(U, 3 * U), s(2 * U)))),
    "sru_bi": Op(
        lambda x, c, mask, w, **options: nd4j.sru_bi(x, c, w, mask=mask, **options),
        (
            *(s(T, B, 2 * U), s(B, 2 * U), s(B, 2 * U)),
            nd4j.SRUWeights(s(2 * U, 6 * U), s(4 * U)),
        ),
    ),
    "rnn_cell": Op(nd4j.rnn_cell, (s(B, F), STATE, RNN)),
    "static_rnn": Op(
        lambda x, h, w, lengths, **options: nd4j.static_rnn(
            x, w, h_0=h, max_time_step=lengths, **options
        ),
        (X, STATE, RNN),
        lengths=True,
    ),
    "dynamic_rnn": Op(
        lambda x, h, w, lengths, **options: nd4j.dynamic_rnn(
            x, w, h_0=h, max_time_step=lengths, **options
        ),
        (s(B, T, F), STATE, RNN),
        lengths=True,
    ),
    "static_bidirectional_rnn": Op(
        both_rnns(nd4j.static_bidirectional_rnn), (X, STATE, STATE, RNN, RNN), lengths=True
    ),
    "dynamic_bidirectional_rnn": Op(
        both_rnns(nd4j.dynamic_bidirectional_rnn),
        (s(B, T, F), STATE, STATE, RNN, RNN),
        lengths=True,
    ),
}


def arguments(op, seed=0):
    """Random float64 NumPy arguments of an op, halved, lest gates saturate; lengths from 0 to T."""
    rng = np.random.default_rng(seed)
    args = jax.tree.map(lambda leaf: 0.5 * rng.normal(size=leaf.shape), op.shapes)
    lengths = (rng.permutation(np.arange(B) % (T + 1)),) if op.lengths else ()
    return (*args, *lengths)


def by_rows(tree):
    """For each leaf, the partition that splits its batch axis."""
    return jax.tree.map(
        lambda leaf: PartitionSpec(*("rows" if size == B else None for size in leaf.shape)), tree
    )
