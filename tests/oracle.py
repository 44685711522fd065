"""Recurrent networks as NumPy float64 loops, from the equations: one row, one gate at a time.

States are plain tuples, nested as in jrnn, so `zip` over their leaves compares the two.
"""

import jax
import numpy as np

from jrnn import GRUCell, LSTMCell, SimpleRNNCell, SRUCell, StackedCell


def np_sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


ACTIVATIONS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": np_sigmoid,
    "hard_sigmoid": lambda x: np.minimum(np.maximum(x / 6 + 0.5, 0), 1),
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}


def block(array, k, units):
    """The columns of gate k."""
    return array[..., k * units : (k + 1) * units]


def simple_rnn_step(cell, p, state, x):
    (h,) = state
    bias = 0 if p.bias is None else p.bias
    h = ACTIVATIONS[cell.activation](p.kernel.T @ x + p.recurrent_kernel.T @ h + bias)
    return (h,), h


def gru_step(cell, p, state, x):
    (h,) = state
    inner, outer = ACTIVATIONS[cell.activation], ACTIVATIONS[cell.recurrent_activation]
    bias = np.zeros((2, 3 * len(h)))
    if p.bias is not None:
        bias[: 2 if cell.reset_after else 1] = p.bias

    def of_input(k):
        return block(p.kernel, k, len(h)).T @ x + block(bias[0], k, len(h))

    def of_hidden(k, h):
        return block(p.recurrent_kernel, k, len(h)).T @ h + block(bias[1], k, len(h))

    z = outer(of_input(0) + of_hidden(0, h))
    r = outer(of_input(1) + of_hidden(1, h))
    recurrent = r * of_hidden(2, h) if cell.reset_after else of_hidden(2, r * h)
    h = z * h + (1 - z) * inner(of_input(2) + recurrent)
    return (h,), h


def lstm_step(cell, p, state, x):
    h, c = state
    inner, outer = ACTIVATIONS[cell.activation], ACTIVATIONS[cell.recurrent_activation]
    bias = np.zeros(4 * len(c)) if p.bias is None else p.bias
    peephole = np.zeros((3, len(c))) if p.peephole is None else p.peephole

    def packed(k):
        mixed = block(p.kernel, k, len(c)).T @ x + block(p.recurrent_kernel, k, len(c)).T @ h
        return mixed + block(bias, k, len(c))

    i = outer(packed(0) + peephole[0] * c)
    f = outer(packed(1) + peephole[1] * c)
    c = f * c + i * inner(packed(2))
    if cell.cell_clip is not None:
        c = np.minimum(np.maximum(c, -cell.cell_clip), cell.cell_clip)
    o = outer(packed(3) + peephole[2] * c)
    h = o * ACTIVATIONS[cell.output_activation or cell.activation](c)
    if p.projection is not None:
        h = p.projection.T @ h
    if cell.projection_clip is not None:
        h = np.minimum(np.maximum(h, -cell.projection_clip), cell.projection_clip)
    return (h, c), h


def sru_step(cell, p, state, x):
    (c,) = state
    bias = np.zeros(2 * len(c)) if p.bias is None else p.bias
    f = np_sigmoid(block(p.kernel, 1, len(c)).T @ x + block(bias, 0, len(c)))
    r = np_sigmoid(block(p.kernel, 2, len(c)).T @ x + block(bias, 1, len(c)))
    skip = x if p.highway_kernel is None else p.highway_kernel.T @ x
    c = f * c + (1 - f) * (block(p.kernel, 0, len(c)).T @ x)
    return (c,), r * ACTIVATIONS[cell.activation](c) + (1 - r) * skip


def stacked_step(cell, params, state, x):
    states = []
    for one, own, old in zip(cell.cells, params, state, strict=True):
        new, x = step(one, own, old, x)
        states.append(new)
    return tuple(states), x


STEPS = {
    SimpleRNNCell: simple_rnn_step,
    GRUCell: gru_step,
    LSTMCell: lstm_step,
    SRUCell: sru_step,
    StackedCell: stacked_step,
}


def step(cell, params, state, x):
    """One step of one row: `(state, y)` for `x` [F]."""
    return STEPS[type(cell)](cell, params, state, x)


def zero_state(cell, params):
    """The state of one row before its first step."""
    if isinstance(cell, StackedCell):
        return tuple(zero_state(*pair) for pair in zip(cell.cells, params, strict=True))
    if isinstance(cell, SRUCell):
        return (np.zeros(params.kernel.shape[1] // 3),)
    hidden, width = params.recurrent_kernel.shape
    cell_state = (np.zeros(width // 4),) if isinstance(cell, LSTMCell) else ()
    return (np.zeros(hidden), *cell_state)


def row(cell, params, xs, state, output, counts, starts, reverse, masked_output):
    """One row [T, F]: the states after every step, the outputs, the last state and output."""
    T = len(xs)
    states, ys = [None] * T, [None] * T
    for t in range(T - 1, -1, -1) if reverse else range(T):
        came_over = (t + 1 < T and starts[t + 1]) if reverse else starts[t]
        if came_over:
            state = zero_state(cell, params)
        if counts[t]:
            state, output = step(cell, params, state, xs[t])
        states[t] = state
        ys[t] = output if counts[t] or masked_output == "repeat" else np.zeros_like(output)
    return states, ys, state, output


def rnn(
    cell,
    params,
    xs,
    *,
    initial_state=None,
    lengths=None,
    mask=None,
    resets=None,
    initial_output=None,
    reverse=False,
    unroll=1,
    return_sequences=True,
    return_all_states=False,
    masked_output="zero",
):
    """What `jrnn.rnn` returns for `xs` [B, T, F], B and T at least 1."""
    B, T, _ = xs.shape
    counts = np.ones((B, T), bool) if mask is None else np.array(mask, bool)
    for b in range(B):
        counts[b, T if lengths is None else lengths[b] :] = False
    starts = np.zeros((B, T), bool) if resets is None else resets
    states, outputs = [], []
    for b in range(B):
        state = zero_state(cell, params)
        if initial_state is not None:
            state = jax.tree.map(lambda leaf: leaf[b], initial_state)  # noqa: B023
        output = np.zeros_like(step(cell, params, zero_state(cell, params), xs[b, 0])[1])
        if initial_output is not None:
            output = initial_output[b]
        ran = row(cell, params, xs[b], state, output, counts[b], starts[b], reverse, masked_output)
        states.append(stack(ran[0]) if return_all_states else plain(ran[2]))
        outputs.append(np.stack(ran[1]) if return_sequences else ran[3])
    return stack(states), np.stack(outputs)


def bidirectional(cell, params, xs, *, merge, **options):
    """What `jrnn.bidirectional` returns without `reverse` and initial states."""
    forward, y = rnn(cell, params[0], xs, **options)
    backward, y_back = rnn(cell, params[1], xs, reverse=True, **options)
    merged = {
        "concat": lambda: np.concatenate([y, y_back], -1),
        "sum": lambda: y + y_back,
        "mul": lambda: y * y_back,
        "ave": lambda: 0.5 * y + 0.5 * y_back,
        None: lambda: (y, y_back),
    }
    return (forward, backward), merged[merge]()


def plain(state):
    """The state as nested plain tuples."""
    return tuple(map(plain, state)) if isinstance(state, tuple) else state


def stack(states):
    """States as one state with a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(plain, states))
