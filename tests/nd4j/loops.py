"""The GRU, SRU and plain RNN ops of libnd4j as NumPy float64 loops: one row, one gate at a time.

Written from the equations of the ops; weights are anything with the fields of the NamedTuples.
"""

import numpy as np

from tests.oracle import block, np_sigmoid


def over_batch(row, *arrays):
    """What `row` gives for each row of the arrays [B, ...], each result stacked over the rows."""
    results = [row(*one) for one in zip(*arrays, strict=True)]
    return tuple(np.stack(part) for part in zip(*results, strict=True))


def or_zeros(array, *shape):
    return np.zeros(shape) if array is None else array


def time_major(rows):
    """[B, T, ...] as [T, B, ...]."""
    return np.swapaxes(rows, 0, 1)


def gru_cell(x, h_last, weights):
    def row(x, h):
        n, features = len(h), len(x)
        ru_bias, c_bias = or_zeros(weights.ru_bias, 2 * n), or_zeros(weights.c_bias, n)

        def gate(k):
            w = block(weights.ru_weight, k, n)
            return np_sigmoid(w[:features].T @ x + w[features:].T @ h + block(ru_bias, k, n))

        r, u = gate(0), gate(1)
        w = weights.c_weight
        c = np.tanh(w[:features].T @ x + w[features:].T @ (r * h) + c_bias)
        return r, u, c, u * h + (1 - u) * c

    return over_batch(row, x, h_last)


def gru_layer(x, h_last, wx, wh, biases):
    def row(x, h):
        hs = []
        for x_t in x:
            n = len(h)
            of_x = [block(wx, k, n).T @ x_t + block(biases, k, n) for k in range(3)]
            of_h = [block(wh, k, n).T @ h for k in range(3)]
            r, u = np_sigmoid(of_x[0] + of_h[0]), np_sigmoid(of_x[1] + of_h[1])
            h = u * h + (1 - u) * np.tanh(of_x[2] + r * of_h[2])
            hs.append(h)
        return (np.stack(hs),)

    return time_major(over_batch(row, time_major(x), h_last)[0])


def sru_step(x, c, weights, bias):
    """`(h, c)` after one step of one row; the weights are [3K, K], rows z, f, r."""
    K = len(x)
    z, f, r = (weights[k * K : (k + 1) * K] @ x for k in range(3))
    f, r = np_sigmoid(f + bias[:K]), np_sigmoid(r + bias[K:])
    c = f * c + (1 - f) * z
    return r * np.tanh(c) + (1 - r) * x, c


def sru_cell(x, c_last, weights):
    """The weights are [K, 3K]."""
    return over_batch(lambda x, c: sru_step(x, c, weights.weights.T, weights.bias), x, c_last)


def sru(x, initial_c, weights, *, mask=None):
    def row(x, c, mask):
        steps = []
        for x_t in x.T:
            h, c = sru_step(x_t * mask, c, weights.weights, weights.bias)
            steps.append((h, c))
        return tuple(np.stack(part, axis=-1) for part in zip(*steps, strict=True))

    return over_batch(row, x, initial_c, np.ones_like(initial_c) if mask is None else mask)


def sru_bi(x, initial_c, weights, *, mask=None):
    def row(x, initial_c, mask):
        T, width = x.shape
        x = x * mask
        hs, cs = np.zeros((T, width)), np.zeros((T, width))
        for j in range(width):
            c = initial_c[j]
            for t in range(T) if j < width // 2 else range(T - 1, -1, -1):
                z, f, r = (x[t] @ weights.weights[:, 3 * j + k] for k in range(3))
                f, r = np_sigmoid(f + weights.bias[j]), np_sigmoid(r + weights.bias[width + j])
                c = (c - z) * f + z
                hs[t, j] = (np.tanh(c) * mask[j] - x[t, j]) * r + x[t, j]
                cs[t, j] = c
        return hs, cs

    mask = np.ones_like(initial_c) if mask is None else mask
    return tuple(time_major(part) for part in over_batch(row, time_major(x), initial_c, mask))


def rnn_step(x, h, weights):
    n = len(h)
    biases = or_zeros(weights.biases, 2 * n)
    of_x = weights.input_weights.T @ x + biases[:n]
    return np.tanh(of_x + weights.recurrent_weights.T @ h + biases[n:])


def rnn_cell(x, h_last, weights):
    return over_batch(lambda x, h: (rnn_step(x, h, weights),), x, h_last)[0]


def rnn_rows(x, weights, h_0, lengths, *, reverse=False):
    """`(h, h_final)` for x [B, T, I]: `reverse` runs from the last valid step to the first."""

    def row(x, h, length):
        hs = np.zeros((len(x), len(h)))
        for t in range(length - 1, -1, -1) if reverse else range(length):
            h = hs[t] = rnn_step(x[t], h, weights)
        return hs, h

    B, T, _ = x.shape
    h_0 = or_zeros(h_0, B, len(weights.recurrent_weights))
    return over_batch(row, x, h_0, [T] * B if lengths is None else lengths)


def dynamic_rnn(x, weights, *, h_0=None, max_time_step=None, time_major=False):
    rows = np.swapaxes(x, 0, 1) if time_major else x
    h, last = rnn_rows(rows, weights, h_0, max_time_step)
    return np.swapaxes(h, 0, 1) if time_major else h, last


def static_rnn(x, weights, **options):
    return dynamic_rnn(x, weights, time_major=True, **options)


def dynamic_bidirectional_rnn(
    x,
    forward,
    backward,
    *,
    h_0_forward=None,
    h_0_backward=None,
    max_time_step=None,
    time_major=False,
):
    rows = np.swapaxes(x, 0, 1) if time_major else x
    ahead, last = rnn_rows(rows, forward, h_0_forward, max_time_step)
    back, first = rnn_rows(rows, backward, h_0_backward, max_time_step, reverse=True)
    if time_major:
        ahead, back = np.swapaxes(ahead, 0, 1), np.swapaxes(back, 0, 1)
    return ahead, back, last, first


def static_bidirectional_rnn(x, forward, backward, **options):
    ahead, back, *finals = dynamic_bidirectional_rnn(
        x, forward, backward, time_major=True, **options
    )
    return np.concatenate([ahead, back], -1), *finals
