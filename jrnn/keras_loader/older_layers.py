"""Layers that Keras 3 has no more: config -> typed layer, and their arrays."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.keras_loader.options import channels_first, choice, sizes
from jrnn.layers.core import DenseParams
from jrnn.model.layer import Layer
from jrnn.model.older import (
    Highway,
    HighwayParams,
    LocallyConnected1D,
    LocallyConnected2D,
    MaxoutDense,
)

Shapes = dict[str, tuple[int | None, ...] | None]


def _highway(config: Config) -> Highway:
    config.get("transform_bias")  # from which its bias starts
    return Highway(
        **config.base(),
        activation=config.activation("activation", default="linear"),
        use_bias=config.flag("bias", default=True),
    )


def _maxout(config: Config) -> MaxoutDense:
    return MaxoutDense(
        **config.base(),
        units=config.size("output_dim"),
        choices=config.size("nb_feature"),
        use_bias=config.flag("bias", default=True),
    )


def _locally_connected_1d(config: Config) -> LocallyConnected1D:
    return LocallyConnected1D(
        **_locally_connected(config),
        width=sizes(config, 1, "kernel_size", "filter_length")[0],
        stride=sizes(config, 1, "strides", "subsample_length", default=1)[0],
    )


def _locally_connected_2d(config: Config) -> LocallyConnected2D:
    if "nb_row" in config.values:
        size: Any = config.size("nb_row"), config.size("nb_col")
    else:
        size = sizes(config, 2, "kernel_size")
    strides: Any = sizes(config, 2, "strides", "subsample", default=1)
    return LocallyConnected2D(**_locally_connected(config), kernel_size=size, strides=strides)


def _locally_connected(config: Config) -> dict[str, Any]:
    if config.get("implementation", default=1) != 1 or channels_first(config):
        raise config.error("jrnn knows it with implementation=1 and the channels last alone")
    choice(config, "padding", "border_mode", default="valid", choices=("valid",))
    return {
        **config.base(),
        "units": config.size("filters", "nb_filter"),
        "activation": config.activation("activation", default="linear"),
        "use_bias": config.flag("use_bias", "bias", default=True),
    }


OLDER_LAYERS: Mapping[str, Callable[[Config], Layer]] = {
    "Highway": _highway,
    "LocallyConnected1D": _locally_connected_1d,
    "LocallyConnected2D": _locally_connected_2d,
    "MaxoutDense": _maxout,
}


def _highway_arrays(layer: Highway, shape: Sequence[int] | None) -> Shapes:
    features = None if shape is None else shape[-1]
    shapes: Shapes = dict.fromkeys(("kernel", "carry_kernel"), (features, features))
    return shapes | (dict.fromkeys(("bias", "carry_bias"), (features,)) if layer.use_bias else {})


def highway_order(layer: Layer, arrays: Sequence[Any]) -> Sequence[Any]:
    """Returns a Highway's kernels before its biases: Keras 1.0 had each bias after its kernel."""
    if not isinstance(layer, Highway):
        return arrays
    return sorted(arrays, key=lambda array: -len(array.shape))


def _maxout_arrays(layer: MaxoutDense, shape: Sequence[int] | None) -> Shapes:
    features = None if shape is None else shape[-1]
    bias: Shapes = {"bias": (layer.choices, layer.units)} if layer.use_bias else {}
    return {"kernel": (layer.choices, features, layer.units), **bias}


def _locally_connected_2d_arrays(layer: LocallyConnected2D, shape: Sequence[int] | None) -> Shapes:
    down, right = (None, None) if shape is None else layer.counts(shape)
    windows = None if down is None or right is None else down * right
    inside = None if shape is None else shape[-1] * math.prod(layer.kernel_size)
    bias: Shapes = {"bias": (down, right, layer.units)} if layer.use_bias else {}
    return {"kernel": (windows, inside, layer.units), **bias}


def _locally_connected_arrays(layer: LocallyConnected1D, shape: Sequence[int] | None) -> Shapes:
    windows = None if shape is None else (shape[1] - layer.width) // layer.stride + 1
    inside = None if shape is None else shape[-1] * layer.width
    bias: Shapes = {"bias": (windows, layer.units)} if layer.use_bias else {}
    return {"kernel": (windows, inside, layer.units), **bias}


OLDER_ARRAYS: Mapping[type, tuple[Any, Callable[[Any, Sequence[int] | None], Shapes]]] = {
    Highway: (HighwayParams, _highway_arrays),
    LocallyConnected1D: (DenseParams, _locally_connected_arrays),
    LocallyConnected2D: (DenseParams, _locally_connected_2d_arrays),
    MaxoutDense: (DenseParams, _maxout_arrays),
}
