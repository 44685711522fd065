"""The ops of ``jrnn.nd4j`` by their equations, with the choices of ``nd4j_subjects.py``.

All arrays are batch first, [B, T, F].
"""

import jax
import jax.numpy as jnp

import jrnn
from jrnn import nd4j
from tests.contract.subjects import over_time


def gru_step(params, h, x):
    """The equations of ``gru_cell``."""
    both = jnp.concatenate([x, h], -1) @ params.ru_weight + params.ru_bias
    r, u = jnp.split(jax.nn.sigmoid(both), 2, -1)
    c = jnp.tanh(jnp.concatenate([x, r * h], -1) @ params.c_weight + params.c_bias)
    return r, u, c, u * h + (1 - u) * c


def lstm_step(w, state, x):
    """The equations of ``lstm_cell``, with the choices of GATED."""
    c, y = state
    i, z, f, o = jnp.split(jnp.concatenate([x, y], -1) @ w.ru_weight + w.bias, 4, -1)
    i = jax.nn.sigmoid(i + c * w.input_peephole_weights)
    f = jax.nn.sigmoid(f + c * w.forget_peephole_weights + 0.5)
    z = jnp.tanh(z)
    c = jnp.clip(z * i + f * c, -0.9, 0.9)
    o = jax.nn.sigmoid(o + c * w.output_peephole_weights)
    return i, c, f, o, z, jnp.tanh(c), o * jnp.tanh(c)


def layer_step(w, state, x):
    """The equations of ``lstm_layer`` with a clip of 0.9, for ``(c, h)``."""
    c, h = state
    products = x @ w.input_weights + h @ w.recurrent_weights + w.biases
    i, f, g, o = jnp.split(products, 4, -1)
    of_i, of_f, of_o = jnp.split(w.peephole_weights, 3)
    i, f = jax.nn.sigmoid(i + of_i * c), jax.nn.sigmoid(f + of_f * c)
    c = jnp.clip(f * c + i * jnp.tanh(g), -0.9, 0.9)
    return c, jax.nn.sigmoid(o + of_o * c) * jnp.tanh(c)


def projection_step(w, state, x):
    """The equations of ``projection_lstm_cell`` with the choices of PROJECTING."""
    h, c = state
    i, f, g, o = jnp.split(x @ w.input_weights + h @ w.recurrent_weights + w.biases, 4, -1)
    of_i, of_f, of_o = jnp.split(w.peephole_weights, 3)
    i, f = jax.nn.sigmoid(i + of_i * c), jax.nn.sigmoid(f + of_f * c)
    c = f * c + i * jnp.tanh(g)
    h = jax.nn.sigmoid(o + of_o * c) * jnp.tanh(c)
    return jnp.clip(h @ w.projection_weights, -0.9, 0.9), c


def sru_step(w, c, x):
    """The equations of ``sru_cell``."""
    z, f, r = jnp.split(x @ w.weights, 3, -1)
    of_f, of_r = jnp.split(w.bias, 2)
    f, r = jax.nn.sigmoid(f + of_f), jax.nn.sigmoid(r + of_r)
    c = f * c + (1 - f) * z
    return r * jnp.tanh(c) + (1 - r) * x, c


def rnn_step(w, h, x):
    """The equation of ``rnn_cell``."""
    n = h.shape[-1]
    return jnp.tanh(x @ w.input_weights + w.biases[:n] + h @ w.recurrent_weights + w.biases[n:])


def plain_rnn(w, h, xs, reverse=False):
    """``(h of every step, final h)``."""

    def step(h, x):
        h = rnn_step(w, h, x)
        return h, h

    final, hs = over_time(step, h, xs, reverse=reverse)
    return hs, final


def plain_gru_layer(params, h, xs):
    cell = jrnn.GRUCell()
    state = jrnn.GRUState(h)
    weights = nd4j.gru_layer_to_params(*params)
    return over_time(lambda state, x: cell(weights, state, x), state, xs)[1]


def plain_lstm_block(w, state, xs):
    def step(state, x):
        outputs = lstm_step(w, state, x)
        return (outputs[1], outputs[6]), outputs

    return over_time(step, state, xs)[1]


def plain_lstm_layer(w, state, xs, reverse=False):
    def step(state, x):
        state = layer_step(w, state, x)
        return state, state[1]

    (c, h), hs = over_time(step, state, xs, reverse=reverse)
    return hs, h, c


def plain_lstm_both(w, state, xs):
    one, other = (
        plain_lstm_layer(
            *(jax.tree.map(lambda leaf: leaf[k], w), tuple(leaf[..., k, :] for leaf in state)),  # noqa: B023
            xs,
            reverse=bool(k),
        )
        for k in (0, 1)
    )
    finals = (jnp.stack([a, b], -2) for a, b in zip(one[1:], other[1:], strict=True))
    return jnp.concatenate([one[0], other[0]], -1), *finals


def plain_projection(w, state, xs):
    def step(state, x):
        state = projection_step(w, state, x)
        return state, state

    return over_time(step, state, xs)[1]


def plain_sru(w, c, xs, reverse=False):
    def step(c, x):
        h, c = sru_step(w, c, x)
        return c, (h, c)

    return over_time(step, c, xs, reverse=reverse)[1]


def plain_sru_bi(w, c, xs):
    """Each unit by the equations of ``sru_bi``; z, f and r of a unit stand side by side."""
    size = xs.shape[-1]
    products = (xs @ w.weights).reshape(*xs.shape, 3)
    f = jax.nn.sigmoid(products[..., 1] + w.bias[:size])
    r = jax.nn.sigmoid(products[..., 2] + w.bias[size:])
    halves = []
    for half, reverse in ((slice(size // 2), False), (slice(size // 2, None), True)):

        def step(c, given):
            z, f = jnp.split(given, 2, -1)
            c = f * c + (1 - f) * z
            return c, c

        given = jnp.concatenate([products[..., half, 0], f[..., half]], -1)
        halves.append(over_time(step, c[..., half], given, reverse=reverse)[1])
    cs = jnp.concatenate(halves, -1)
    return r * jnp.tanh(cs) + (1 - r) * xs, cs


def plain_both_rnns(w, state, xs):
    hs, final = plain_rnn(w[0], state[0], xs)
    others, other = plain_rnn(w[1], state[1], xs, reverse=True)
    return hs, others, final, other


def plain_static_both(w, state, xs):
    hs, others, *finals = plain_both_rnns(w, state, xs)
    return jnp.concatenate([hs, others], -1), *finals


def plain_dl4j(cell, to_params):
    def plain(w, state, xs):
        params = to_params(w)
        return over_time(lambda state, x: cell(params, state, x), state, xs)

    return plain
