"""How each layer of Keras 3 without a loop is drawn for the tensor that it is called on."""

import math
from collections.abc import Callable

import keras
from keras import layers

from tests.keras_loader.random_choices import (
    Choices,
    Entry,
    Spot,
    anywhere,
    draw_axes,
    draw_axis,
    of_axes,
)
from tests.keras_loader.random_spatial import SPATIAL, data_format
from tests.keras_oracle import NAMES as ACTIVATIONS


def _reshape(draw: Choices, spot: Spot) -> layers.Layer:
    """Any shape with as many numbers."""
    left, sizes = math.prod(spot.shape[1:]), []
    for _ in range(draw.size(0, 2)):
        sizes.append(draw.one_of([n for n in range(1, left + 1) if left % n == 0]))
        left //= sizes[-1]
    sizes.append(left)
    if draw.coin():
        sizes[draw.size(0, len(sizes) - 1)] = -1
    return layers.Reshape(sizes)


def _permute(draw: Choices, spot: Spot) -> layers.Layer:
    left = list(range(1, spot.axes))
    return layers.Permute([left.pop(draw.size(0, len(left) - 1)) for _ in range(spot.axes - 1)])


def _batch_normalization(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.BatchNormalization(
        axis=draw_axis(draw, spot),
        epsilon=draw.one_of((1e-3, 0.1)),
        scale=draw.coin(),
        center=draw.coin(),
    )


def _layer_normalization(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.LayerNormalization(
        axis=draw_axes(draw, spot) if spot.known else -1,
        epsilon=draw.one_of((1e-3, 0.1)),
        scale=draw.coin(),
        center=draw.coin(),
        rms_scaling=draw.one_in(3),
    )


def _group_normalization(draw: Choices, spot: Spot) -> layers.Layer:
    axis = draw_axis(draw, spot)
    size = spot.shape[axis]
    groups = draw.one_of([n for n in range(1, size + 1) if size % n == 0])
    return layers.GroupNormalization(
        draw.one_of((-1, groups, groups)), axis=axis, scale=draw.coin(), center=draw.coin()
    )


def _rms_normalization(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.RMSNormalization(axis=draw_axes(draw, spot) if spot.known else -1)


def _numbers(draw: Choices, count: int) -> list[float]:
    return [draw.size(1, 8) / 4 for _ in range(count)]


def _normalization(draw: Choices, spot: Spot) -> layers.Layer:
    kind, last = draw.size(0, 2), spot.shape[-1]
    given = {}
    if kind == 1:
        given = {"mean": _numbers(draw, last), "variance": _numbers(draw, last)}
    elif kind == 2:
        given = {"mean": 0.3, "variance": 2.0}
    return layers.Normalization(axis=draw.one_of((-1, spot.axes - 1)), invert=draw.coin(), **given)


def _rescaling(draw: Choices, spot: Spot) -> layers.Layer:
    scale = draw.one_of((0.25, _numbers(draw, spot.shape[-1])))
    return layers.Rescaling(scale, offset=draw.one_of((0.0, -1.5)))


def _relu(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.ReLU(
        max_value=draw.one_of((None, 0.5, 6.0)),
        negative_slope=draw.one_of((0.0, 0.2)),
        threshold=draw.one_of((0.0, 0.3)),
    )


def _prelu(draw: Choices, spot: Spot) -> layers.Layer:
    shared = [axis for axis in range(1, spot.axes) if draw.coin()]
    return layers.PReLU(shared_axes=shared or None)


def _softmax(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.Softmax(axis=draw_axes(draw, spot))


def _unit_normalization(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.UnitNormalization(axis=draw_axes(draw, spot))


def _dense(draw: Choices, spot: Spot) -> layers.Layer:
    activation = draw.one_of((None, *ACTIVATIONS))
    return layers.Dense(draw.size(1, 5), activation=activation, use_bias=draw.coin())


def _spectral_normalization(draw: Choices, spot: Spot) -> layers.Layer:
    return layers.SpectralNormalization(_dense(draw, spot), power_iterations=draw.size(1, 2))


def _simple(make: Callable[[Choices], layers.Layer], *counts: int) -> Entry:
    """A layer that changes no shape, for tensors of any axes or of so many."""
    fits = (lambda spot: spot.axes in counts) if counts else anywhere
    return Entry(lambda draw, spot: make(draw), fits)


def _spatial_dropout(kind: type, axes: int) -> Entry:
    """Keras 3.15 writes the dtype of its variables, of which it has none, for its policy."""
    return _simple(lambda _: kind(0.3, dtype=keras.config.dtype_policy().variable_dtype), axes)


PLAIN = {
    "Dense": Entry(_dense, anywhere),
    "Activation": _simple(lambda draw: layers.Activation(draw.one_of(ACTIVATIONS))),
    "ActivityRegularization": _simple(lambda draw: layers.ActivityRegularization(l2=0.1)),
    "AlphaDropout": _simple(lambda draw: layers.AlphaDropout(0.3)),
    "BatchNormalization": Entry(_batch_normalization, anywhere),
    "Dropout": _simple(lambda draw: layers.Dropout(0.3)),
    "ELU": _simple(lambda draw: layers.ELU(alpha=draw.one_of((1.0, 0.3)))),
    "Flatten": Entry(lambda draw, spot: layers.Flatten(data_format(draw)), of_axes(2, 3, 4, 5)),
    "GaussianDropout": _simple(lambda draw: layers.GaussianDropout(0.3)),
    "GaussianNoise": _simple(lambda draw: layers.GaussianNoise(0.3)),
    "Identity": _simple(lambda draw: layers.Identity()),
    "GroupNormalization": Entry(_group_normalization, lambda spot: spot.known and spot.axes <= 5),
    "LayerNormalization": Entry(_layer_normalization, anywhere),
    "LeakyReLU": _simple(lambda draw: layers.LeakyReLU(negative_slope=draw.one_of((0.3, 0.1)))),
    "Normalization": Entry(_normalization, anywhere),
    "PReLU": Entry(_prelu, lambda spot: spot.axes <= 5 and spot.known),
    "Permute": Entry(_permute, of_axes(3, 4, 5)),
    "RMSNormalization": Entry(_rms_normalization, anywhere),
    "ReLU": Entry(_relu, anywhere),
    "RepeatVector": Entry(lambda draw, spot: layers.RepeatVector(draw.size(3, 4)), of_axes(2)),
    "Rescaling": Entry(_rescaling, anywhere),
    "Reshape": Entry(_reshape, of_axes(2, 3, 4, 5)),
    # A mask broadcasts there as if its axes were the tensor's last: not what was meant.
    "Softmax": Entry(_softmax, lambda spot: spot.known and not spot.mask_axes),
    "SpatialDropout1D": _spatial_dropout(layers.SpatialDropout1D, 3),
    "SpatialDropout2D": _spatial_dropout(layers.SpatialDropout2D, 4),
    "SpatialDropout3D": _spatial_dropout(layers.SpatialDropout3D, 5),
    "SpectralNormalization": Entry(_spectral_normalization, anywhere),
    "UnitNormalization": Entry(_unit_normalization, anywhere),
}


# Hypothesis prefers what comes first: the layer that is easiest to understand.
LAYERS = {"Dense": PLAIN["Dense"], **dict(sorted({**PLAIN, **SPATIAL}.items()))}


def draw_plain(draw: Choices, spot: Spot) -> layers.Layer:
    """A layer without a loop that fits."""
    return draw.one_of([entry for entry in LAYERS.values() if entry.fits(spot)]).make(draw, spot)
