"""A recurrent layer as most people write it: both products inside ``lax.scan``, gates split.

In float64 it is also the reference that every peer is compared with.
"""

import jax
import jax.numpy as jnp

from benchmarks.cases import Case
from benchmarks.data import Data
from benchmarks.peers.jax_peer import Built, JaxPeer, layered


def lstm_step(p, state, x):
    h, c = state
    i, f, g, o = jnp.split(x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c)


def gru_step(p, state, x):
    (h,) = state
    bias, inner_bias = p["bias"]
    xz, xr, xn = jnp.split(x @ p["kernel"] + bias, 3, axis=-1)
    hz, hr, hn = jnp.split(h @ p["recurrent_kernel"] + inner_bias, 3, axis=-1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (z * h + (1 - z) * n,)


def gru_input_bias_step(p, state, x):
    return gru_step({**p, "bias": jnp.stack([p["bias"], jnp.zeros_like(p["bias"])])}, state, x)


def gru_reset_before_step(p, state, x):
    (h,) = state
    xz, xr, xn = jnp.split(x @ p["kernel"] + p["bias"], 3, axis=-1)
    Rz, Rr, Rn = jnp.split(p["recurrent_kernel"], 3, axis=-1)
    z = jax.nn.sigmoid(xz + h @ Rz)
    r = jax.nn.sigmoid(xr + h @ Rr)
    n = jnp.tanh(xn + (r * h) @ Rn)
    return (z * h + (1 - z) * n,)


def tanh_step(p, state, x):
    (h,) = state
    return (jnp.tanh(x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"]),)


def relu_step(p, state, x):
    (h,) = state
    return (jax.nn.relu(x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"]),)


def sru_step(p, state, x):
    _, c = state
    bf, br = jnp.split(p["bias"], 2)
    z, f, r = jnp.split(x @ p["kernel"], 3, axis=-1)
    f, r = jax.nn.sigmoid(f + bf), jax.nn.sigmoid(r + br)
    c = f * c + (1 - f) * z
    return (r * jnp.tanh(c) + (1 - r) * (x @ p["highway_kernel"]), c)


def conv_lstm_step(p, state, x):
    h, c = state
    pre = _convolution(x, p["kernel"]) + _convolution(h, p["recurrent_kernel"]) + p["bias"]
    i, f, g, o = jnp.split(pre, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c)


def _convolution(images, kernel):
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=axes)


# (cell, variant) -> its step, and how many arrays its state holds, the hidden one first.
STEPS = {
    ("lstm", "standard"): (lstm_step, 2),
    ("gru", "reset_after"): (gru_step, 1),
    ("gru", "reset_before"): (gru_reset_before_step, 1),
    ("gru", "input_bias"): (gru_input_bias_step, 1),
    ("simple_rnn", "tanh"): (tanh_step, 1),
    ("simple_rnn", "relu"): (relu_step, 1),
    ("sru", "projected"): (sru_step, 2),
    ("conv_lstm2d", "standard"): (conv_lstm_step, 2),
}


class Naive(JaxPeer):
    """Time-major; with lengths the state stands still in the padding (``jnp.where``)."""

    def build(self, case: Case, data: Data) -> Built:
        step, states = STEPS[case.cell, data.variant]
        compared = 1 if case.cell == "sru" else 0  # an SRU's output is no state of it

        def run(p, xs, *, lengths, reverse):
            def body(state, inputs):
                t, x = inputs
                new = step(p, state, x)
                if lengths is not None:
                    counts = (t < lengths).reshape(-1, *[1] * (x.ndim - 1))
                    new = tuple(jnp.where(counts, *pair) for pair in zip(new, state, strict=True))
                return new, new[0]

            start = (jnp.zeros((*xs.shape[1:-1], case.shape.U), xs.dtype),) * states
            state, ys = jax.lax.scan(body, start, (jnp.arange(len(xs)), xs), reverse=reverse)
            return ys, state

        return Built(
            data.layers,
            layered(run),
            lambda gradients: gradients,
            lambda states: [state[compared] for state in states],
        )
