"""ConvLSTM1D, 2D and 3D: their configs -> cells, and their arrays -> jrnn's layout."""

from collections.abc import Sequence

from jrnn.cells.conv_lstm import ConvLSTMCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.initializers import forget_bias
from jrnn.keras_loader.options import channels_first, choice, sizes
from jrnn.keras_loader.stored_array import StoredArray, turned

_KERAS1_ARRAYS = 12  # W, U and b of four gates, each for itself


def parse_conv_lstm(config: Config, rank: int) -> ConvLSTMCell:
    """Returns the cell of a ConvLSTM layer over images of ``rank`` axes."""
    writer = config.writer
    if writer.major < 3 and config.flag("time_major", default=False):
        raise config.error("it says time_major, which Keras ignores there; set it to false")
    if "nb_row" in config.values:
        kernel_size = config.size("nb_row"), config.size("nb_col")
    else:
        kernel_size = sizes(config, rank, "kernel_size")
    return ConvLSTMCell(
        rank=rank,
        kernel_size=kernel_size,
        strides=sizes(config, rank, "strides", "subsample", default=1),
        padding=choice(
            config, "padding", "border_mode", default="valid", choices=("valid", "same")
        ),
        dilation=sizes(config, rank, "dilation_rate", default=1),
        data_format="channels_first" if channels_first(config) else "channels_last",
        same_rule="theano" if writer.backend == "theano" and writer.major < 3 else "tensorflow",
        activation=config.activation("activation", default="tanh"),
        recurrent_activation=config.activation(
            "recurrent_activation", "inner_activation", default=writer.conv_gate_activation
        ),
        use_bias=config.flag("use_bias", default=True),
        **forget_bias(config, 4),
    )


def cross_correlations(cell: ConvLSTMCell, arrays: Sequence[StoredArray]) -> Sequence[StoredArray]:
    """Returns a ConvLSTM's arrays with kernels [*K, C, G] of cross-correlations.

    Keras 1 stored those of "th" ordering as [G, C, *K]. Theano flips kernels when it convolves.
    """
    axes = cell.rank + 2
    order, flipped = tuple(range(axes)), ()
    if len(arrays) == _KERAS1_ARRAYS and cell.data_format == "channels_first":
        order = (*range(2, axes), 1, 0)
    if cell.same_rule == "theano":
        flipped = tuple(range(cell.rank))
    return [
        turned(array, order, flipped) if len(array.shape) == axes else array for array in arrays
    ]
