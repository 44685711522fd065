"""Convolutional cells as NumPy float64 loops, pixel by pixel, from the equations.

One row of the batch at a time, channels last; states are plain tuples.
"""

import numpy as np

from jrnn import ConvLSTMCell
from tests.oracle import ACTIVATIONS, block


def correlate(image, kernel, strides, padding, dilation, rule="tensorflow"):
    """Every window of an image [*S, C] against a kernel [*K, C, G]."""
    counts, starts = [], []
    spans = zip(image.shape[:-1], kernel.shape[:-2], strides, dilation, strict=True)
    for size, width, stride, apart in spans:
        covered = (width - 1) * apart + 1
        if padding == "valid":
            counts.append((size - covered) // stride + 1)
            starts.append(0)
            continue
        counts.append(-(-size // stride))
        missing = max((counts[-1] - 1) * stride + covered - size, 0)
        starts.append(-(covered // 2) if rule == "theano" else -(missing // 2))
    out = np.zeros((*counts, kernel.shape[-1]))
    for pixel in np.ndindex(*counts):
        for tap in np.ndindex(*kernel.shape[:-2]):
            at = np.array(starts) + np.multiply(pixel, strides) + np.multiply(tap, dilation)
            if (at >= 0).all() and (at < image.shape[:-1]).all():
                out[pixel] += image[tuple(at)] @ kernel[tap]
    return out


def of_input(cell, p, x):
    return correlate(x, p.kernel, cell.strides, cell.padding, cell.dilation, cell.same_rule)


def of_state(cell, kernel, h):
    ones = (1,) * cell.rank
    return correlate(h, kernel, ones, "same", ones, cell.same_rule)


def zero_state(cell, p, x):
    parts = 4 if isinstance(cell, ConvLSTMCell) else 3
    zero = np.zeros_like(block(of_input(cell, p, x), 0, p.kernel.shape[-1] // parts))
    return (zero, zero) if parts == 4 else (zero,)


def step(cell, p, state, x):
    return (lstm_step if isinstance(cell, ConvLSTMCell) else gru_step)(cell, p, state, x)


def lstm_step(cell, p, state, x):
    h, c = state
    inner, outer = ACTIVATIONS[cell.activation], ACTIVATIONS[cell.recurrent_activation]
    bias = 0 if p.bias is None else p.bias
    mixed = of_input(cell, p, x) + of_state(cell, p.recurrent_kernel, h) + bias
    i, f, g, o = (block(mixed, k, c.shape[-1]) for k in range(4))
    c = outer(f) * c + outer(i) * inner(g)
    h = outer(o) * inner(c)
    return (h, c), h


def gru_step(cell, p, state, x):
    (h,) = state
    units = h.shape[-1]
    inner, outer = ACTIVATIONS[cell.activation], ACTIVATIONS[cell.recurrent_activation]
    bias = np.zeros((2, 3 * units))
    if p.bias is not None:
        bias[: 2 if cell.reset_after else 1] = p.bias
    x = of_input(cell, p, x) + bias[0]

    def recurrent(k, h):
        return of_state(cell, block(p.recurrent_kernel, k, units), h) + block(bias[1], k, units)

    z = outer(block(x, 0, units) + recurrent(0, h))
    r = outer(block(x, 1, units) + recurrent(1, h))
    product = r * recurrent(2, h) if cell.reset_after else recurrent(2, r * h)
    h = z * h + (1 - z) * inner(block(x, 2, units) + product)
    return (h,), h


def row(cell, p, xs, state, counts, starts, reverse):
    """The outputs of one row [T, *S, C], zeros at masked steps, and its last state."""
    ys = [None] * len(xs)
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        came_over = (t + 1 < len(xs) and starts[t + 1]) if reverse else starts[t]
        if came_over:
            state = zero_state(cell, p, xs[t])
        new, y = step(cell, p, state, xs[t])
        if counts[t]:
            state = new
        ys[t] = y if counts[t] else np.zeros_like(y)
    return state, np.stack(ys)


def rnn(cell, p, xs, state, *, lengths=None, mask=None, resets=None, reverse=False):
    """What `jrnn.rnn` returns for `xs` [B, T, ...] in the cell's data format."""
    xs, state = np.asarray(xs), [np.asarray(leaf) for leaf in state]
    if cell.channel_axis != -1:
        xs, state = np.moveaxis(xs, 2, -1), [np.moveaxis(leaf, 1, -1) for leaf in state]
    counts = np.ones(xs.shape[:2], bool) if mask is None else np.array(mask)
    if lengths is not None:
        counts &= np.arange(xs.shape[1]) < np.asarray(lengths)[:, None]
    starts = np.zeros(xs.shape[:2], bool) if resets is None else resets
    rows = [
        row(cell, p, xs[b], tuple(leaf[b] for leaf in state), counts[b], starts[b], reverse)
        for b in range(len(xs))
    ]
    final = [np.stack([state[k] for state, _ in rows]) for k in range(len(state))]
    ys = np.stack([y for _, y in rows])
    if cell.channel_axis != -1:
        final, ys = [np.moveaxis(leaf, -1, 1) for leaf in final], np.moveaxis(ys, -1, 2)
    return final, ys
