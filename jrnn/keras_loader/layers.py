"""One layer's config -> typed layer, for every Keras class that holds no other layer."""

from collections.abc import Callable
from typing import Any

from jrnn.cells.gru import GRUCell
from jrnn.cells.lstm import LSTMCell
from jrnn.cells.simple_rnn import SimpleRNNCell
from jrnn.keras_loader.config import Config
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
from jrnn.model.layer import Layer
from jrnn.model.recurrent import Recurrent


def _simple_rnn(config: Config) -> SimpleRNNCell:
    return SimpleRNNCell(
        activation=config.activation("activation", default="tanh"),
        use_bias=config.flag("use_bias", default=True),
    )


def _gru(config: Config) -> GRUCell:
    return GRUCell(
        activation=config.activation("activation", default="tanh"),
        recurrent_activation=_gates(config),
        reset_after=config.flag("reset_after", default=config.writer.reset_after),
        use_bias=config.flag("use_bias", default=True),
    )


def _lstm(config: Config) -> LSTMCell:
    return LSTMCell(
        activation=config.activation("activation", default="tanh"),
        recurrent_activation=_gates(config),
        use_bias=config.flag("use_bias", default=True),
    )


def _gates(config: Config) -> Any:
    return config.activation(
        "recurrent_activation", "inner_activation", default=config.writer.gate_activation
    )


def _recurrent(make_cell: Callable[[Config], Any]) -> Callable[[Config], Recurrent]:
    def parse(config: Config) -> Recurrent:
        unroll = config.flag("unroll", default=False)
        go_backwards = config.flag("go_backwards", default=False)
        zero_output = config.flag("zero_output_for_mask", default=False)
        if config.get("num_constants"):
            raise config.error("it takes constants, which only custom cells use")
        return Recurrent(
            **config.base(),
            cell=make_cell(config),
            units=config.size("units", "output_dim"),
            return_sequences=config.flag("return_sequences", default=False),
            return_state=config.flag("return_state", default=False),
            go_backwards=go_backwards,
            stateful=config.flag("stateful", default=False),
            unroll=unroll,
            time_major=config.flag("time_major", default=False),
            zero_output_for_mask=zero_output and config.writer.honours_zero_output(unroll),
            masked_start=config.writer.masked_start(unroll),
            zeroes_mirrored_steps=config.writer.zeroes_mirrored_steps(unroll, go_backwards),
        )

    return parse


def _dense(config: Config) -> Dense:
    return Dense(
        **config.base(),
        units=config.size("units", "output_dim"),
        activation=config.activation("activation", default="linear"),
        use_bias=config.flag("use_bias", "bias", default=True),
    )


def _embedding(config: Config) -> Embedding:
    return Embedding(
        **config.base(),
        input_dim=config.size("input_dim"),
        output_dim=config.size("output_dim"),
        mask_zero=config.flag("mask_zero", default=False),
    )


def _masking(config: Config) -> Masking:
    return Masking(**config.base(), mask_value=config.number("mask_value", default=0.0))


def _activation(config: Config) -> ActivationLayer:
    return ActivationLayer(
        **config.base(), activation=config.activation("activation", default="linear")
    )


def _identity(config: Config) -> Identity:
    rate = config.number("rate", "p", "stddev", "sigma", default=0.0)
    config.get("l1", "l2", "data_format", "dim_ordering")
    return Identity(**config.base(), rate=rate)


def _flatten(config: Config) -> Flatten:
    channels_first = config.get("data_format") == "channels_first"
    return Flatten(**config.base(), channels_first=channels_first)


def _reshape(config: Config) -> Reshape:
    shape = config.sizes("target_shape", smallest=-1)
    if shape.count(-1) > 1:
        raise config.error(f"target_shape {shape} leaves more than one size open")
    return Reshape(**config.base(), target_shape=shape)


def _permute(config: Config) -> Permute:
    dims = config.sizes("dims", smallest=1)
    if sorted(dims) != list(range(1, len(dims) + 1)):
        raise config.error(f"dims {dims} are no order of the axes 1 to {len(dims)}")
    return Permute(**config.base(), dims=dims)


def _repeat_vector(config: Config) -> RepeatVector:
    return RepeatVector(**config.base(), n=config.size("n"))


LAYERS: dict[str, Callable[[Config], Layer]] = {
    "Activation": _activation,
    "ActivityRegularization": _identity,
    "AlphaDropout": _identity,
    "Dense": _dense,
    "Dropout": _identity,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GRU": _recurrent(_gru),
    "GaussianDropout": _identity,
    "GaussianNoise": _identity,
    "LSTM": _recurrent(_lstm),
    "Masking": _masking,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Reshape": _reshape,
    "SimpleRNN": _recurrent(_simple_rnn),
    "SpatialDropout1D": _identity,
    "SpatialDropout2D": _identity,
    "SpatialDropout3D": _identity,
}
