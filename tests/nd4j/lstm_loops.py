"""The LSTM ops of libnd4j as NumPy float64 loops: one row, one gate at a time.

Options carry the names of the configs' fields, and enums are told by name.
"""

import numpy as np

from tests.nd4j.loops import or_zeros, over_batch, time_major
from tests.oracle import block, np_sigmoid

ACTIVATIONS = {
    "TANH": lambda v, alpha, beta: np.tanh(v),
    "RELU": lambda v, alpha, beta: np.maximum(v, 0),
    "SIGMOID": lambda v, alpha, beta: np_sigmoid(v),
    "AFFINE": lambda v, alpha, beta: alpha * v + beta,
    "LEAKY_RELU": lambda v, alpha, beta: np.where(v < 0, alpha * v, v),
    "THRESHOLDED_RELU": lambda v, alpha, beta: np.where(v > alpha, v, 0),
    "SCALED_TANH": lambda v, alpha, beta: alpha * np.tanh(beta * v),
    "HARD_SIGMOID": lambda v, alpha, beta: np.clip(0.2 * v + 0.5, 0, 1),
    "ELU": lambda v, alpha, beta: np.where(v >= 0, v, alpha * np.expm1(np.minimum(v, 0))),
    "SOFTSIGN": lambda v, alpha, beta: v / (1 + np.abs(v)),
    "SOFTPLUS": lambda v, alpha, beta: np.logaddexp(0, v),
}


def clipped(array, limit):
    return np.minimum(np.maximum(array, -limit), limit) if limit > 0 else array


# The block cell: gates i, z, f, o, the rows of x and y in one matrix.


def block_step(x, c_last, y_last, w, peep_hole=False, forget_bias=0.0, clipping_cell_value=0.0):
    """i, c, f, o, z, h, y of one row after one step."""
    n, features = len(c_last), len(x)
    bias = or_zeros(w.bias, 4 * n)

    def packed(k):
        gate = block(w.ru_weight, k, n)
        return gate[:features].T @ x + gate[features:].T @ y_last + block(bias, k, n)

    def peep(weights, c):
        return weights * c if peep_hole else 0

    i = np_sigmoid(packed(0) + peep(w.input_peephole_weights, c_last))
    z = np.tanh(packed(1))
    f = np_sigmoid(packed(2) + peep(w.forget_peephole_weights, c_last) + forget_bias)
    c = clipped(z * i + f * c_last, clipping_cell_value)
    o = np_sigmoid(packed(3) + peep(w.output_peephole_weights, c))
    h = np.tanh(c)
    return i, c, f, o, z, h, o * h


def lstm_cell(x, c_last, y_last, weights, **options):
    return over_batch(lambda x, c, y: block_step(x, c, y, weights, **options), x, c_last, y_last)


def lstm_block(
    x,
    weights,
    *,
    rnn_data_format="TNS",
    c_last=None,
    y_last=None,
    max_ts_length=None,
    **options,
):
    def row(x, c, y, length):
        steps = []
        for t, x_t in enumerate(x):
            step = block_step(x_t, c, y, weights, **options)
            c, y = step[1], step[6]
            steps.append([part if t < length else np.zeros_like(part) for part in step])
        return tuple(np.stack(part) for part in zip(*steps, strict=True))

    rows = batch_major(x, rnn_data_format)
    B, T, _ = rows.shape
    n = weights.ru_weight.shape[1] // 4
    lengths = np.broadcast_to(T if max_ts_length is None else max_ts_length, B)
    parts = over_batch(row, rows, or_zeros(c_last, B, n), or_zeros(y_last, B, n), lengths)
    return tuple(batch_major(part, rnn_data_format) for part in parts)


def batch_major(array, data_format):
    """An input in a data format as [B, T, I]; also back again, as each is its own inverse."""
    swapped = {"TNS": (0, 1), "T2NS": (0, 1), "NTS": (0, 0), "NST": (1, 2)}[data_format]
    return np.swapaxes(array, *swapped)


# The projecting cell: gates i, f, g, o.


def projection_step(
    x,
    h,
    c,
    w,
    peephole=False,
    projection=False,
    clipping_cell_value=0.0,
    clipping_proj_value=0.0,
    forget_bias=0.0,
):
    """`(h, c)` of one row after one step."""
    n = len(c)
    bias = or_zeros(w.biases, 4 * n)

    def packed(k):
        mixed = block(w.input_weights, k, n).T @ x + block(w.recurrent_weights, k, n).T @ h
        return mixed + block(bias, k, n)

    def peep(k, c):
        return block(w.peephole_weights, k, n) * c if peephole else 0

    f = np_sigmoid(packed(1) + peep(1, c) + forget_bias)
    i = np_sigmoid(packed(0) + peep(0, c))
    c = clipped(f * c + i * np.tanh(packed(2)), clipping_cell_value)
    h = np_sigmoid(packed(3) + peep(2, c)) * np.tanh(c)
    return (clipped(w.projection_weights.T @ h, clipping_proj_value) if projection else h), c


def projection_lstm_cell(x, h_last, c_last, weights, **options):
    def row(x, h, c):
        return projection_step(x, h, c, weights, **options)

    return over_batch(row, x, h_last, c_last)


def projection_lstm(x, h_last, c_last, weights, **options):
    def row(x, h, c):
        steps = []
        for x_t in x:
            h, c = projection_step(x_t, h, c, weights, **options)
            steps.append((h, c))
        return tuple(np.stack(part) for part in zip(*steps, strict=True))

    return tuple(time_major(part) for part in over_batch(row, time_major(x), h_last, c_last))


# The layer: gates i, f, g, o, activations to choose, two directions, lengths.


def layer_step(
    x,
    h,
    c,
    w,
    gate_act="SIGMOID",
    cell_act="TANH",
    out_act="TANH",
    cell_clip=0.0,
    **constants,
):
    """`(h, c)` of one row after one step."""
    n = len(c)
    bias, peephole = or_zeros(w.biases, 4 * n), or_zeros(w.peephole_weights, 3 * n)

    def act(name, place, v):
        alpha, beta = (constants.get(f"{place}_{which}", 0.0) for which in ("alpha", "beta"))
        return ACTIVATIONS[name](v, alpha, beta)

    def packed(k):
        mixed = block(w.input_weights, k, n).T @ x + block(w.recurrent_weights, k, n).T @ h
        return mixed + block(bias, k, n)

    i = act(gate_act, "gate", packed(0) + block(peephole, 0, n) * c)
    f = act(gate_act, "gate", packed(1) + block(peephole, 1, n) * c)
    c = clipped(f * c + i * act(cell_act, "cell", packed(2)), cell_clip)
    o = act(gate_act, "gate", packed(3) + block(peephole, 2, n) * c)
    return o * act(out_act, "out", c), c


def lstm_layer_cell(x, weights, *, c_last=None, y_last=None, **options):
    def row(x, h, c):
        return layer_step(x, h, c, weights, **options)

    B, n = len(x), len(weights.recurrent_weights)
    return over_batch(row, x, or_zeros(y_last, B, n), or_zeros(c_last, B, n))


def steps_of(reads, length, T):
    """The steps a row counts, in the order in which they are read."""
    return {
        "forward": range(length),
        "left": range(length - 1, -1, -1),  # back from the last of the first L steps
        "right": range(T - 1, T - length - 1, -1),  # back through the last L steps
    }[reads]


def layer_pass(x, w, reads, h_0, c_0, lengths, **options):
    """`(h, last h, last c)` of one direction over x [B, T, I]."""

    def row(x, h, c, length):
        hs = np.zeros((len(x), len(h)))
        if length == 0:
            h, c = np.zeros_like(h), np.zeros_like(c)
        for t in steps_of(reads, length, len(x)):
            h, c = layer_step(x[t], h, c, w, **options)
            hs[t] = h
        return hs, h, c

    B, T, _ = x.shape
    n = len(w.recurrent_weights)
    lengths = [T] * B if lengths is None else lengths
    return over_batch(row, x, or_zeros(h_0, B, n), or_zeros(c_0, B, n), lengths)


def lstm_layer(
    x,
    weights,
    *,
    lstm_data_format="TNS",
    lstm_direction_mode="FWD",
    ret_full_sequence=True,
    ret_last_h=False,
    ret_last_c=False,
    c_last=None,
    y_last=None,
    max_ts_length=None,
    bwd_lengths="right",
    **options,
):
    rows = batch_major(x, lstm_data_format)
    if lstm_direction_mode in ("FWD", "BWD"):
        reads = "forward" if lstm_direction_mode == "FWD" else bwd_lengths
        h, last_h, last_c = layer_pass(
            rows, weights, reads, y_last, c_last, max_ts_length, **options
        )
    else:
        both = []
        for k, reads in enumerate(("forward", "left")):
            own = type(weights)(*(None if part is None else part[k] for part in weights))
            y_0, c_0 = (None if state is None else state[k] for state in (y_last, c_last))
            both.append(layer_pass(rows, own, reads, y_0, c_0, max_ts_length, **options))
        (ahead, back), last_h, last_c = (np.stack(part) for part in zip(*both, strict=True))
        h = {
            "BIDIR_SUM": lambda: ahead + back,
            "BIDIR_CONCAT": lambda: np.concatenate([ahead, back], -1),
            "BIDIR_EXTRA_DIM": lambda: np.stack([ahead, back]),
        }[lstm_direction_mode]()
    if lstm_direction_mode == "BIDIR_EXTRA_DIM":
        h = h.transpose(2, 0, 1, 3)
    else:
        h = batch_major(h, lstm_data_format)
    asked = (ret_full_sequence, ret_last_h, ret_last_c)
    return tuple(part for part, wanted in zip((h, last_h, last_c), asked, strict=True) if wanted)
