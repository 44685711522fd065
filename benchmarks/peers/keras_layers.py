"""``keras.layers`` on its JAX backend, through ``stateless_call``; batch-major, its only layout."""

import functools

import jax.numpy as jnp
import keras

from benchmarks.cases import Case
from benchmarks.data import Data, Layers
from benchmarks.peers.base import UnsupportedError
from benchmarks.peers.jax_peer import Built, JaxPeer, numpy_weights

LAYERS = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "simple_rnn": keras.layers.SimpleRNN,
    "conv_lstm2d": functools.partial(keras.layers.ConvLSTM2D, padding="same"),
}
NAMES = ("kernel", "recurrent_kernel", "bias")  # the order of a layer's variables


class KerasLayers(JaxPeer):
    """Lengths are given as a mask."""

    time_major = False

    def build(self, case: Case, data: Data) -> Built:
        if case.shape.image and data.lengths is not None:
            raise UnsupportedError("a mask over images is broadcast wrongly unless unrolled")
        T, B = case.shape.T, case.shape.B
        stack = []
        for features in case.layer_features:
            sizes = (case.shape.U, *([case.shape.window] if case.shape.K else []))
            layer = LAYERS[case.cell](*sizes, return_sequences=True, return_state=True)
            if case.directions == 2:
                layer = keras.layers.Bidirectional(layer)
            layer.build((B, T, *case.shape.image, features))
            stack.append(layer)
        fixed = [[v.value for v in layer.non_trainable_variables] for layer in stack]

        def apply(params, xs, lengths):
            mask = None if lengths is None else jnp.arange(T) < lengths[:, None]
            states = []
            for layer, variables, constants in zip(stack, params, fixed, strict=True):
                (xs, *state), _ = layer.stateless_call(variables, constants, xs, mask=mask)
                states += state
            return xs, states

        per_direction = 2 if "lstm" in case.cell else 1
        params = [[weights[name] for weights in layer for name in NAMES] for layer in data.layers]
        return Built(params, apply, _to_layers, lambda states: states[::per_direction])


def _to_layers(grads: list[list]) -> Layers:
    return [
        [
            numpy_weights(**dict(zip(NAMES, layer[start : start + 3], strict=True)))
            for start in range(0, len(layer), 3)
        ]
        for layer in grads
    ]
