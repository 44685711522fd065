"""Cells that hold cells as NumPy float64 loops, given what was drawn: row by row, step by step."""

import jax
import numpy as np

import jrnn
from jrnn.cells.dropout import DropoutKeys, DropoutParams
from jrnn.cells.zoneout import ZoneoutParams
from tests import oracle
from tests.oracle import ACTIVATIONS, block


def run(cell, drawn, xs, state=None, valid=None):
    """`(states, ys)` after every step of all rows of `xs` [B, T, F], as lists of rows."""
    rows = []
    for b in range(len(xs)):
        own = of_row(drawn, b)
        now = fresh(cell, drawn, xs, b) if state is None else of_row(state, b)
        states, ys = [], []
        for t in range(xs.shape[1]):
            if valid is None or valid[b, t]:
                now, y = step(cell, own, now, xs[b, t])
            else:
                y = np.zeros_like(y if ys else step(cell, own, now, np.zeros(xs.shape[-1]))[1])
            states.append(now)
            ys.append(y)
        rows.append((states, ys))
    return rows


def fresh(cell, drawn, xs, b):
    x = np.asarray(xs)[:, 0]
    return of_row(cell.initial_state(drawn, cell.project(drawn, x)), b)


def of_row(tree, b):
    """A state or what was drawn, for one row; parameters are of all rows."""
    match tree:
        case DropoutParams():
            kept = [tuple(np.asarray(mask)[b] for mask in masks) for masks in tree[1:]]
            return DropoutParams(of_row(tree.params, b), *kept)
        case DropoutKeys():
            return DropoutKeys(of_row(tree.params, b), *(keys[b] for keys in tree[1:]))
        case ZoneoutParams():
            return ZoneoutParams(of_row(tree.params, b), tuple(keys[b] for keys in tree.keys))
        case jrnn.ProjectionParams() | jrnn.NormParams():
            return tree._replace(params=of_row(tree.params, b))
        case jrnn.LSTMState() | jrnn.GRUState() | jrnn.SimpleRNNState() | jrnn.SRUState():
            return tuple(np.asarray(leaf)[b] for leaf in tree)
        case jrnn.ClockedState():
            return of_row(tree.state, b), int(np.asarray(tree.clock.steps)[b])
        case tuple() if not hasattr(tree, "_fields"):
            return tuple(of_row(one, b) for one in tree)
    return jax.tree.map(np.asarray, tree)


def step(cell, p, state, x):
    """One step of one row: `(state, y)` for `x` [F]."""
    match cell:
        case jrnn.DropoutCell():
            return dropout_step(cell, p, state, x)
        case jrnn.ZoneoutCell():
            return zoneout_step(cell, p, state, x)
        case jrnn.DropConnectCell():
            return step(cell.cell, p, state, x)
        case jrnn.LayerNormCell():
            return layer_norm_step(cell, p, state, x)
        case jrnn.NormCell():
            if cell.where == "input":
                return step(cell.cell, p.params, state, normalized(cell, x, p.norm))
            state, y = step(cell.cell, p.params, state, x)
            return state, normalized(cell, y, p.norm)
        case jrnn.ResidualCell():
            state, y = step(cell.cell, p, state, x)
            return state, x + y if cell.merge == "add" else np.concatenate([x, y])
        case jrnn.ProjectionCell():
            state, y = step(cell.cell, p.params, state, x)
            bias = 0 if p.bias is None else p.bias
            return state, ACTIVATIONS[cell.activation](p.kernel.T @ y + bias)
        case jrnn.StackedCell():
            states = []
            for one, own, old in zip(cell.cells, p, state, strict=True):
                new, x = step(one, own, old, x)
                states.append(new)
            return tuple(states), x
    return oracle.step(cell, p, state, x)


def noise(key, t, rate, shape):
    """1 where kept, of one row at its step t."""
    return np.asarray(jax.random.bernoulli(jax.random.fold_in(key, t), 1 - rate, shape)) + 0.0


def leaves(state):
    return [state] if isinstance(state, np.ndarray) else [a for one in state for a in leaves(one)]


def dropout_step(cell, p, state, x):
    gates = getattr(cell.cell, "gates", 1) if cell.per_gate else 1
    clock = None
    if cell.per_step:
        state, clock = state
    inner = p.params if isinstance(p, DropoutParams | DropoutKeys) else p
    inputs = states = outputs = None
    hidden = state[0] if isinstance(state[0], np.ndarray) else None  # None: of several cells
    if isinstance(p, DropoutKeys):
        if cell.dropout:
            inputs = noise(p.inputs, clock, cell.dropout, (gates, *x.shape))
        if cell.recurrent_dropout:
            states = noise(p.states, clock, cell.recurrent_dropout, (gates, *hidden.shape))
    elif isinstance(p, DropoutParams):
        inputs, states = (np.stack(masks) + 0.0 if masks else None for masks in p[1:3])
        outputs = p.kept_outputs[0] + 0.0 if p.kept_outputs else None
    if inputs is not None:
        inputs = inputs / (1 - cell.dropout)
    if states is not None:
        states = states / (1 - cell.recurrent_dropout)
    if states is not None and cell.drops_state:
        state, states = (state[0] * states[0], *state[1:]), None
    if type(cell.cell) in (jrnn.LSTMCell, jrnn.GRUCell, jrnn.SimpleRNNCell):
        inner = inner._replace(
            kernel=scaled(inner.kernel, inputs),
            recurrent_kernel=scaled(inner.recurrent_kernel, states),
        )
    else:
        assert states is None
        x = x if inputs is None else x * inputs[0]
    state, y = step(cell.cell, inner, state, x)
    if isinstance(p, DropoutKeys) and cell.output_dropout:
        outputs = noise(p.outputs, clock, cell.output_dropout, (1, *y.shape))[0]
    if outputs is not None:
        y = y * outputs / (1 - cell.output_dropout)
    return (state if clock is None else (state, clock + 1)), y


def scaled(kernel, masks):
    """Each gate's columns times its mask: ``(x * m) @ kernel`` is ``x @ (m * kernel)``."""
    if masks is None:
        return kernel
    parts = np.split(kernel, len(masks), -1)
    return np.concatenate([m[:, None] * part for m, part in zip(masks, parts, strict=True)], -1)


def zoneout_step(cell, p, state, x):
    before, clock = state
    training = isinstance(p, ZoneoutParams)
    after, y = step(cell.cell, p.params if training else p, before, x)
    names = iter(cell_names(cell.cell))
    numbers = iter(range(len(p.keys)) if training else [])

    def mix(old, new):
        if isinstance(new, int):  # a clock inside
            next(numbers, None)
            return new
        if isinstance(new, tuple):
            return tuple(mix(*pair) for pair in zip(old, new, strict=True))
        rate = cell.cell_state if next(names) == "cell" else cell.hidden
        k = rate
        if training:
            k = 1 - noise(p.keys[next(numbers)], clock, rate, new.shape)
        mixed = k * old + (1 - k) * new
        if new is y and not drops_outputs(cell.cell):
            outputs.append(mixed)
        return mixed

    outputs: list = []
    state = mix(before, after)
    return (state, clock + 1), outputs[0] if outputs else y


def drops_outputs(cell):
    if isinstance(cell, jrnn.StackedCell):
        return drops_outputs(cell.cells[-1])
    return getattr(cell, "output_dropout", 0) > 0 or (
        hasattr(cell, "cell") and drops_outputs(cell.cell)
    )


def cell_names(cell):
    """The name of each floating-point array of a cell's state."""
    if isinstance(cell, jrnn.StackedCell):
        return [name for one in cell.cells for name in cell_names(one)]
    if hasattr(cell, "cell"):
        return cell_names(cell.cell)
    if isinstance(cell, jrnn.LSTMCell):
        return ["hidden", "cell"]
    return ["cell"] if isinstance(cell, jrnn.SRUCell) else ["hidden"]


def normalized(cell, x, norm, gain=slice(None)):
    far = x if cell.rms else x - np.mean(x)
    y = far / np.sqrt(np.mean(far**2) + cell.epsilon) * norm.gain[gain]
    return y if norm.offset is None else y + norm.offset[gain]


def layer_norm_step(cell, p, state, x):
    inner, own = cell.cell, p.params
    units = own.recurrent_kernel.shape[-1] // getattr(inner, "gates", 1)
    bias = np.zeros(own.kernel.shape[-1]) if own.bias is None else own.bias
    gate = ACTIVATIONS[getattr(inner, "recurrent_activation", "sigmoid")]
    act = ACTIVATIONS[inner.activation]
    if isinstance(inner, jrnn.GRUCell):
        (h,) = state
        second = np.zeros_like(bias)
        if inner.reset_after and own.bias is not None:
            bias, second = bias
        cut = [slice(0, 2 * units), slice(2 * units, 3 * units)]
        by_input, by_hidden = own.kernel, own.recurrent_kernel

        def products(k, h):
            one, other = by_input[:, cut[k]].T @ x, by_hidden[:, cut[k]].T @ h
            if cell.variant != "contrib":
                one, other = (
                    normalized(cell, one, p.input, cut[k]),
                    normalized(cell, other, p.recurrent, cut[k]),
                )
            return one + bias[cut[k]], other + second[cut[k]]

        def summed(v, k):
            if cell.variant != "contrib":
                return v
            return normalized(cell, v, p.gates, slice(k * units, (k + 1) * units))

        total = sum(products(0, h))
        z, r = (gate(summed(block(total, k, units), k)) for k in range(2))
        if inner.reset_after:
            one, other = products(1, h)
            n = act(summed(one + r * other, 2))
        else:
            n = act(summed(sum(products(1, r * h)), 2))
        h = z * h + (1 - z) * n
        return (h,), h
    one, other = own.kernel.T @ x, own.recurrent_kernel.T @ state[0]
    if cell.variant == "contrib":
        total = one + other + bias
        parts = [
            normalized(cell, block(total, k, units), p.gates, slice(k * units, (k + 1) * units))
            for k in range(len(total) // units)
        ]
    else:
        total = normalized(cell, one, p.input) + normalized(cell, other, p.recurrent) + bias
        parts = np.split(total, len(total) // units)
    if isinstance(inner, jrnn.SimpleRNNCell):
        h = act(parts[0])
        return (h,), h
    i, f, g, o = parts
    c = gate(f) * state[1] + gate(i) * act(g)
    shown = normalized(cell, c, p.cell)
    h = gate(o) * act(shown)
    return (h, c if cell.variant == "paper" else shown), h
