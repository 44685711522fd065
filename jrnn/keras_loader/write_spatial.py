"""Layers over steps or pixels (convolutions, pooling, resizing) -> the options of Keras 3."""

from collections.abc import Callable, Mapping
from typing import Any

from jrnn.keras_loader.write_options import activation, data_format, listed, unsupported
from jrnn.model.convolution import (
    Convolution,
    ConvolutionLayer,
    DepthwiseConvolution,
    SeparableConvolution,
    TransposedConvolution,
)
from jrnn.model.layer import Layer
from jrnn.model.pooling import AdaptivePooling, GlobalPooling, Pooling
from jrnn.model.shaping import Cropping, UpSampling, ZeroPadding

Options = dict[str, Any]


def _convolution(layer: ConvolutionLayer) -> Options:
    if layer.padding == "full":
        raise unsupported(layer, "padding 'full'")
    own = ("filters", "groups", "depth_multiplier")
    return {
        **{key: getattr(layer, key) for key in own if hasattr(layer, key)},
        "kernel_size": list(layer.kernel_size),
        "strides": list(layer.strides),
        "padding": layer.padding,
        "data_format": data_format(layer),
        "dilation_rate": list(layer.dilation),
        "activation": activation(layer, layer.activation),
        "use_bias": layer.use_bias,
    }


def _pooling(layer: Pooling) -> Options:
    return {
        "pool_size": list(layer.pool_size),
        "strides": list(layer.strides),
        "padding": layer.padding,
        "data_format": data_format(layer),
    }


def _up_sampling(layer: UpSampling) -> Options:
    if layer.rank == 1:
        if layer.interpolation != "nearest":
            raise unsupported(layer, f"interpolation {layer.interpolation!r} over steps")
        return {"size": layer.size[0], **_images_alone(layer)}
    return {
        "size": list(layer.size),
        **({"interpolation": layer.interpolation} if layer.rank == 2 else {}),
        **_images_alone(layer),
    }


def _zero_padding(layer: ZeroPadding) -> Options:
    return {"padding": _ends(layer.padding), **_images_alone(layer)}


def _cropping(layer: Cropping) -> Options:
    return {"cropping": _ends(layer.cropping), **_images_alone(layer)}


def _ends(amounts: tuple) -> list:
    return listed(amounts[0] if len(amounts) == 1 else amounts)


def _images_alone(layer: UpSampling | ZeroPadding | Cropping) -> Options:
    """The data format, which these layers have over images alone."""
    if layer.rank == 1 and layer.channels_first:
        raise unsupported(layer, "data_format 'channels_first' there")
    return {} if layer.rank == 1 else {"data_format": data_format(layer)}


def _transposed(layer: TransposedConvolution) -> Options:
    return {**_convolution(layer), "output_padding": listed(layer.output_padding)}


SPATIAL_OPTIONS: Mapping[type[Layer], Callable[[Any], Options]] = {
    AdaptivePooling: lambda layer: {
        "output_size": list(layer.output_size),
        "data_format": data_format(layer),
    },
    Convolution: _convolution,
    Cropping: _cropping,
    DepthwiseConvolution: _convolution,
    GlobalPooling: lambda layer: {"data_format": data_format(layer), "keepdims": layer.keepdims},
    Pooling: _pooling,
    SeparableConvolution: _convolution,
    TransposedConvolution: _transposed,
    UpSampling: _up_sampling,
    ZeroPadding: _zero_padding,
}
