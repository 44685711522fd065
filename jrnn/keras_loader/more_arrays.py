"""What arrays the layers without a loop need, and the forms that Keras 1 and Theano stored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jrnn.keras_loader.multi_head import multi_head_arrays, multi_head_params
from jrnn.keras_loader.older_layers import OLDER_ARRAYS
from jrnn.keras_loader.stored_array import StoredArray, converted, turned
from jrnn.model.activation import PReLU, PReLUParams
from jrnn.model.attention import Attention, AttentionParams
from jrnn.model.batch_normalization import BatchNormalization, BatchNormalizationParams
from jrnn.model.convolution import (
    Convolution,
    ConvolutionLayer,
    ConvolutionParams,
    DepthwiseConvolution,
    SeparableConvolution,
    SeparableConvolutionParams,
    TransposedConvolution,
)
from jrnn.model.einsum import EinsumDense, EinsumDenseParams
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.normalization import (
    GroupNormalization,
    LayerNormalization,
    LayerNormalizationParams,
    Normalization,
    NormalizationParams,
    RMSNormalization,
)
from jrnn.model.quantized import (
    QuantizedDense,
    QuantizedDenseParams,
    QuantizedEmbedding,
    QuantizedEmbeddingParams,
)
from jrnn.model.spectral import SpectralNormalization

Shape = tuple[int | None, ...]  # None: read off the file
Shapes = dict[str, Shape | None]  # None: any number of axes

_ORDERED_BY_KERAS1 = ("AtrousConvolution2D", "Convolution2D")  # [U, C, *K] where channels are first
_WITH_A_SPARE_AXIS = ("AtrousConvolution1D", "Convolution1D")
COUNT = "count"  # of a Normalization's samples: an integer that inference does not need


def _bias(layer: ConvolutionLayer, units: int | None) -> Shapes:
    return {"bias": (units,)} if layer.use_bias else {}


def _size(shape: Sequence[int] | None, axis: int) -> int | None:
    return None if shape is None or not -len(shape) <= axis < len(shape) else shape[axis]


def _channels(layer: ConvolutionLayer, shape: Sequence[int] | None) -> int | None:
    return _size(shape, 1 if layer.channels_first else -1)


def _convolution(layer: Convolution, shape: Sequence[int] | None) -> Shapes:
    channels = _channels(layer, shape)
    inner = None if channels is None else channels // layer.groups
    kernel = (*layer.kernel_size, inner, layer.filters)
    return {"kernel": kernel, **_bias(layer, layer.filters)}


def _transposed(layer: TransposedConvolution, shape: Sequence[int] | None) -> Shapes:
    kernel = (*layer.kernel_size, layer.filters, _channels(layer, shape))
    return {"kernel": kernel, **_bias(layer, layer.filters)}


def _depthwise(layer: DepthwiseConvolution, shape: Sequence[int] | None) -> Shapes:
    channels, multiplier = _channels(layer, shape), layer.depth_multiplier
    units = None if channels is None else channels * multiplier
    return {"kernel": (*layer.kernel_size, channels, multiplier), **_bias(layer, units)}


def _separable(layer: SeparableConvolution, shape: Sequence[int] | None) -> Shapes:
    channels, multiplier = _channels(layer, shape), layer.depth_multiplier
    ones = (1,) * len(layer.kernel_size)
    inner = None if channels is None else channels * multiplier
    return {
        "depthwise_kernel": (*layer.kernel_size, channels, multiplier),
        "pointwise_kernel": (*ones, inner, layer.filters),
        **_bias(layer, layer.filters),
    }


def _batch_normalization(layer: BatchNormalization, shape: Sequence[int] | None) -> Shapes:
    names = [*_scale_and_center(layer), "moving_mean", "moving_variance"]
    return dict.fromkeys(names, (_size(shape, layer.axis),))


def _layer_normalization(layer: LayerNormalization, shape: Sequence[int] | None) -> Shapes:
    sizes = tuple(_size(shape, axis) for axis in layer.axis)
    return dict.fromkeys(_scale_and_center(layer), sizes)


def _group_normalization(layer: GroupNormalization, shape: Sequence[int] | None) -> Shapes:
    return dict.fromkeys(_scale_and_center(layer), (_size(shape, layer.axis),))


def _rms_normalization(layer: RMSNormalization, shape: Sequence[int] | None) -> Shapes:
    return {"gamma": tuple(_size(shape, axis) for axis in layer.axis)}


def _scale_and_center(
    layer: BatchNormalization | GroupNormalization | LayerNormalization,
) -> list[str]:
    return ["gamma"] * layer.scale + ["beta"] * layer.center


def _normalization(layer: Normalization, shape: Sequence[int] | None) -> Shapes:
    if layer.mean is not None:
        return {}
    kept = layer.axis if shape is None else sorted(axis % len(shape) for axis in layer.axis)
    sizes = tuple(_size(shape, axis) for axis in kept)
    return {"mean": sizes, "variance": sizes, COUNT: ()}


def _einsum_dense(layer: EinsumDense, shape: Sequence[int] | None) -> Shapes:
    del shape  # how many axes there are, the equation says; their sizes are checked when it is run
    terms = layer.equation.split(",")[1].split("->")
    kernel: Shape = (None,) * len(terms[0])
    return {"kernel": kernel, **({"bias": None} if layer.bias_axes else {})}


def _prelu(layer: PReLU, shape: Sequence[int] | None) -> Shapes:
    if shape is None:
        return {"alpha": None}
    return {"alpha": tuple(1 if k in layer.shared_axes else n for k, n in enumerate(shape) if k)}


def _attention(layer: Attention, shape: Sequence[int] | None) -> Shapes:
    scale: Shape = (_size(shape, -1),) if layer.score == "additive" else ()
    return {
        **({"scale": scale} if layer.use_scale else {}),
        **({"concat_score_weight": ()} if layer.score == "concat" else {}),
    }


def _quantized_dense(layer: QuantizedDense, shape: Sequence[int] | None) -> Shapes:
    bias: Shapes = {"bias": (layer.units,)} if layer.use_bias else {}
    kernel: Shapes = {"kernel": (_size(shape, -1), layer.units)}
    return {**kernel, **bias, "kernel_scale": (layer.units,)}


def _quantized_embedding(layer: QuantizedEmbedding, shape: Sequence[int] | None) -> Shapes:
    del shape
    rows = (layer.input_dim,)
    return {"embeddings": (*rows, layer.output_dim), "embeddings_scale": rows}


_LAYERS: Mapping[type, tuple[Any, Callable[[Any, Sequence[int] | None], Shapes]]] = {
    Attention: (AttentionParams, _attention),
    BatchNormalization: (BatchNormalizationParams, _batch_normalization),
    Convolution: (ConvolutionParams, _convolution),
    DepthwiseConvolution: (ConvolutionParams, _depthwise),
    EinsumDense: (EinsumDenseParams, _einsum_dense),
    GroupNormalization: (LayerNormalizationParams, _group_normalization),
    LayerNormalization: (LayerNormalizationParams, _layer_normalization),
    Normalization: (NormalizationParams, _normalization),
    PReLU: (PReLUParams, _prelu),
    QuantizedDense: (QuantizedDenseParams, _quantized_dense),
    QuantizedEmbedding: (QuantizedEmbeddingParams, _quantized_embedding),
    RMSNormalization: (LayerNormalizationParams, _rms_normalization),
    SeparableConvolution: (SeparableConvolutionParams, _separable),
    TransposedConvolution: (ConvolutionParams, _transposed),
    **OLDER_ARRAYS,
}


def more_arrays(
    layer: Layer, shape: Sequence[int] | None = None, stored: Sequence[Any] = ()
) -> tuple[Callable[..., Any] | None, Shapes]:
    """Returns what makes a layer's parameters of its arrays, and the arrays' names and shapes.

    Args:
        layer: The layer.
        shape: Its input's shape, where that is known.
        stored: The arrays that a file has for it.
    """
    if isinstance(layer, MultiHeadAttention):
        params_type, shapes = multi_head_params, multi_head_arrays(layer, shape, stored)
    else:
        params_type, find = _LAYERS.get(type(layer), (None, lambda *_: {}))
        shapes = find(layer, shape)
    if not shapes:
        return None, {}

    def make(*arrays: Any) -> Any:
        values = dict(zip(shapes, arrays, strict=True))
        values.pop(COUNT, None)
        return params_type(**values)

    return make, shapes


def frozen_arrays(layer: Layer) -> int:
    """Returns how many of a layer's arrays, its last, are never trained."""
    if isinstance(layer, Normalization):
        return len(more_arrays(layer)[1])
    if isinstance(layer, SpectralNormalization):
        return 1
    return 2 if isinstance(layer, BatchNormalization | QuantizedDense | QuantizedEmbedding) else 0


def as_convolved(layer: Layer, arrays: Sequence[StoredArray]) -> Sequence[Any]:
    """Returns a convolution's arrays with kernels [*K, C, U] of cross-correlations.

    Keras 1 stored those of "th" ordering as [U, C, *K], and those over steps with an axis of size
    1, [K, 1, C, U] or [U, C, K, 1]. Theano flips kernels when it convolves.
    """
    if not isinstance(layer, ConvolutionLayer):
        return arrays
    return [_as_convolved(layer, array) if len(array.shape) > 2 else array for array in arrays]


def _as_convolved(layer: ConvolutionLayer, array: StoredArray) -> Any:
    order = tuple(range(len(array.shape)))
    if layer.kind in _ORDERED_BY_KERAS1 and layer.channels_first:
        order = (2, 3, 1, 0)
    if layer.kind in _WITH_A_SPARE_AXIS and len(array.shape) == 4:
        width, units = layer.kernel_size[0], getattr(layer, "filters", None)
        last = not (array.shape[:2] == (width, 1) and array.shape[3] == units)
        array = _without(array, 3 if last else 1)
        order = (2, 1, 0) if last else (0, 1, 2)
    if len(array.shape) != len(order):
        return array
    flipped = tuple(range(len(layer.kernel_size))) if layer.same_rule == "theano" else ()
    return turned(array, order, flipped)


def _without(array: StoredArray, axis: int) -> StoredArray:
    """Returns an array without an axis of size 1."""
    if array.shape[axis] != 1:
        return array
    shape = array.shape[:axis] + array.shape[axis + 1 :]
    return converted(array, shape, lambda values: values.reshape(shape))
