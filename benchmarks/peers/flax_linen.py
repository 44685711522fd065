"""``flax.linen.RNN``, with the faster of Flax's two LSTM cells."""

from typing import Any

import flax.linen as nn
import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Data, Weights
from benchmarks.peers.gates import (
    KERAS_ORDER,
    blocks,
    conv_lstm_gradients,
    conv_lstm_weights,
    fold_gru_bias,
    unfold_gru_gradient,
)
from benchmarks.peers.jax_peer import Built, JaxPeer, map_layers

CELLS = {
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
    "simple_rnn": nn.SimpleCell,
    "conv_lstm2d": nn.ConvLSTMCell,
}


class FlaxLinen(JaxPeer):
    """``time_major=True``, its fastest form."""

    def build(self, case: Case, data: Data) -> Built:
        def rnn():
            cell = CELLS[case.cell](case.shape.U, *([case.shape.window] if case.shape.K else []))
            return nn.RNN(cell, time_major=True, return_carry=True)

        def one_way(params, xs, lengths):
            carries = []
            for (own,) in params:
                variables = {"params": {"cell": own}}
                carry, xs = rnn().apply(variables, xs, seq_lengths=lengths)
                carries.append(carry)
            return xs, carries

        def both_ways(params, xs, lengths):
            ((forward, backward),) = params
            both = nn.Bidirectional(rnn(), rnn(), time_major=True, return_carry=True)
            variables = {"forward_rnn": {"cell": forward}, "backward_rnn": {"cell": backward}}
            carries, ys = both.apply({"params": variables}, xs, seq_lengths=lengths)
            return ys, list(carries)

        return Built(
            map_layers(lambda weights: to_flax(case.cell, weights), data.layers),
            both_ways if case.directions == 2 else one_way,
            lambda grads: map_layers(lambda own: to_keras(case.cell, own), grads),
            lambda carries: hidden(case.cell, carries),
        )


def hidden(cell: str, carries: list[Any]) -> list[Any]:
    """Picks the hidden states; an LSTM's carry is (cell, hidden)."""
    return [carry[1] for carry in carries] if "lstm" in cell else carries


def to_flax(cell: str, weights: Weights) -> dict[str, dict[str, np.ndarray]]:
    """Returns the cell's parameters: a kernel for each gate, a bias where Flax has one."""
    if cell == "simple_rnn":
        return {
            "i": {"kernel": weights["kernel"], "bias": weights["bias"]},
            "h": {"kernel": weights["recurrent_kernel"]},
        }
    if cell == "conv_lstm2d":
        own = conv_lstm_weights(weights)
        recurrent = {"kernel": own["recurrent_kernel"], "bias": np.zeros_like(own["bias"])}
        return {"ih": {"kernel": own["kernel"], "bias": own["bias"]}, "hh": recurrent}
    if cell == "lstm":
        kernel, recurrent, bias = blocks(weights, KERAS_ORDER["lstm"])
        of_input = {f"i{gate}": {"kernel": kernel[gate]} for gate in kernel}
        return of_input | {
            f"h{gate}": {"kernel": recurrent[gate], "bias": bias[gate]} for gate in recurrent
        }
    outer, candidate = fold_gru_bias(weights["bias"])
    kernel, recurrent, bias = blocks({**weights, "bias": outer}, KERAS_ORDER["gru"])
    params = {f"i{gate}": {"kernel": kernel[gate], "bias": bias[gate]} for gate in kernel}
    params |= {f"h{gate}": {"kernel": recurrent[gate]} for gate in recurrent}
    params["hn"]["bias"] = candidate
    return params


def to_keras(cell: str, grads: dict[str, dict[str, Any]]) -> Weights:
    """Returns gradients shaped like ``to_flax``'s parameters in Keras's layout."""
    if cell == "simple_rnn":
        of_input, of_hidden = grads["i"], grads["h"]
        return {
            "kernel": np.asarray(of_input["kernel"]),
            "recurrent_kernel": np.asarray(of_hidden["kernel"]),
            "bias": np.asarray(of_input["bias"]),
        }
    if cell == "conv_lstm2d":
        of_input, of_hidden = grads["ih"], grads["hh"]
        return conv_lstm_gradients(of_input["kernel"], of_hidden["kernel"], of_input["bias"])

    def packed(side: str, name: str) -> np.ndarray:
        return np.concatenate([grads[side + gate][name] for gate in KERAS_ORDER[cell]], axis=-1)

    bias = (
        packed("h", "bias")
        if cell == "lstm"
        else unfold_gru_gradient(packed("i", "bias"), grads["hn"]["bias"])
    )
    return {
        "kernel": packed("i", "kernel"),
        "recurrent_kernel": packed("h", "kernel"),
        "bias": bias,
    }
