"""CuDNNLSTM and CuDNNGRU: an LSTM and a GRU whose arrays lie as NVIDIA's cuDNN takes them."""

from collections.abc import Callable, Sequence

import numpy as np

from jrnn.cells.gru import GRUCell
from jrnn.cells.lstm import LSTMCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.initializers import cell_initializers, forget_bias
from jrnn.keras_loader.stored_array import StoredArray, converted
from jrnn.model.layer import Layer

_GATES = {"CuDNNGRU": 3, "CuDNNLSTM": 4, "GRU": 3, "LSTM": 4}


def cudnn_cell(config: Config) -> GRUCell | LSTMCell:
    """Returns the one cell that the class has: tanh and sigmoid, the GRU's reset after."""
    if config.flag("time_major", default=False):
        raise config.error("with time_major, tf.keras turns its batch around; set it to false")
    if config.kind == "CuDNNGRU":
        return GRUCell(**cell_initializers(config, 3))
    return LSTMCell(**forget_bias(config, 4))


def is_cudnn(layer: Layer) -> bool:
    """Returns whether the layer is of one of the two classes."""
    return layer.kind in ("CuDNNGRU", "CuDNNLSTM")


def plain(layer: Layer, arrays: Sequence[StoredArray]) -> Sequence[StoredArray]:
    """Returns kernel, recurrent kernel and bias as an LSTM or a GRU has them.

    What layout they have shows in the length of the bias alone. Keras goes by that, too, and takes
    the arrays of a CuDNN layer for a plain one and the other way round.

    Source: ``preprocess_weights_for_loading`` of Keras 2.1.5 to 2.3 and of tf.keras.
    """
    gates = _GATES.get(layer.kind)
    if gates is None or len(arrays) != 3:
        return arrays
    kernel, recurrent, bias = arrays
    width = kernel.shape[-1] if len(kernel.shape) == 2 else 0
    if bias.shape != (2 * width,) or recurrent.shape != (width // gates, width):
        return arrays
    if gates == 3:
        one_bias = converted(bias, (2, width), lambda b: b.reshape(2, width))
    else:
        one_bias = converted(bias, (width,), lambda b: b[:width] + b[width:])
    return [
        converted(kernel, kernel.shape, lambda k: _each_gate(_reordered, k, gates)),
        converted(recurrent, recurrent.shape, lambda k: _each_gate(np.transpose, k, gates)),
        one_bias,
    ]


def _each_gate(
    convert: Callable[[np.ndarray], np.ndarray], kernel: np.ndarray, gates: int
) -> np.ndarray:
    return np.hstack([convert(block) for block in np.hsplit(kernel, gates)])


def _reordered(block: np.ndarray) -> np.ndarray:
    """One gate's [F, U] holds, in the order of its elements, the transpose [U, F]."""
    return block.reshape(block.shape[::-1]).T
