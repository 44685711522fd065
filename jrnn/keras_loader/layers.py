"""One layer's config -> typed layer, for every Keras class that holds no other layer."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from jrnn.cells.gru import GRUCell
from jrnn.cells.lstm import LSTMCell
from jrnn.cells.simple_rnn import SimpleRNNCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.conv_lstm import parse_conv_lstm
from jrnn.keras_loader.cudnn import cudnn_cell
from jrnn.keras_loader.dropout import NOISE_LAYERS, cell_dropout, rate
from jrnn.keras_loader.initializers import cell_initializers, forget_bias
from jrnn.keras_loader.merge_layers import MERGE_LAYERS
from jrnn.keras_loader.older_layers import OLDER_LAYERS
from jrnn.keras_loader.options import is_amount, listed
from jrnn.keras_loader.quantized import input_range
from jrnn.keras_loader.spatial_layers import SPATIAL_LAYERS
from jrnn.keras_loader.value_layers import VALUE_LAYERS
from jrnn.model.basic import (
    ActivationLayer,
    Dense,
    Embedding,
    Flatten,
    Identity,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
)
from jrnn.model.einsum import EinsumDense
from jrnn.model.layer import Layer
from jrnn.model.quantized import QuantizedDense, QuantizedEmbedding
from jrnn.model.recurrent import Recurrent

EQUATION = re.compile(
    r"(\.\.\.)?[a-zA-Z]{1,12}(\.\.\.)?,[a-zA-Z]{1,12}->(\.\.\.)?[a-zA-Z]{1,12}(\.\.\.)?"
)


def simple_rnn_cell(config: Config) -> SimpleRNNCell:
    """Returns the cell of a ``SimpleRNN`` or ``SimpleRNNCell``."""
    return SimpleRNNCell(
        activation=config.activation("activation", default="tanh"),
        use_bias=config.flag("use_bias", default=True),
        **cell_initializers(config, 1),
    )


def gru_cell(config: Config) -> GRUCell:
    """Returns the cell of a ``GRU`` or ``GRUCell``."""
    return GRUCell(
        activation=config.activation("activation", default="tanh"),
        recurrent_activation=_gates(config),
        reset_after=config.flag("reset_after", default=config.writer.reset_after),
        use_bias=config.flag("use_bias", default=True),
        **cell_initializers(config, 3),
    )


def lstm_cell(config: Config) -> LSTMCell:
    """Returns the cell of an ``LSTM`` or ``LSTMCell``."""
    return LSTMCell(
        activation=config.activation("activation", default="tanh"),
        recurrent_activation=_gates(config),
        use_bias=config.flag("use_bias", default=True),
        **forget_bias(config, 4),
    )


def _gates(config: Config) -> Any:
    return config.activation(
        "recurrent_activation", "inner_activation", default=config.writer.gate_activation
    )


def _conv_lstm(rank: int) -> Callable[[Config], Recurrent]:
    def parse(config: Config) -> Recurrent:
        options = loop_options(config)
        if config.writer.major < 3:  # tf.keras does not hand this option to its loop
            options["zero_output_for_mask"] = False
        return Recurrent(
            **config.base(),
            cell=parse_conv_lstm(config, rank),
            units=config.size("filters", "nb_filter"),
            **cell_dropout(config),
            **options,
        )

    return parse


def _recurrent(make_cell: Callable[[Config], Any]) -> Callable[[Config], Recurrent]:
    def parse(config: Config) -> Recurrent:
        layer = Recurrent(
            **config.base(),
            cell=make_cell(config),
            units=config.size("units", "output_dim"),
            **cell_dropout(config),
            **loop_options(config),
        )
        return dataclasses.replace(layer, dropout_each_step=_is_fused(layer, config))

    return parse


def _is_fused(layer: Recurrent, config: Config) -> bool:
    """Returns whether tf.keras runs the layer's loop fused, which draws dropout at each step."""
    return (
        config.writer.fuses_loops
        and layer.dropout > 0
        and layer.recurrent_dropout == 0
        and not layer.unroll
        and isinstance(layer.cell, GRUCell | LSTMCell)
        and (layer.cell.activation, layer.cell.recurrent_activation) == ("tanh", "sigmoid")
        and layer.cell.use_bias
        and getattr(layer.cell, "reset_after", True)
    )


def loop_options(config: Config) -> dict[str, Any]:
    """Returns the arguments that every layer with a loop takes."""
    unroll = config.get("unroll")
    # Any number but 0 is true to Keras, which then unrolls the whole sequence.
    unroll = bool(unroll) if type(unroll) is int else config.flag("unroll", default=False)
    go_backwards = config.flag("go_backwards", default=False)
    zero_output = config.flag("zero_output_for_mask", default=False)
    if config.kind != "RNN" and config.get("num_constants"):
        raise config.error("it takes constants, which only custom cells use")
    return {
        "return_sequences": config.flag("return_sequences", default=False),
        "return_state": config.flag("return_state", default=False),
        "go_backwards": go_backwards,
        "stateful": config.flag("stateful", default=False),
        "unroll": unroll,
        "time_major": config.flag("time_major", default=False),
        "zero_output_for_mask": zero_output and config.writer.honours_zero_output(unroll),
        "masked_start": config.writer.masked_start(unroll),
        "zeroes_mirrored_steps": config.writer.zeroes_mirrored_steps(unroll, go_backwards),
    }


def _dense(config: Config) -> Dense:
    options = {
        **config.base(),
        "units": config.size("units", "output_dim"),
        "activation": config.activation("activation", default="linear"),
        "use_bias": config.flag("use_bias", "bias", default=True),
    }
    if config.is_quantized():
        return QuantizedDense(**options, inputs=input_range(config))
    return Dense(**options)


def _embedding(config: Config) -> Embedding:
    kind = QuantizedEmbedding if config.is_quantized() else Embedding
    return kind(
        **config.base(),
        input_dim=config.size("input_dim"),
        output_dim=config.size("output_dim"),
        mask_zero=config.flag("mask_zero", default=False),
        dropout=rate(config, "dropout"),
    )


def _einsum_dense(config: Config) -> EinsumDense:
    if config.is_quantized():
        raise config.error("it is quantised, which jrnn does not know there; save it before")
    equation = config.get("equation")
    if not isinstance(equation, str) or not EQUATION.fullmatch(equation):
        raise config.error(f"equation is {equation!r:.80}, but one as 'abc,cd->abd' is needed")
    letters = config.get("bias_axes")
    if not isinstance(letters, str | None):
        raise config.error(f"bias_axes is {letters!r:.80}, but letters of the output are needed")
    return EinsumDense(
        **config.base(),
        equation=equation,
        activation=config.activation("activation", default="linear"),
        bias_axes=letters or None,
        output_shape=_open_sizes(config, "output_shape"),
    )


def _open_sizes(config: Config, key: str) -> tuple[int | None, ...] | None:
    """Returns sizes of which some may be open, given as one or in a list."""
    value = config.get(key)
    if value is None:
        return None
    found = listed(value) if isinstance(value, dict | list) else [value]
    if not all(size is None or is_amount(size, 1) for size in found):
        raise config.error(f"{key} is {value!r:.80}, but sizes are needed")
    return tuple(found)


def _masking(config: Config) -> Masking:
    return Masking(**config.base(), mask_value=config.number("mask_value", default=0.0))


def _activation(config: Config) -> ActivationLayer:
    return ActivationLayer(
        **config.base(), activation=config.activation("activation", default="linear")
    )


def _identity(config: Config) -> Identity:
    config.get("l1", "l2")
    passes = config.kind != "Identity" or config.writer.major >= 3
    return Identity(**config.base(), passes_mask=passes)


def _flatten(config: Config) -> Flatten:
    channels_first = config.get("data_format") == "channels_first"
    return Flatten(**config.base(), channels_first=channels_first)


def _reshape(config: Config) -> Reshape:
    shape = config.sizes("target_shape", smallest=-1)
    if shape.count(-1) > 1:
        raise config.error(f"target_shape {shape} leaves more than one size open")
    return Reshape(
        **config.base(), target_shape=shape, keeps_mask=config.writer.same_array_keeps_mask
    )


def _permute(config: Config) -> Permute:
    dims = config.sizes("dims", smallest=1)
    if sorted(dims) != list(range(1, len(dims) + 1)):
        raise config.error(f"dims {dims} are no order of the axes 1 to {len(dims)}")
    return Permute(**config.base(), dims=dims, keeps_mask=config.writer.same_array_keeps_mask)


def _repeat_vector(config: Config) -> RepeatVector:
    return RepeatVector(**config.base(), n=config.size("n"))


LAYERS: dict[str, Callable[[Config], Layer]] = {
    "Activation": _activation,
    "ActivityRegularization": _identity,
    "ConvLSTM1D": _conv_lstm(1),
    "ConvLSTM2D": _conv_lstm(2),
    "ConvLSTM3D": _conv_lstm(3),
    "CuDNNGRU": _recurrent(cudnn_cell),
    "CuDNNLSTM": _recurrent(cudnn_cell),
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GRU": _recurrent(gru_cell),
    "Identity": _identity,
    "LSTM": _recurrent(lstm_cell),
    "Masking": _masking,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Reshape": _reshape,
    "SimpleRNN": _recurrent(simple_rnn_cell),
    "TimeDistributedDense": _dense,
    **MERGE_LAYERS,
    **NOISE_LAYERS,
    **OLDER_LAYERS,
    **SPATIAL_LAYERS,
    **VALUE_LAYERS,
}
