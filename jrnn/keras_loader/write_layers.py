"""Typed layer -> the options of its Keras 3 class, for every layer that holds no other one."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from jrnn import activations
from jrnn.activations import BoundActivation
from jrnn.keras_loader.write_options import (
    activation,
    data_format,
    keras_object,
    listed,
    unsupported,
)
from jrnn.keras_loader.write_spatial import SPATIAL_OPTIONS
from jrnn.keras_loader.write_training import activity_options
from jrnn.model.activation import PReLU, Softmax
from jrnn.model.attention import Attention
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
from jrnn.model.batch_normalization import BatchNormalization
from jrnn.model.einsum import EinsumDense
from jrnn.model.layer import Layer
from jrnn.model.merging import Concatenate, Cosine, Dot, Merge
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.noise import AlphaDropout, Dropout, GaussianNoise
from jrnn.model.normalization import (
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from jrnn.model.quantized import InputRange, QuantizedDense, QuantizedEmbedding

Options = dict[str, Any]


def _dense(layer: Dense) -> Options:
    return {
        "units": layer.units,
        "activation": activation(layer, layer.activation),
        "use_bias": layer.use_bias,
    }


def _quantization(layer: QuantizedDense) -> Options:
    """What inputs become; left out where Keras has it so by default, and before 3.13 always."""
    inputs = layer.inputs
    if inputs == InputRange():
        return {}
    quantizer = None
    if inputs is not None:
        ends = [inputs.smallest, inputs.largest]
        options = {"value_range": ends, "epsilon": inputs.epsilon, "output_dtype": "int8"}
        quantizer = keras_object("keras.quantizers", "AbsMaxQuantizer", options)
    both = {"weight_quantizer": None, "activation_quantizer": quantizer}
    found = keras_object("keras.quantizers", "Int8QuantizationConfig", both)
    return {"quantization_config": found}


def _embedding(layer: Embedding) -> Options:
    return {
        "input_dim": layer.input_dim,
        "output_dim": layer.output_dim,
        "mask_zero": layer.mask_zero,
    }


def _activation(layer: ActivationLayer) -> Options:
    """The class ``Activation``, or a layer of its own for an activation with options."""
    found = layer.activation
    if layer.kind == "Activation" or not isinstance(found, BoundActivation):
        return {"activation": activation(layer, found)}
    options = dict(found.options)
    if found.function is activations.relu:
        return {"max_value": None, **options}
    if found.function is activations.thresholded_relu:
        return {"max_value": None, "negative_slope": 0.0, "threshold": options["alpha"]}
    return {"negative_slope" if layer.kind == "LeakyReLU" else "alpha": options["alpha"]}


def _dropout(layer: Dropout | AlphaDropout) -> Options:
    options: Options = {"rate": layer.rate}
    if not layer.kind.startswith("Spatial"):
        return {**options, "noise_shape": listed(layer.noise_shape)}
    first = layer.noise_shape is not None and layer.noise_shape[1] is None
    if layer.kind != "SpatialDropout1D":
        options["data_format"] = "channels_first" if first else "channels_last"
    return options


def _noise(layer: GaussianNoise) -> Options:
    if not layer.multiplies:
        return {"stddev": layer.stddev}
    variance = layer.stddev**2  # of a rate: rate / (1 - rate)
    rates = [variance / (1 + variance)]
    for direction in (0.0, 1.0):  # roundings away, the one that it was read from
        rate = rates[0]
        for _ in range(4):
            rate = math.nextafter(rate, direction)
            rates += [rate] if rate < 1 else []
    return {"rate": min(rates, key=lambda rate: _distance(layer, rate))}


def _distance(layer: GaussianNoise, rate: float) -> tuple[float, int]:
    """Returns how far a rate is off; of equal ones that with the fewest digits is meant."""
    made = GaussianNoise.of_rate(rate, name=layer.name, kind=layer.kind)
    return abs(made.stddev - layer.stddev), len(repr(rate))


def _prelu(layer: PReLU) -> Options:
    return {"shared_axes": list(layer.shared_axes) or None}


def _axis(layer: Softmax | UnitNormalization) -> Options:
    return {"axis": layer.axis[0] if len(layer.axis) == 1 else list(layer.axis)}


def _layer_normalization(layer: LayerNormalization) -> Options:
    return {
        "axis": list(layer.axis),
        "epsilon": layer.epsilon,
        "center": layer.center,
        "scale": layer.scale,
        **({"rms_scaling": True} if layer.rms_scaling else {}),
    }


def _normalization(layer: Normalization) -> Options:
    return {
        "axis": list(layer.axis) or None,
        "mean": listed(layer.mean),
        "variance": listed(layer.variance),
        "invert": layer.invert,
    }


def _attention(layer: Attention) -> Options:
    score = {} if layer.score == "additive" else {"score_mode": layer.score}
    return {"use_scale": layer.use_scale, "dropout": layer.dropout, **score}


def _multi_head(layer: MultiHeadAttention) -> Options:
    options: Options = {
        "num_heads": layer.heads,
        "key_dim": layer.key_dim,
        "value_dim": layer.value_dim,
        "output_shape": listed(layer.output_shape),
        "attention_axes": listed(layer.axes),
    }
    if layer.key_heads is not None:  # GroupQueryAttention
        options = {
            "num_query_heads": layer.heads,
            "num_key_value_heads": layer.key_heads,
            "head_dim": layer.key_dim,
        }
    options |= {"use_bias": layer.use_bias, "dropout": layer.dropout}
    if layer.gated:  # which, as the next, Keras has not always had
        options["use_gate"] = True
    return options if layer.window is None else {**options, "sliding_window": layer.window}


def _einsum_dense(layer: EinsumDense) -> Options:
    if layer.output_shape is None:
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): Keras 3 needs its output_shape; give the typed "
            "layer one with dataclasses.replace"
        )
    return {
        "equation": layer.equation,
        "output_shape": list(layer.output_shape),
        "activation": activation(layer, layer.activation),
        "bias_axes": layer.bias_axes,
    }


def _cosine(layer: Cosine) -> Options:
    raise unsupported(layer, "merge mode 'cos'")


def _nothing(layer: Merge) -> Options:
    return {}


def _identity(layer: Identity) -> Options:
    return activity_options(layer) if layer.kind == "ActivityRegularization" else {}


OPTIONS: Mapping[type[Layer], Callable[[Any], Options]] = {
    ActivationLayer: _activation,
    Attention: _attention,
    BatchNormalization: lambda layer: {
        key: getattr(layer, key) for key in ("axis", "epsilon", "center", "scale", "momentum")
    },
    Concatenate: lambda layer: {"axis": layer.axis},
    Cosine: _cosine,
    Dense: _dense,
    Dot: lambda layer: {"axes": list(layer.axes), "normalize": layer.normalize},
    EinsumDense: _einsum_dense,
    Embedding: _embedding,
    Flatten: lambda layer: {"data_format": data_format(layer)},
    AlphaDropout: _dropout,
    Dropout: _dropout,
    GaussianNoise: _noise,
    GroupNormalization: lambda layer: {
        key: getattr(layer, key) for key in ("groups", "axis", "epsilon", "center", "scale")
    },
    Identity: _identity,
    LayerNormalization: _layer_normalization,
    Masking: lambda layer: {"mask_value": layer.mask_value},
    Merge: _nothing,
    MultiHeadAttention: _multi_head,
    Normalization: _normalization,
    PReLU: _prelu,
    Permute: lambda layer: {"dims": list(layer.dims)},
    QuantizedDense: lambda layer: _dense(layer) | _quantization(layer),
    QuantizedEmbedding: _embedding,
    RMSNormalization: lambda layer: {"axis": list(layer.axis), "epsilon": layer.epsilon},
    RepeatVector: lambda layer: {"n": layer.n},
    Rescaling: lambda layer: {"scale": listed(layer.scale), "offset": listed(layer.offset)},
    Reshape: lambda layer: {"target_shape": list(layer.target_shape)},
    Softmax: _axis,
    UnitNormalization: _axis,
    **SPATIAL_OPTIONS,
}
