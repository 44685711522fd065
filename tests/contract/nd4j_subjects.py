"""The ops of ``jrnn.nd4j`` as rows of the contract grid.

Each is held to its equations, or those of DL4J to jrnn's cell, in a Python loop.
"""

import jax.numpy as jnp

import jrnn
from jrnn import nd4j
from tests.contract.nd4j_plain import (
    gru_step,
    layer_step,
    lstm_step,
    plain_both_rnns,
    plain_dl4j,
    plain_gru_layer,
    plain_lstm_block,
    plain_lstm_both,
    plain_lstm_layer,
    plain_projection,
    plain_rnn,
    plain_sru,
    plain_sru_bi,
    plain_static_both,
    projection_step,
    rnn_step,
    sru_step,
)
from tests.contract.subjects import Subject, T, s, turned

GATED = nd4j.LSTMConfiguration("NTS", peep_hole=True, forget_bias=0.5, clipping_cell_value=0.9)
LAYER = {"cell_clip": 0.9, "ret_last_h": True, "ret_last_c": True}
PROJECTING = nd4j.ProjectionLSTMConfig(peephole=True, projection=True, clipping_proj_value=0.9)


def first(x):
    """[B, T, F] as [T, B, F]; with further batch axes the first is time, too."""
    return turned(x, -2, 0)


def back(y):
    """[T, B, F] as [B, T, F]."""
    return jnp.moveaxis(y, 0, -2)


def last(x):
    """[B, T, F] as [B, F, T], and back."""
    return turned(x, -1, -2)


def call_lstm_both(w, state, xs):
    config = nd4j.LSTMLayerConfig("NTS", "BIDIR_CONCAT", **LAYER)
    c, h = (turned(leaf, -2, 0) for leaf in state)
    ys, *finals = nd4j.lstm_layer(xs, w, config, c_last=c, y_last=h)
    return ys, *(jnp.moveaxis(leaf, 0, -2) for leaf in finals)


def both_rnns(op):
    def call(w, state, xs):
        return op(xs, *w, h_0_forward=state[0], h_0_backward=state[1])

    return call


def static_both(w, state, xs):
    ys, *finals = both_rnns(nd4j.static_bidirectional_rnn)(w, state, first(xs))
    return back(ys), *finals


def dl4j(op):
    """A layer of DL4J, [B, F, T] in and out."""

    def call(w, state, xs):
        state, ys = op(w, last(xs), initial_state=state)
        return state, last(ys)

    return call


def nd4j_subjects(f, n) -> dict[str, Subject]:
    """Every op of ``jrnn.nd4j`` by its name; f features, n units."""
    x, xs, h, p = s(f), s(T, f), s(n), 2
    gru = nd4j.GRUWeights(s(f + n, 2 * n), s(f + n, n), s(2 * n), s(n))
    block = nd4j.LSTMWeights(s(f + n, 4 * n), s(n), s(n), s(n), s(4 * n))
    one = nd4j.LSTMLayerWeights(s(f, 4 * n), s(n, 4 * n), s(4 * n), s(3 * n))
    two = nd4j.LSTMLayerWeights(*(s(2, *leaf.shape) for leaf in one))
    projection = nd4j.ProjectionLSTMWeights(s(f, 4 * n), s(p, 4 * n), s(3 * n), s(n, p), s(4 * n))
    sru = nd4j.SRUWeights(s(n, 3 * n), s(2 * n))
    rnn = nd4j.RNNWeights(s(f, n), s(n, n), s(2 * n))
    graves = nd4j.DL4JLSTMWeights(s(f, 4 * n), s(n, 4 * n + 3), s(1, 4 * n))
    simple = nd4j.DL4JSimpleRnnWeights(s(f, n), s(n, n), s(1, n))
    config = nd4j.LSTMLayerConfig("NTS", **LAYER)
    cell_config = nd4j.LSTMLayerConfig(cell_clip=0.9)
    gru_layer = (s(f, 3 * n), s(n, 3 * n), s(3 * n))
    rows = {
        "gru": Subject(lambda w, h, x: nd4j.gru(x, h, w), gru_step, (gru, h, x)),
        "gru_cell": Subject(lambda w, h, x: nd4j.gru_cell(x, h, w), gru_step, (gru, h, x)),
        "gru_layer": Subject(
            lambda w, h, x: back(nd4j.gru_layer(first(x), h, *w)),
            plain_gru_layer,
            (gru_layer, h, xs),
            -2,
        ),
        "lstm_cell": Subject(
            lambda w, s, x: nd4j.lstm_cell(x, *s, w, GATED), lstm_step, (block, (h, h), x)
        ),
        "lstm_block": Subject(
            lambda w, s, x: nd4j.lstm_block(x, w, GATED, c_last=s[0], y_last=s[1]),
            plain_lstm_block,
            (block, (h, h), xs),
            -2,
        ),
        "lstm_layer": Subject(
            lambda w, s, x: nd4j.lstm_layer(x, w, config, c_last=s[0], y_last=s[1]),
            plain_lstm_layer,
            (one, (h, h), xs),
            -2,
            lambda outputs: outputs[:0:-1],
        ),
        "lstm_layer, both": Subject(
            call_lstm_both, plain_lstm_both, (two, (s(2, n), s(2, n)), xs), -2
        ),
        "lstm_layer_cell": Subject(
            lambda w, s, x: nd4j.lstm_layer_cell(x, w, cell_config, c_last=s[0], y_last=s[1]),
            lambda *args: layer_step(*args)[::-1],
            (one, (h, h), x),
        ),
        "projection_lstm_cell": Subject(
            lambda w, s, x: nd4j.projection_lstm_cell(x, *s, w, PROJECTING),
            projection_step,
            (projection, (s(p), h), x),
        ),
        "projection_lstm": Subject(
            lambda w, s, x: tuple(map(back, nd4j.projection_lstm(first(x), *s, w, PROJECTING))),
            plain_projection,
            (projection, (s(p), h), xs),
            -2,
        ),
        "sru": Subject(
            lambda w, c, x: tuple(map(last, nd4j.sru(last(x), c, w))),
            plain_sru,
            (sru, h, s(T, n)),
            -2,
        ),
        "sru_cell": Subject(lambda w, c, x: nd4j.sru_cell(x, c, w), sru_step, (sru, h, h)),
        "sru_bi": Subject(
            lambda w, c, x: tuple(map(back, nd4j.sru_bi(first(x), c, w))),
            plain_sru_bi,
            (sru, h, s(T, n)),
            -2,
        ),
        "rnn_cell": Subject(lambda w, h, x: nd4j.rnn_cell(x, h, w), rnn_step, (rnn, h, x)),
        "static_rnn": Subject(
            lambda w, h, x: static(nd4j.static_rnn(first(x), w, h_0=h)),
            plain_rnn,
            (rnn, h, xs),
            -2,
            lambda outputs: outputs[1],
        ),
        "dynamic_rnn": Subject(
            lambda w, h, x: nd4j.dynamic_rnn(x, w, h_0=h),
            plain_rnn,
            (rnn, h, xs),
            -2,
            lambda outputs: outputs[1],
        ),
        "static_bidirectional_rnn": Subject(
            static_both, plain_static_both, ((rnn, rnn), (h, h), xs), -2
        ),
        "dynamic_bidirectional_rnn": Subject(
            both_rnns(nd4j.dynamic_bidirectional_rnn),
            plain_both_rnns,
            ((rnn, rnn), (h, h), xs),
            -2,
        ),
        "dl4j_lstm": Subject(
            dl4j(nd4j.dl4j_lstm),
            plain_dl4j(jrnn.LSTMCell(peephole=True), nd4j.dl4j_lstm_to_params),
            (graves, jrnn.LSTMState(h, h), xs),
            -2,
            lambda outputs: outputs[0],
        ),
        "dl4j_simple_rnn": Subject(
            dl4j(nd4j.dl4j_simple_rnn),
            plain_dl4j(jrnn.SimpleRNNCell(), nd4j.dl4j_simple_rnn_to_params),
            (simple, jrnn.SimpleRNNState(h), xs),
            -2,
            lambda outputs: outputs[0],
        ),
    }
    return {f"nd4j.{name}": row for name, row in rows.items()}


def static(outputs):
    return back(outputs.h), outputs.h_final
