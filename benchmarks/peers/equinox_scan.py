"""Equinox cells in ``lax.scan`` over one row, ``jax.vmap`` over rows; batch-major.

Equinox has no vanilla cell: two ``eqx.nn.Linear`` and a tanh stand in for it.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Data, Weights
from benchmarks.peers.gates import KERAS_ORDER, fold_gru_bias, reorder, unfold_gru_gradient
from benchmarks.peers.jax_peer import Built, JaxPeer, layered, map_layers, numpy_weights

GRU_ORDER = "rzn"


class VanillaCell(eqx.Module):
    """``tanh(W x + b + R h)``, as Equinox's users would write it."""

    of_input: eqx.nn.Linear
    of_hidden: eqx.nn.Linear

    def __init__(self, features: int, units: int, *, key: jax.Array):
        keys = jax.random.split(key)
        self.of_input = eqx.nn.Linear(features, units, key=keys[0])
        self.of_hidden = eqx.nn.Linear(units, units, use_bias=False, key=keys[1])

    def __call__(self, x: jax.Array, h: jax.Array) -> jax.Array:
        return jnp.tanh(self.of_input(x) + self.of_hidden(h))


class Equinox(JaxPeer):
    """With lengths the state stands still in the padding (``jnp.where``)."""

    time_major = False

    def build(self, case: Case, data: Data) -> Built:
        U = case.shape.U
        start = (jnp.zeros(U), jnp.zeros(U)) if case.cell == "lstm" else jnp.zeros(U)

        def of_row(cell, xs, length, reverse):
            def body(state, inputs):
                t, x = inputs
                new = cell(x, state)
                if length is not None:
                    keep = lambda now, before: jnp.where(t < length, now, before)  # noqa: E731
                    new = jax.tree.map(keep, new, state)
                return new, _hidden(new)

            return jax.lax.scan(body, start, (jnp.arange(len(xs)), xs), reverse=reverse)

        def run(cell, xs, *, lengths, reverse):
            rows = jax.vmap(lambda row, length: of_row(cell, row, length, reverse))
            state, ys = rows(xs, lengths)
            return ys, state

        # Every cell is a module of arrays (and sizes, which are static): a pytree as it is.
        return Built(
            map_layers(lambda weights: to_equinox(case.cell, weights), data.layers),
            layered(run),
            lambda grads: map_layers(lambda own: to_keras(case.cell, own), grads),
            lambda states: [_hidden(state) for state in states],
        )


def _hidden(state: Any) -> jax.Array:
    return state[0] if isinstance(state, tuple) else state


def to_equinox(kind: str, weights: Weights) -> eqx.Module:
    """Returns the cell with these weights, which Equinox holds transposed."""
    features, units = len(weights["kernel"]), len(weights["recurrent_kernel"])
    key = jax.random.key(0)
    if kind == "simple_rnn":
        cell = VanillaCell(features, units, key=key)
        places = lambda c: (c.of_input.weight, c.of_hidden.weight, c.of_input.bias)  # noqa: E731
        values = (weights["kernel"].T, weights["recurrent_kernel"].T, weights["bias"])
    elif kind == "lstm":
        cell = eqx.nn.LSTMCell(features, units, key=key)
        places = lambda c: (c.weight_ih, c.weight_hh, c.bias)  # noqa: E731
        values = (weights["kernel"].T, weights["recurrent_kernel"].T, weights["bias"])
    else:
        cell = eqx.nn.GRUCell(features, units, key=key)
        places = lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n)  # noqa: E731
        outer, candidate = fold_gru_bias(weights["bias"])
        packed = (weights["kernel"], weights["recurrent_kernel"], outer)
        values = (*(reorder(a, KERAS_ORDER["gru"], GRU_ORDER).T for a in packed), candidate)
    return eqx.tree_at(places, cell, tuple(map(jnp.asarray, values)))


def to_keras(kind: str, grads: Any) -> Weights:
    """Returns the gradients of a cell in Keras's layout."""
    if kind == "simple_rnn":
        return numpy_weights(
            kernel=grads.of_input.weight.T,
            recurrent_kernel=grads.of_hidden.weight.T,
            bias=grads.of_input.bias,
        )
    own = numpy_weights(
        kernel=grads.weight_ih.T, recurrent_kernel=grads.weight_hh.T, bias=grads.bias
    )
    if kind == "lstm":
        return own
    own = {name: reorder(array, GRU_ORDER, KERAS_ORDER["gru"]) for name, array in own.items()}
    return {**own, "bias": unfold_gru_gradient(own["bias"], np.asarray(grads.bias_n))}
