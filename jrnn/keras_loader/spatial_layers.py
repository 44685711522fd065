"""Layers over steps or pixels (convolutions, pooling, resizing): config -> typed layer."""

from collections.abc import Callable, Mapping
from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.keras_loader.options import channels_first, choice, pairs, sizes
from jrnn.model.convolution import (
    Convolution,
    DepthwiseConvolution,
    SeparableConvolution,
    TransposedConvolution,
)
from jrnn.model.layer import Layer
from jrnn.model.pooling import AdaptivePooling, GlobalPooling, Mode, Pooling
from jrnn.model.shaping import Cropping, UpSampling, ZeroPadding

MOST_WINDOWS = 2**16  # over one axis: where each begins is worked out when the model is read


def _convolution(rank: int) -> Callable[[Config], Convolution]:
    def parse(config: Config) -> Convolution:
        filters, groups = config.size("filters", "nb_filter"), sizes(config, 1, "groups", default=1)
        return Convolution(**_shared(config, rank), filters=filters, groups=groups[0])

    return parse


def _depthwise(rank: int) -> Callable[[Config], DepthwiseConvolution]:
    def parse(config: Config) -> DepthwiseConvolution:
        if config.get("groups") not in (None, 1):
            raise config.error("it has groups, which Keras does not use there")
        (multiplier,) = sizes(config, 1, "depth_multiplier", default=1)
        return DepthwiseConvolution(**_shared(config, rank), depth_multiplier=multiplier)

    return parse


def _separable(rank: int) -> Callable[[Config], SeparableConvolution]:
    def parse(config: Config) -> SeparableConvolution:
        if config.get("groups") not in (None, 1):
            raise config.error("it has groups, which Keras does not use there")
        (multiplier,) = sizes(config, 1, "depth_multiplier", default=1)
        return SeparableConvolution(
            **_shared(config, rank),
            filters=config.size("filters", "nb_filter"),
            depth_multiplier=multiplier,
        )

    return parse


def _shared(config: Config, rank: int) -> dict[str, Any]:
    """Returns the arguments that all convolutions take."""
    theano = config.writer.backend == "theano"
    paddings = ("valid", "same", *(["causal"] if rank == 1 else []), *(["full"] if theano else []))
    if "nb_row" in config.values:
        kernel_size = config.size("nb_row"), config.size("nb_col")
    else:
        kernel_size = sizes(config, rank, "kernel_size", "filter_length")
    return {
        **config.base(),
        "kernel_size": kernel_size,
        "strides": sizes(config, rank, "strides", "subsample_length", "subsample", default=1),
        "padding": choice(
            config, "padding", "border_mode", default="valid", choices=tuple(paddings)
        ),
        "dilation": sizes(config, rank, "dilation_rate", "atrous_rate", default=1),
        "channels_first": channels_first(config),
        "same_rule": "theano" if theano else "tensorflow",
        "activation": config.activation("activation", default="linear"),
        "use_bias": config.flag("use_bias", "bias", default=True),
    }


def _transposed(rank: int) -> Callable[[Config], TransposedConvolution]:
    def parse(config: Config) -> TransposedConvolution:
        if config.writer.backend == "theano":
            raise config.error("Theano's transposed convolution is not known to jrnn")
        if config.get("groups") not in (None, 1):
            raise config.error("it has groups, which Keras does not use there")
        more = None
        if config.get("output_padding") is not None:
            more = sizes(config, rank, "output_padding", smallest=0)
        options = _shared(config, rank)
        if options["padding"] == "causal":
            raise config.error("padding is 'causal', which Keras does not have there")
        layer = TransposedConvolution(
            **options, filters=config.size("filters"), output_padding=more
        )
        if more is not None and any(
            extra >= stride for extra, stride in zip(more, layer.strides, strict=True)
        ):
            raise config.error(
                f"output_padding {more} is not less than strides {layer.strides}, as Keras needs it"
            )
        return layer

    return parse


def _pooling(mode: Mode, rank: int) -> Callable[[Config], Pooling]:
    def parse(config: Config) -> Pooling:
        pool_size = sizes(config, rank, "pool_size", "pool_length", default=2)
        strides: tuple[int, ...] = pool_size
        if config.get("strides", "stride") is not None:
            strides = sizes(config, rank, "strides", "stride")
        padding = choice(
            config, "padding", "border_mode", default="valid", choices=("valid", "same")
        )
        if padding == "same" and config.writer.backend == "theano":
            raise config.error("padding 'same' of Theano's pooling is not known to jrnn")
        return Pooling(
            **config.base(),
            mode=mode,
            pool_size=pool_size,
            strides=strides,
            padding=padding,
            channels_first=channels_first(config),
        )

    return parse


def _global_pooling(mode: Mode, rank: int) -> Callable[[Config], GlobalPooling]:
    def parse(config: Config) -> GlobalPooling:
        return GlobalPooling(
            **config.base(),
            mode=mode,
            rank=rank,
            channels_first=channels_first(config),
            keepdims=config.flag("keepdims", default=False),
            uses_mask=mode == "average" and rank == 1 and config.writer.mask_enters_average,
        )

    return parse


def _adaptive(mode: Mode, rank: int) -> Callable[[Config], AdaptivePooling]:
    def parse(config: Config) -> AdaptivePooling:
        output_size = sizes(config, rank, "output_size")
        if max(output_size) > MOST_WINDOWS:
            raise config.error(f"output_size {output_size} is more than {MOST_WINDOWS} windows")
        return AdaptivePooling(
            **config.base(),
            mode=mode,
            output_size=output_size,
            channels_first=channels_first(config),
        )

    return parse


def _up_sampling(rank: int) -> Callable[[Config], UpSampling]:
    def parse(config: Config) -> UpSampling:
        writer = config.writer
        interpolation = choice(
            config, "interpolation", default="nearest", choices=("nearest", "bilinear")
        )
        modern = writer.major >= 3 or (writer.tf and writer.version >= (2, 3, 0))
        if interpolation == "bilinear" and not modern:
            raise config.error(f"interpolation 'bilinear' of {writer} is not known to jrnn")
        return UpSampling(
            **config.base(),
            size=sizes(config, rank, "size", "length", default=2),
            interpolation=interpolation,
            channels_first=channels_first(config),
        )

    return parse


def _zero_padding(rank: int) -> Callable[[Config], ZeroPadding]:
    def parse(config: Config) -> ZeroPadding:
        return ZeroPadding(
            **config.base(),
            padding=pairs(config, rank, "padding", default=1),
            channels_first=channels_first(config),
        )

    return parse


def _cropping(rank: int) -> Callable[[Config], Cropping]:
    def parse(config: Config) -> Cropping:
        return Cropping(
            **config.base(),
            cropping=pairs(config, rank, "cropping", default=int(rank == 1)),
            channels_first=channels_first(config),
        )

    return parse


_OF_RANK: Mapping[str, Callable[[int], Callable[[Config], Layer]]] = {
    "AdaptiveAveragePooling{}D": lambda rank: _adaptive("average", rank),
    "AdaptiveMaxPooling{}D": lambda rank: _adaptive("max", rank),
    "AtrousConvolution{}D": _convolution,  # Keras 1
    "AveragePooling{}D": lambda rank: _pooling("average", rank),
    "Conv{}D": _convolution,
    "Conv{}DTranspose": _transposed,
    "Convolution{}D": _convolution,  # Keras 1
    "Cropping{}D": _cropping,
    "DepthwiseConv{}D": _depthwise,
    "GlobalAveragePooling{}D": lambda rank: _global_pooling("average", rank),
    "GlobalMaxPooling{}D": lambda rank: _global_pooling("max", rank),
    "MaxPooling{}D": lambda rank: _pooling("max", rank),
    "SeparableConv{}D": _separable,
    "UpSampling{}D": _up_sampling,
    "ZeroPadding{}D": _zero_padding,
}
_UP_TO_2D = ("AtrousConvolution{}D", "Convolution{}D", "DepthwiseConv{}D", "SeparableConv{}D")
SPATIAL_LAYERS: Mapping[str, Callable[[Config], Layer]] = {
    kind.format(rank): make(rank)
    for kind, make in _OF_RANK.items()
    for rank in (1, 2, 3)
    if rank < 3 or kind not in _UP_TO_2D
}
