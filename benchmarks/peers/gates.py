"""Other libraries' gate orders and biases, from and to Keras's layout."""

import numpy as np

from benchmarks.data import Weights

KERAS_ORDER = {"lstm": "ifgo", "gru": "zrn", "simple_rnn": "h"}
CONV_LSTM_ORDER = "igfo"  # of Flax and Haiku, which both add one to the forget gate


def split(array: np.ndarray, gates: int) -> list[np.ndarray]:
    """Splits the last axis into the gates' blocks."""
    return np.split(np.asarray(array), gates, axis=-1)


def reorder(array: np.ndarray, given: str, wanted: str) -> np.ndarray:
    """Returns the gates' blocks of the last axis in another order, named by letters."""
    blocks = dict(zip(given, split(array, len(given)), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted], axis=-1)


def fold_gru_bias(bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one bias [3U] and the candidate's inner bias [U] that equal Keras's [2, 3U].

    Where input and recurrent product are simply added, two biases are one; only the candidate's
    recurrent product is multiplied by the reset gate before.
    """
    outer, inner = np.array(bias[0]), np.asarray(bias[1])
    units = len(inner) // 3
    outer[: 2 * units] += inner[: 2 * units]
    return outer, inner[2 * units :]


def unfold_gru_gradient(outer: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Returns the gradient of Keras's bias [2, 3U]; what is added has the gradient of the sum."""
    outer = np.asarray(outer)
    units = len(outer) // 3
    return np.stack([outer, np.concatenate([outer[: 2 * units], np.asarray(candidate)])])


def blocks(weights: Weights, order: str) -> tuple[dict, dict, dict]:
    """Returns kernel, recurrent kernel and bias as dicts from gate to block (one bias row)."""
    named = (
        dict(zip(order, split(weights[name], len(order)), strict=True))
        for name in ("kernel", "recurrent_kernel", "bias")
    )
    kernel, recurrent, bias = named
    return kernel, recurrent, bias


def conv_lstm_weights(weights: Weights) -> Weights:
    """Returns the weights for a ConvLSTM that orders its gates i, g, f, o and adds one to f."""
    own = {n: reorder(a, KERAS_ORDER["lstm"], CONV_LSTM_ORDER) for n, a in weights.items()}
    units = len(own["bias"]) // 4
    own["bias"][2 * units : 3 * units] -= 1
    return own


def conv_lstm_gradients(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> Weights:
    """Returns the gradients of such a ConvLSTM in Keras's layout."""
    named = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
    return {n: reorder(a, CONV_LSTM_ORDER, KERAS_ORDER["lstm"]) for n, a in named.items()}
