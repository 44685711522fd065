"""The gates of LSTM, GRU and SRU, with rules of their own for the default activations.

``sigmoid(x) = tanh(x / 2) / 2 + 1/2`` exactly, so that all gates of an LSTM are one tanh over one
array, with constants scaling its columns. The derivatives are given in the form in which a loop
needs the least: one coefficient for each pair of a pre-activation and what it moves.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jrnn import activations
from jrnn.activations import Activation
from jrnn.cells.base import to_rank


def _packed(pre: jax.Array, kinds: str) -> list[jax.Array]:
    """Returns the gates side by side in ``pre``: "s" for sigmoid, "t" for tanh."""
    units = pre.shape[-1] // len(kinds)
    half = np.repeat([0.5 if kind == "s" else 1.0 for kind in kinds], units).astype(pre.dtype)
    shift = np.repeat([0.5 if kind == "s" else 0.0 for kind in kinds], units).astype(pre.dtype)
    half, shift = to_rank(half, pre), to_rank(shift, pre)
    return jnp.split(jnp.tanh(pre * half) * half + shift, len(kinds), axis=-1)


@jax.custom_jvp
def lstm_gates(pre: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the next hidden and cell state [..., U] from pre-activations i, f, c, o [..., 4U]."""
    i, f, g, o = _packed(pre, "ssts")
    cell = f * cell + i * g
    return o * jnp.tanh(cell), cell


@lstm_gates.defjvp
def _lstm_gates_jvp(primals, tangents):
    pre, cell = primals
    i, f, g, o = _packed(pre, "ssts")
    new_cell = f * cell + i * g
    squashed = jnp.tanh(new_cell)
    to_cell = (g * i * (1 - i), cell * f * (1 - f), i * (1 - g * g))
    to_hidden = squashed * o * (1 - o)
    cell_to_hidden = o * (1 - squashed * squashed)

    d_i, d_f, d_g, d_o = jnp.split(tangents[0], 4, axis=-1)
    d_cell = f * tangents[1] + to_cell[0] * d_i + to_cell[1] * d_f + to_cell[2] * d_g
    d_hidden = cell_to_hidden * d_cell + to_hidden * d_o
    return (o * squashed, new_cell), (d_hidden, d_cell)


def _sigmoid(x: jax.Array) -> jax.Array:
    return jnp.tanh(x * 0.5) * 0.5 + 0.5


@jax.custom_jvp
def gru_gates(
    update: jax.Array,
    reset: jax.Array,
    candidate: jax.Array,
    inner: jax.Array,
    hidden: jax.Array,
) -> jax.Array:
    """Returns the next hidden state [..., U] of a GRU that resets after the product.

    ``update`` and ``reset`` are pre-activations of z and r; the candidate's are ``candidate + r *
    inner``. All [..., U].
    """
    update, reset = _sigmoid(update), _sigmoid(reset)
    new = jnp.tanh(candidate + reset * inner)
    return update * hidden + (1 - update) * new


@gru_gates.defjvp
def _gru_gates_jvp(primals, tangents):
    update, reset, candidate, inner, hidden = primals
    d_update, d_reset, d_candidate, d_inner, d_hidden = tangents
    update, reset = _sigmoid(update), _sigmoid(reset)
    new = jnp.tanh(candidate + reset * inner)
    from_candidate = (1 - update) * (1 - new * new)
    from_update = (hidden - new) * update * (1 - update)
    from_reset = inner * reset * (1 - reset) * from_candidate
    from_inner = reset * from_candidate

    tangent = update * d_hidden + from_update * d_update + from_reset * d_reset
    tangent += from_candidate * d_candidate + from_inner * d_inner
    return update * hidden + (1 - update) * new, tangent


@jax.custom_jvp
def gru_reset(
    update: jax.Array, reset: jax.Array, hidden: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns ``(z, r * hidden)`` [..., U] from the pre-activations of z and r."""
    return _sigmoid(update), _sigmoid(reset) * hidden


@gru_reset.defjvp
def _gru_reset_jvp(primals, tangents):
    update, reset, hidden = primals
    d_update, d_reset, d_hidden = tangents
    update, reset = _sigmoid(update), _sigmoid(reset)
    from_update, from_reset = update * (1 - update), hidden * reset * (1 - reset)
    d_kept = reset * d_hidden + from_reset * d_reset
    return (update, reset * hidden), (from_update * d_update, d_kept)


def gru_after(
    activation: Activation,
    gate: Activation,
    update: jax.Array,
    reset: jax.Array,
    candidate: jax.Array,
    inner: jax.Array,
    hidden: jax.Array,
) -> jax.Array:
    """Returns ``gru_gates`` for any activations."""
    if activation is activations.tanh and gate is activations.sigmoid:
        return gru_gates(update, reset, candidate, inner, hidden)
    update, candidate = gate(update), activation(candidate + gate(reset) * inner)
    return update * hidden + (1 - update) * candidate


def gru_before(
    gate: Activation, update: jax.Array, reset: jax.Array, hidden: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns ``gru_reset`` for any gate activation."""
    if gate is activations.sigmoid:
        return gru_reset(update, reset, hidden)
    return gate(update), gate(reset) * hidden


@jax.custom_jvp
def sru_gates(
    candidate: jax.Array, forget: jax.Array, reset: jax.Array, highway: jax.Array, cell: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns an SRU's next cell state and its output [..., U] from gates between 0 and 1."""
    cell = forget * cell + (1 - forget) * candidate
    return cell, reset * jnp.tanh(cell) + (1 - reset) * highway


@sru_gates.defjvp
def _sru_gates_jvp(primals, tangents):
    candidate, forget, reset, highway, cell = primals
    d_candidate, d_forget, d_reset, d_highway, d_cell = tangents
    new_cell = forget * cell + (1 - forget) * candidate
    squashed = jnp.tanh(new_cell)
    cell_to_output = reset * (1 - squashed * squashed)

    d_cell = forget * d_cell + (cell - candidate) * d_forget + (1 - forget) * d_candidate
    d_output = cell_to_output * d_cell + (squashed - highway) * d_reset + (1 - reset) * d_highway
    return (new_cell, reset * squashed + (1 - reset) * highway), (d_cell, d_output)
