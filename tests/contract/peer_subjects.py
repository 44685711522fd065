"""Other libraries' LSTM and GRU, and jrnn's, as rows of one table of the contract grid.

Every row takes parameters in Keras's layout and turns them into the library's own inside the call,
so that gradients compare, too. ``plain`` are the equations alone. Each is called as its
documentation shows, under ``jax.jit``, and told the parameters' dtype where it takes one.
"""

import functools

import jax
import jax.numpy as jnp

import jrnn
from tests.contract.peer_calls import cudnn, equinox, haiku, jrnn_run, keras, linen, nnx
from tests.contract.subjects import Subject, T, over_time, s


def lstm_step(p, state, x):
    """The equations of an LSTM, gates i, f, c, o."""
    i, f, g, o = jnp.split(x @ p.kernel + state.hidden @ p.recurrent_kernel + p.bias, 4, -1)
    c = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return jrnn.LSTMState(h, c), h


def gru_step(p, state, x):
    """The equations of a GRU, gates z, r, h, that resets after the product; two biases or one."""
    h, n = state.hidden, state.hidden.shape[-1]
    bias, inner = p.bias if p.bias.ndim == 2 else (p.bias, jnp.zeros_like(p.bias))
    x_z, x_r, x_n = jnp.split(x @ p.kernel + bias, 3, -1)
    h_z, h_r, h_n = jnp.split(h @ p.recurrent_kernel + inner, 3, -1)
    assert h_n.shape[-1] == n
    z, r = jax.nn.sigmoid(x_z + h_z), jax.nn.sigmoid(x_r + h_r)
    h = z * h + (1 - z) * jnp.tanh(x_n + r * h_n)
    return jrnn.GRUState(h), h


def gru_before_step(p, state, x):
    """The equations of a GRU that resets before the product; one bias."""
    h, n = state.hidden, state.hidden.shape[-1]
    x_z, x_r, x_n = jnp.split(x @ p.kernel + p.bias, 3, -1)
    h_z, h_r = jnp.split(h @ p.recurrent_kernel[:, : 2 * n], 2, -1)
    z, r = jax.nn.sigmoid(x_z + h_z), jax.nn.sigmoid(x_r + h_r)
    h = z * h + (1 - z) * jnp.tanh(x_n + (r * h) @ p.recurrent_kernel[:, 2 * n :])
    return jrnn.GRUState(h), h


STEPS = {"LSTM": lstm_step, "GRU": gru_step, "GRU, reset before": gru_before_step}


# Name, what makes it, its distributions, whether it takes lengths.
PEERS = {
    "jrnn": (jrnn_run, True),
    "Flax Linen": (linen, True),
    "Flax NNX": (nnx, True),
    "Keras": (keras, True),
    "Haiku": (haiku, False),
    "Equinox": (equinox, False),
    "jax.experimental.rnn": (cudnn, True),
}
PACKAGES = ("jax", "flax", "keras", "dm-haiku", "equinox")


def shapes_of(kind, biases, features, units):
    """The shapes of parameters and state."""
    h = s(units)
    if kind == "LSTM":
        params = s(features, 4 * units), s(units, 4 * units), s(4 * units)
        return jrnn.LSTMParams(*params), jrnn.LSTMState(h, h)
    bias = s(2, 3 * units) if biases == 2 else s(3 * units)
    params = jrnn.GRUParams(s(features, 3 * units), s(units, 3 * units), bias)
    return params, jrnn.GRUState(h)


def rows_of(name, kind, features, units, **options) -> dict[str, Subject]:
    """A library's layer and its cell."""
    make, takes_lengths = PEERS[name]
    run, step = make(kind, **options)
    equations = STEPS["GRU, reset before" if (name, kind) == ("Haiku", "GRU") else kind]
    one = name in ("Haiku", "Flax NNX")
    params, state = shapes_of(kind, 1 if one else 2, features, units)

    def plain(params, state, xs):
        return over_time(functools.partial(equations, params), state, xs)

    rows = {
        f"{name}, {kind}": Subject(
            jax.jit(lambda params, state, xs: run(params, state, xs, None)),
            plain,
            (params, state, s(T, features)),
            -2,
            lambda outputs: outputs[0],
            fresh=jax.jit(lambda params, xs: run(params, None, xs, None)),
            padded=jax.jit(run) if takes_lengths else None,
        )
    }
    if step is not None:
        rows[f"{name}, {kind}, one step"] = Subject(
            jax.jit(step),
            equations,
            (params, state, s(features)),
            next_state=lambda outputs: outputs[0],
        )
    return rows


@functools.cache
def peers(features, units) -> dict[str, Subject]:
    """Every row of the table by its name, in order."""
    rows: dict[str, Subject] = {}
    for kind in ("LSTM", "GRU"):
        for name in PEERS:
            if (name, kind) != ("jax.experimental.rnn", "GRU"):
                rows |= rows_of(name, kind, features, units)
    return rows
