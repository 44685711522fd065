"""The shapes of the weights, checked: by the ops against x, by the conversions among themselves.

Each function raises ``ValueError`` unless all arrays fit, and returns the number of units.
``features`` is None where there is no x to say it.
"""

from typing import Any

from jrnn.nd4j.arguments import expect
from jrnn.nd4j.weights import GRUWeights, LSTMLayerWeights, LSTMWeights, RNNWeights


def gru_units(who: str, weights: GRUWeights, features: int | None = None) -> int:
    """Checks the weights of ``gru_cell``."""
    rows, units = _sizes(weights.c_weight)
    rows = rows if features is None else features + units
    expect(who, (rows, 2 * units), ru_weight=weights.ru_weight)
    expect(who, (rows, units), c_weight=weights.c_weight)
    expect(who, (2 * units,), ru_bias=weights.ru_bias)
    expect(who, (units,), c_bias=weights.c_bias)
    return units


def lstm_units(who: str, weights: LSTMWeights, features: int | None = None) -> int:
    """Checks the weights of ``lstm_cell`` and ``lstm_block``."""
    rows, columns = _sizes(weights.ru_weight)
    units = columns // 4
    rows = rows if features is None else features + units
    expect(who, (rows, 4 * units), ru_weight=weights.ru_weight)
    expect(who, (4 * units,), bias=weights.bias)
    peepholes = weights._asdict()
    del peepholes["ru_weight"], peepholes["bias"]
    expect(who, (units,), **peepholes)
    return units


def lstm_layer_units(
    who: str,
    weights: LSTMLayerWeights,
    features: int | None = None,
    both: tuple[int, ...] | None = None,
) -> int:
    """Checks the weights of ``lstm_layer``; ``both`` is (2,) where there are two directions."""
    rows, columns = _sizes(weights.input_weights)
    units = columns // 4
    rows = rows if features is None else features
    if both is None:
        both = (2,) if weights.input_weights.ndim == 3 else ()
    expect(who, (*both, rows, 4 * units), input_weights=weights.input_weights)
    expect(who, (*both, units, 4 * units), recurrent_weights=weights.recurrent_weights)
    expect(who, (*both, 4 * units), biases=weights.biases)
    expect(who, (*both, 3 * units), peephole_weights=weights.peephole_weights)
    return units


def rnn_units(who: str, weights: RNNWeights, features: int | None = None) -> int:
    """Checks the weights of ``rnn_cell``, ``static_rnn`` and ``dynamic_rnn``."""
    rows, units = _sizes(weights.input_weights)
    rows = rows if features is None else features
    expect(who, (rows, units), input_weights=weights.input_weights)
    expect(who, (units, units), recurrent_weights=weights.recurrent_weights)
    expect(who, (2 * units,), biases=weights.biases)
    return units


def _sizes(weight: Any) -> tuple[int, int]:
    """Returns the numbers of rows and columns, 0 for what has neither."""
    rows, columns = (0, 0, *weight.shape)[-2:]
    return rows, columns
