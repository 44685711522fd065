"""``flax.nnx.RNN``. Its GRU has no bias inside the reset gate's product (variant input_bias)."""

from typing import Any

import numpy as np
from flax import nnx

from benchmarks.cases import Case
from benchmarks.data import Data, Layers, Weights
from benchmarks.peers.flax_linen import hidden
from benchmarks.peers.gates import KERAS_ORDER, reorder
from benchmarks.peers.jax_peer import Built, JaxPeer

CELLS = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "simple_rnn": nnx.SimpleCell}
ORDER = {"lstm": "ifgo", "gru": "rzn", "simple_rnn": "h"}
BIASED = {"lstm": "dense_h", "gru": "dense_i", "simple_rnn": "dense_i"}  # where the bias is


class FlaxNNX(JaxPeer):
    """``time_major=True``, its fastest form; the modules are split, merged inside the function."""

    def build(self, case: Case, data: Data) -> Built:
        modules = nnx.List(
            [
                self._layer(case, features, layer)
                for features, layer in zip(case.layer_features, data.layers, strict=True)
            ]
        )
        graph, params, rest = nnx.split(modules, nnx.Param, ...)

        def apply(params, xs, lengths):
            carries = []
            for module in nnx.merge(graph, params, rest, copy=True):
                carry, xs = module(xs, seq_lengths=lengths, return_carry=True)
                carries += carry if case.directions == 2 else [carry]
            return xs, carries

        def to_layers(grads: Any) -> Layers:
            return [
                [to_keras(case.cell, cell) for cell in _cells(module)]
                for module in nnx.merge(graph, grads, rest)
            ]

        return Built(params, apply, to_layers, lambda carries: hidden(case.cell, carries))

    def _layer(self, case: Case, features: int, layer: list[Weights]) -> nnx.Module:
        directions = []
        for weights in layer:
            cell = CELLS[case.cell](features, case.shape.U, rngs=nnx.Rngs(0))
            fill(case.cell, cell, weights)
            directions.append(nnx.RNN(cell, time_major=True))
        if len(directions) == 1:
            return directions[0]
        return nnx.Bidirectional(*directions, time_major=True)


def _cells(module: Any) -> list[Any]:
    if isinstance(module, nnx.Bidirectional):
        return [module.forward_rnn.cell, module.backward_rnn.cell]
    return [module.cell]


def fill(kind: str, cell: Any, weights: Weights) -> None:
    """Sets a cell's parameters."""
    own = {name: reorder(array, KERAS_ORDER[kind], ORDER[kind]) for name, array in weights.items()}
    cell.dense_i.kernel.set_value(own["kernel"])
    cell.dense_h.kernel.set_value(own["recurrent_kernel"])
    getattr(cell, BIASED[kind]).bias.set_value(own["bias"])


def to_keras(kind: str, cell: Any) -> Weights:
    """Returns what stands in a cell's place of parameters in Keras's layout."""
    own = {
        "kernel": cell.dense_i.kernel,
        "recurrent_kernel": cell.dense_h.kernel,
        "bias": getattr(cell, BIASED[kind]).bias,
    }
    return {
        name: reorder(np.asarray(variable.get_value()), ORDER[kind], KERAS_ORDER[kind])
        for name, variable in own.items()
    }
