"""``haiku.dynamic_unroll``, time-major.

Haiku's GRU applies the reset gate before the product and blends the other way round (its z is
Keras's 1 - z, so those weights change sign); its LSTM adds one to the forget gate; its vanilla RNN
has ReLU.
"""

import haiku as hk
import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Data, Weights
from benchmarks.peers.base import UnsupportedError
from benchmarks.peers.gates import KERAS_ORDER, conv_lstm_gradients, conv_lstm_weights, reorder
from benchmarks.peers.jax_peer import Built, JaxPeer, layered, map_layers, numpy_weights

CORES = {"lstm": hk.LSTM, "gru": hk.GRU, "simple_rnn": hk.VanillaRNN}
CONV_LSTM = "conv2_dlstm/{}_to_hidden"
LSTM_ORDER = "igfo"


class Haiku(JaxPeer):
    """Each direction of each layer is one transformed ``dynamic_unroll``."""

    def build(self, case: Case, data: Data) -> Built:
        if data.lengths is not None:
            raise UnsupportedError("dynamic_unroll takes no lengths")

        def run(params, xs, *, lengths, reverse):
            def unroll(xs):
                core = _core(case)
                start = core.initial_state(xs.shape[1])
                return hk.dynamic_unroll(core, xs, start, reverse=reverse)

            return hk.transform(unroll).apply(params, None, xs)

        def hidden(states):
            return [state.hidden for state in states] if "lstm" in case.cell else states

        return Built(
            map_layers(TO_HAIKU[case.cell], data.layers),
            layered(run),
            lambda grads: map_layers(TO_KERAS[case.cell], grads),
            hidden,
        )


def _core(case: Case) -> hk.RNNCore:
    if case.cell == "conv_lstm2d":
        return hk.Conv2DLSTM(case.shape.image, case.shape.U, case.shape.window)
    return CORES[case.cell](case.shape.U)


def lstm_to_haiku(weights: Weights) -> dict:
    own = {name: reorder(array, KERAS_ORDER["lstm"], LSTM_ORDER) for name, array in weights.items()}
    units = own["recurrent_kernel"].shape[0]
    bias = own["bias"].copy()
    bias[2 * units : 3 * units] -= 1
    return {
        "lstm/linear": {"w": np.concatenate([own["kernel"], own["recurrent_kernel"]]), "b": bias}
    }


def lstm_to_keras(grads: dict) -> Weights:
    linear = grads["lstm/linear"]
    bias = reorder(linear["b"], LSTM_ORDER, KERAS_ORDER["lstm"])
    both = reorder(linear["w"], LSTM_ORDER, KERAS_ORDER["lstm"])
    features = len(both) - len(bias) // 4
    return {"kernel": both[:features], "recurrent_kernel": both[features:], "bias": bias}


def gru_to_haiku(weights: Weights) -> dict:
    own = {name: _negate_update(array) for name, array in weights.items()}
    return {"gru": {"w_i": own["kernel"], "w_h": own["recurrent_kernel"], "b": own["bias"]}}


def gru_to_keras(grads: dict) -> Weights:
    own = grads["gru"]
    return {
        "kernel": _negate_update(own["w_i"]),
        "recurrent_kernel": _negate_update(own["w_h"]),
        "bias": _negate_update(own["b"]),
    }


def _negate_update(array) -> np.ndarray:
    changed = np.array(array)
    changed[..., : changed.shape[-1] // 3] *= -1
    return changed


def vanilla_to_haiku(weights: Weights) -> dict:
    bias = weights["bias"]
    return {
        "vanilla_rnn/linear": {"w": weights["kernel"], "b": bias},
        "vanilla_rnn/linear_1": {"w": weights["recurrent_kernel"], "b": np.zeros_like(bias)},
    }


def vanilla_to_keras(grads: dict) -> Weights:
    of_input, of_hidden = grads["vanilla_rnn/linear"], grads["vanilla_rnn/linear_1"]
    return numpy_weights(kernel=of_input["w"], recurrent_kernel=of_hidden["w"], bias=of_input["b"])


def conv_lstm_to_haiku(weights: Weights) -> dict:
    own = conv_lstm_weights(weights)
    return {
        CONV_LSTM.format("input"): {"w": own["kernel"], "b": own["bias"]},
        CONV_LSTM.format("hidden"): {
            "w": own["recurrent_kernel"],
            "b": np.zeros_like(own["bias"]),
        },
    }


def conv_lstm_to_keras(grads: dict) -> Weights:
    of_input, of_hidden = (grads[CONV_LSTM.format(side)] for side in ("input", "hidden"))
    return conv_lstm_gradients(of_input["w"], of_hidden["w"], of_input["b"])


TO_HAIKU = {
    "lstm": lstm_to_haiku,
    "gru": gru_to_haiku,
    "simple_rnn": vanilla_to_haiku,
    "conv_lstm2d": conv_lstm_to_haiku,
}
TO_KERAS = {
    "lstm": lstm_to_keras,
    "gru": gru_to_keras,
    "simple_rnn": vanilla_to_keras,
    "conv_lstm2d": conv_lstm_to_keras,
}
