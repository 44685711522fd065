"""jrnn as its users call it; the variants are the cells' own options."""

import jax

import jrnn
from benchmarks.cases import Case
from benchmarks.data import Data
from benchmarks.peers.jax_peer import Built, JaxPeer, map_layers, numpy_weights

LAYERS = {
    "lstm": (jrnn.lstm, jrnn.LSTMParams),
    "gru": (jrnn.gru, jrnn.GRUParams),
    "simple_rnn": (jrnn.simple_rnn, jrnn.SimpleRNNParams),
    "sru": (jrnn.sru, jrnn.SRUParams),
    "conv_lstm2d": (jrnn.conv_lstm, jrnn.ConvLSTMParams),
}
CELLS = {
    ("lstm", "standard"): jrnn.LSTMCell(),
    ("gru", "reset_after"): jrnn.GRUCell(),
    ("gru", "reset_before"): jrnn.GRUCell(reset_after=False),
    ("simple_rnn", "tanh"): jrnn.SimpleRNNCell(),
    ("simple_rnn", "relu"): jrnn.SimpleRNNCell(activation="relu"),
    ("sru", "projected"): jrnn.SRUCell(),
    ("conv_lstm2d", "standard"): jrnn.ConvLSTMCell(padding="same"),
}


class Jrnn(JaxPeer):
    """Time-major, as most peers here; two layers are two calls."""

    def build(self, case: Case, data: Data) -> Built:
        layer, params_type = LAYERS[case.cell]
        cell = CELLS[case.cell, data.variant]

        def one_way(params, xs, lengths):
            states = []
            for (own,) in params:
                state, xs = layer(own, xs, cell=cell, lengths=lengths, time_major=True)
                states.append(state)
            return xs, states

        def both_ways(params, xs, lengths):
            ((forward, backward),) = params
            pair = jrnn.BidirectionalParams(forward, backward)
            state, ys = jrnn.bidirectional(cell, pair, xs, lengths=lengths, time_major=True)
            return ys, list(state)

        return Built(
            map_layers(lambda weights: params_type(**weights), data.layers),
            both_ways if case.directions == 2 else one_way,
            lambda grads: map_layers(lambda own: numpy_weights(**_given(own)), grads),
            lambda states: [state[0] for state in states],  # the hidden one, or an SRU's cell
        )


def _given(params) -> dict[str, jax.Array]:
    return {name: array for name, array in params._asdict().items() if array is not None}
